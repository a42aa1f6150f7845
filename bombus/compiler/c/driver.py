"""A C program to an object, in a child process."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bombus.compiler.c import gnu, precompiled, toolchain, vmlinux
from bombus.compiler.c.command import Options, words
from bombus.compiler.c.diagnostics import CDiagnostic, parse
from bombus.errors import CodegenError, CompileError

# How each compiler says that a header is missing.
_NO_VMLINUX = re.compile(r"(?:'vmlinux\.h' file not found|vmlinux\.h: No such file or directory)")


@dataclass(frozen=True, slots=True)
class Built:
    """data: the object (or the text asked for). text: what the compiler said, as it said it; diagnostics: the same as
    data. files: all files that were read, the source first. compiler: the command's first words."""

    data: bytes
    text: str
    diagnostics: tuple[CDiagnostic, ...]
    files: tuple[str, ...]
    compiler: str


def build_file(path: str, *, target: str = "bpfel", cpu: str = "v3", level: int | str = 2) -> bytes:
    """The object of a C program. CompileError with what the compiler said, NotSupported without a compiler."""
    return build(path, Options(target=target, cpu=cpu, level=str(level))).data


def build(path: str, options: Options | None = None, notify: Callable[[str], None] | None = None) -> Built:
    """Compile a C program with all that can be said about how. notify is told of work that takes seconds.

    vmlinux.h is made from BTF when the program includes it and has none of its own. CompileError with what the compiler
    said; NotSupported without a compiler (or without BTF for vmlinux.h); CodegenError when the compiler dies or takes
    too long; UsageError; OSError for a source that cannot be read.
    """
    options = options if options is not None else Options()
    with open(path, "rb"):  # the compiler's own words for this are many
        pass
    tool = toolchain.find(options.compiler)
    if vmlinux.includes_it(path, options.includes):
        folder = vmlinux.folder(options.btf, notify)
        ready = precompiled.header(tool, path, options, folder, lambda line: _run(line, options.timeout)[0] == 0)
        built = _once(tool, path, options, [folder], ready)
        if ready is not None and isinstance(built, CompileError):
            built = _once(tool, path, options, [folder])
    else:
        built = _once(tool, path, options, [])
        if isinstance(built, CompileError) and _NO_VMLINUX.search(built.text):
            built = _once(tool, path, options, [vmlinux.folder(options.btf, notify)])  # by way of a header elsewhere
    if isinstance(built, CompileError):
        raise built
    return built


def _once(
    tool: toolchain.Toolchain, path: str, options: Options, generated: Sequence[Path],
    ready: tuple[Path, Path] | None = None,
) -> Built | CompileError:
    with tempfile.TemporaryDirectory(prefix="bombus-c-") as room:
        goal, rules = os.path.join(room, "out"), os.path.join(room, "rules")
        line = words(tool, path, goal, rules, options, generated, ready)
        code, text = _run(line, options.timeout)
        diagnostics = parse(text)
        if code == 0:
            parts = {str(name) for name in (*ready, ready[1].with_name(precompiled.TYPES))} if ready else set()
            files = [name for name in _files(path, rules) if name not in parts]
            if ready is not None and generated:
                files.append(str(generated[0] / "vmlinux.h"))
            data = Path(goal).read_bytes()
            if tool.kind == "gcc" and options.emit == "obj":
                data = gnu.repaired(data, tool.command, options.timeout)
            return Built(data, text, diagnostics, tuple(dict.fromkeys(files)), tool.name)
        if code < 0 or not any("error" in d.severity for d in diagnostics):
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"failed with exit code {code}"
            raise CodegenError(f"{tool.name} {how}", log=text.strip())
        return CompileError(text, diagnostics, compiler=tool.name)


def _run(line: Sequence[str], timeout: float) -> tuple[int, str]:
    """Exit code and all output of a command, which is ended with its children when it takes too long."""
    with subprocess.Popen(
        line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as child:
        try:
            text, _ = child.communicate(timeout=timeout)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise CodegenError(f"{line[0]} did not end within {timeout:g} seconds") from None
            raise
    return child.returncode, text.decode("utf-8", "replace")


def _files(path: str, rules: str) -> tuple[str, ...]:
    """The files that a make rule names behind its colon."""
    try:
        text = Path(rules).read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return (path,)
    text = text.partition(": ")[2].replace("\\\n", " ")
    names = [re.sub(r"\\([ #])|\$(\$)", r"\1\2", name) for name in re.findall(r"(?:\\.|[^\s\\])+", text)]
    return tuple(dict.fromkeys([path, *(os.path.normpath(name) for name in names if name != path)]))
