"""The compiler's command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bombus.compiler.c.toolchain import Toolchain
from bombus.compiler.headers import INCLUDE
from bombus.errors import NotSupported, UsageError
from bombus.spec.ptregs import TARGET_OF_MACHINE, TARGETS

BYTE_ORDERS = ("bpfel", "bpfeb")
CPUS = ("v1", "v2", "v3", "v4")
LEVELS = ("0", "1", "2", "3", "s", "z")
EMITS = ("obj", "llvm", "asm")


@dataclass(frozen=True, slots=True)
class Options:
    """How to build.

    level: of optimisation. target: byte order of the kernel. arch: whose registers a probe sees ("x86", "arm64", ...;
    "" is this machine's): __TARGET_ARCH_X is defined for it. emit: "obj", "llvm" (IR) or "asm". defines: NAME or
    NAME=VALUE; undefines: names; includes: folders; flags: further words for the compiler. btf: file that vmlinux.h is
    made from, "" for the running kernel's. timeout: seconds. colour: whether diagnostics are coloured.
    """

    level: str = "2"
    target: str = "bpfel"
    cpu: str = "v3"
    compiler: str = ""
    arch: str = ""
    emit: str = "obj"
    defines: Sequence[str] = ()
    undefines: Sequence[str] = ()
    includes: Sequence[str] = ()
    flags: Sequence[str] = ()
    btf: str = ""
    timeout: float = 120.0
    colour: bool = False

    def __post_init__(self) -> None:
        for value, known, what in (
            (self.level, LEVELS, "level of optimisation"), (self.target, BYTE_ORDERS, "target"),
            (self.cpu, CPUS, "BPF cpu"), (self.emit, EMITS, "kind of output"),
            (self.arch, ("", *TARGETS), "architecture"),
        ):  # fmt: skip
            if value not in known:
                raise UsageError(f"{value!r} is no {what}: {', '.join(k for k in known if k)} are")


def words(
    tool: Toolchain, source: str, goal: str, rules: str, options: Options, generated: Sequence[Path],
    precompiled: tuple[Path, Path] | None = None,
) -> list[str]:  # fmt: skip
    """The command: `source` to `goal`; the names of all files that were read go to `rules`, in make's syntax.

    generated: folders with headers that are taken where the program has none of its own. precompiled: clang's form of
    the header that the program includes first, and the rest of that header.
    """
    if tool.kind == "gcc" and options.emit == "llvm":
        raise NotSupported("LLVM IR from gcc", "use clang, or emit asm")
    line = _common(tool, options, generated)
    line += {"obj": ["-c"], "llvm": ["-S", "-emit-llvm"], "asm": ["-S"]}[options.emit]
    if precompiled is not None:
        line += ["-include-pch", str(precompiled[0]), "-include", str(precompiled[1])]
    line += ["-MD", "-MF", rules, "-fdiagnostics-color=always" if options.colour else "-fdiagnostics-color=never"]
    return [*line, *options.flags, "-x", "c", _plain(source), "-o", goal]


def precompile_words(tool: Toolchain, header: str, goal: str, options: Options) -> list[str]:
    """The command that makes clang's form of a header. It must be given what `words` gives."""
    return [*_common(tool, options, [Path(header).parent]), "-x", "c-header", header, "-o", goal]


def _common(tool: Toolchain, options: Options, generated: Sequence[Path]) -> list[str]:
    line = [*tool.command, *_machine(tool, options), f"-O{options.level}", *_debug(tool)]
    line += [f"-D{name}" for name in _arch(options)]
    line += [f"-D{name}" for name in options.defines] + [f"-U{name}" for name in options.undefines]
    for folder in options.includes:
        line += ["-I", _plain(folder)]
    line += ["-isystem", str(INCLUDE)]
    for path in (*system_folders(tool), INCLUDE.parent / "fallback", *generated):
        line += ["-idirafter", str(path)]
    return line


def _plain(path: str) -> str:
    """A path that no compiler takes for an option or a file of options."""
    return f"./{path}" if path[:1] in ("-", "@") else path


def _machine(tool: Toolchain, options: Options) -> list[str]:
    if tool.kind == "gcc":
        return [f"-mcpu={options.cpu}", "-mlittle-endian" if options.target == "bpfel" else "-mbig-endian"]
    system = "-freestanding" if tool.kind == "zig" else ""
    line = ["-target", options.target + system, f"-mcpu={options.cpu}"]
    return line + (["-fno-stack-protector", "-fno-sanitize=all", "-Wno-unused-command-line-argument"]
                   if tool.kind == "zig" else [])  # fmt: skip


def _debug(tool: Toolchain) -> list[str]:
    """BTF, with places in the source."""
    if tool.kind == "gcc":
        return ["-gbtf", "-mco-re", "-Wno-attributes"]
    return ["-g"]


def _arch(options: Options) -> list[str]:
    named = any(d.startswith("__TARGET_ARCH_") for d in options.defines)
    if named and options.arch:
        raise UsageError("the architecture is given by --arch or by -D__TARGET_ARCH_..., not by both")
    if named:
        return []
    arch = options.arch or TARGET_OF_MACHINE.get(os.uname().machine, "")
    return [f"__TARGET_ARCH_{arch}"] if arch else []


_ZIG_ARCH = {"x86_64": "x86", "aarch64": "aarch64", "riscv64": "riscv", "s390x": "s390x", "ppc64le": "powerpc"}


def system_folders(tool: Toolchain) -> list[Path]:
    """Where <linux/...> and <asm/...> are: the C library's folders, or zig's copies of the kernel's headers."""
    machine = os.uname().machine
    home = Path("/usr/include")
    found = [home / f"{machine}-linux-gnu"]
    if tool.kind != "clang":  # which knows /usr/include itself
        found.append(home)
    found = [path for path in found if path.is_dir()]
    if tool.kind == "zig" and not (home / "linux").is_dir():
        kept = Path(tool.command[0]).parent / "lib" / "libc" / "include"
        found += [kept / f"{_ZIG_ARCH.get(machine, machine)}-linux-any", kept / "any-linux-any"]
    return found
