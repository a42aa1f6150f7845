"""The programs of objects, raw instructions and assembly, as the verifier gets them; nothing is asked of a real kernel.

Objects are loaded into a user kernel, which makes their maps and relocates their code; each program is taken at the
moment in which it would be verified.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bombus.cli.source import is_source, open_program
from bombus.errors import AsmError, BombusError, BtfError, ElfError, ObjectError, UsageError

if TYPE_CHECKING:
    from bombus.cli.verify_targets import Wanted
    from bombus.isa.insn import Insn
    from bombus.kernel.user.kernel import UserKernel
    from bombus.object.model import MapSpec, Object
    from bombus.verifier.program import LineInfo, Program

RAW: Final = (".bin", ".raw")
ASSEMBLY: Final = (".s", ".asm")  # in lower case
VMLINUX: Final = "/sys/kernel/btf/vmlinux"
_SECTIONS: Final = re.compile(rb"^[ \t]*\.(?:section|pushsection|map)\b", re.M)
_CONFIGS: Final = ("/proc/config.gz", "/boot/config-{release}")


class _Taken(BombusError):
    """The program has been seen; it need not be loaded."""


@dataclass(frozen=True, slots=True)
class Input:
    """One program. `program` is None when it could not be made; `error` says why. lines: its source."""

    file: str
    name: str
    type: str
    section: str = ""
    program: Program | None = None
    error: BombusError | None = None
    lines: tuple[LineInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """What of the files is wanted.

    btf: raw vmlinux BTF for CO-RE relocations; typed: it is that of the kernel whose verifier is asked.
    """

    kernel: str
    name: str | None = None
    filters: tuple[str, ...] = ()
    type: str = ""
    btf: bytes | None = None
    typed: bool = False
    modules: Mapping[str, bytes] = field(default_factory=dict)
    targets: tuple[Wanted, ...] = ()

    def wants(self, name: str) -> bool:
        if self.name is not None and name != self.name:
            return False
        return not self.filters or any(fnmatchcase(name, one) for one in self.filters)


def count(path: str, choice: Choice) -> int:
    """How many programs a file will give, for a progress bar."""
    if _kind(path) != "object":
        return 1
    try:
        return sum(choice.wants(program.name) for program in open_program(path).programs)
    except (BombusError, OSError):
        return 1


def read(path: str, choice: Choice) -> Iterator[Input]:
    """The wanted programs of one file. UsageError when a named one is not there, AsmError, DialectError, CompileError
    for sources that do not build; an object that cannot be read is an Input without program."""
    kind = _kind(path)
    if kind == "object":
        yield from _objects(path, choice)
        return
    from bombus.isa.insn import decode

    name = Path(path).stem
    if choice.name not in (None, name):
        raise UsageError(f"no program {choice.name!r} in {path}; there is {name}")
    if not choice.wants(name):
        return
    if not choice.type:
        what = "assembly without sections" if kind == "text" else "raw code"
        raise UsageError(f"{path}: give --type, such as xdp; {what} has none")
    if kind == "raw":
        data = Path(path).read_bytes()
        if not data or len(data) % 8:
            raise UsageError(f"{path}: {len(data)} bytes are not instructions of 8 bytes each")
        yield _plain(path, name, decode(data), choice, ())
        return
    from bombus.asm import assemble

    text = Path(path).read_bytes().decode("utf-8", "backslashreplace")
    try:
        made = assemble(text)
    except AsmError as error:
        raise error.in_file(path) from None
    yield _plain(path, name, list(made.insns), choice, _text_lines(path, text, made.lines))


def _text_lines(path: str, text: str, numbers: tuple[int, ...]) -> tuple[LineInfo, ...]:
    from bombus.verifier.program import LineInfo

    rows = text.splitlines()
    return tuple(
        LineInfo(insn, Path(path).name, rows[number - 1], number, 0)
        for insn, number in enumerate(numbers)
        if 0 < number <= len(rows)
    )


def _kind(path: str) -> str:
    suffix = Path(path).suffix.lower()
    if is_source(path) and (suffix not in ASSEMBLY or _has_sections(path)):
        return "object"
    with open(path, "rb") as file:
        if file.read(4) == b"\x7fELF":
            return "object"
    if suffix in RAW:
        return "raw"
    if suffix in ASSEMBLY:
        return "text"
    raise UsageError(f"{path}: no ELF object; raw instructions end in {' or '.join(RAW)}, assembly in .S or .asm")


def _has_sections(path: str) -> bool:
    """Whether assembly says what its programs and maps are; else it is the code of one program."""
    return _SECTIONS.search(Path(path).read_bytes()) is not None


def _kernel(choice: Choice) -> UserKernel:
    from bombus.kernel.user.kernel import UserKernel

    # Maps are only looked at: no code of theirs is wanted.
    return UserKernel(
        choice.kernel, btf=choice.btf, modules=choice.modules, kconfig=_kconfig(), maps="python"
    )  # fmt: skip


@cache
def _kconfig() -> dict[str, str]:
    """The configuration of the running kernel, where it can be read."""
    import platform

    for pattern in _CONFIGS:
        path = Path(pattern.format(release=platform.release()))
        try:
            data = path.read_bytes()
            text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode(errors="replace")
        except (OSError, EOFError):
            continue
        pairs = (line.split("=", 1) for line in text.splitlines() if line.startswith("CONFIG_") and "=" in line)
        return {pair[0]: pair[1] for pair in pairs}
    return {}


def _plain(
    path: str, name: str, insns: list[Insn], choice: Choice, lines: tuple[LineInfo, ...]
) -> Input:
    from bombus.kernel.handles import Program as Handle
    from bombus.kernel.handles import prog_type_of

    kernel = _kernel(choice)
    row = prog_type_of(choice.type)
    taken: list[Program] = []
    kernel.on_verify = lambda program: _take(taken, program, choice)
    error: BombusError | None = None
    try:
        Handle.load(kernel, row, insns, name=_short(name), attach_type=row.default_attach or 0).close()
    except BombusError as caught:
        error = caught
    return Input(path, name, row.short, "", taken[0] if taken else None, None if taken else error, lines)


def _short(name: str) -> str:
    return "".join(char if (char.isalnum() and char.isascii()) or char in "_." else "_" for char in name)[:15]


def _take(taken: list[Program], program: Program, choice: Choice) -> None:
    if choice.typed:
        taken.append(replace(program, data_symbols=_kconfig().get("CONFIG_KALLSYMS_ALL", "y") == "y"))
    else:
        taken.append(replace(program, vmlinux=None, modules={}))
    raise _Taken("seen")


def _objects(path: str, choice: Choice) -> Iterator[Input]:
    try:
        obj = open_program(path)
    except (ElfError, BtfError, ObjectError) as error:  # other files may be fine
        yield Input(path, Path(path).name, "", error=error)
        return
    known = [program.name for program in obj.programs]
    if choice.name is not None and choice.name not in known:
        raise UsageError(f"no program {choice.name!r} in {path}; there are {', '.join(known) or 'none'}")
    wanted = [name for name in known if choice.wants(name)]
    if not wanted:
        return
    yield from _loaded(path, obj, wanted, choice)


def _sized(spec: MapSpec) -> MapSpec:
    """A map with the sizes that its user space would set before loading: the least that the kernel takes."""
    from bombus.spec.maptypes import MAP_TYPE, MAP_TYPE_BY_ID

    row = MAP_TYPE_BY_ID.get(spec.type)
    if row is None or row is MAP_TYPE["BPF_MAP_TYPE_PERF_EVENT_ARRAY"]:  # the loader's: one for each CPU
        return spec
    if row is MAP_TYPE["BPF_MAP_TYPE_STACK_TRACE"]:
        spec = replace(spec, key_size=spec.key_size or row.key.only[0], value_size=spec.value_size or row.value.max)
    return replace(spec, max_entries=spec.max_entries or row.entries.min)


def _loaded(path: str, obj: Object, wanted: list[str], choice: Choice) -> Iterator[Input]:
    """One kernel with the object's maps; then program by program what would be loaded into it."""
    from bombus.kernel.handles import prog_type_of
    from bombus.loader import passes
    from bombus.loader.state import Options, State

    kernel = _kernel(choice)
    obj = replace(obj, maps=tuple(map(_sized, obj.maps)))
    given = prog_type_of(choice.type).name if choice.type else ""
    targets = {}
    if choice.targets:
        from bombus.cli.verify_targets import find

        targets = find(kernel, obj, wanted, choice)
    options = Options(btf=choice.btf, programs=wanted, prog_type=given, pin_root="", targets=targets)
    state = State(obj, kernel, options)
    try:
        try:
            for step in passes.PASSES:
                if step is passes.load_programs:
                    break
                step(state)
        except BombusError as error:  # all its programs suffer
            for name in wanted:
                yield Input(path, name, "", error=error)
            return
        for spec in state.chosen:
            taken: list[Program] = []
            failed: BombusError | None = None
            try:
                ready = passes.put_together(state, spec)
                kernel.on_verify = lambda program, taken=taken: _take(taken, program, choice)
                passes.load_program(state, spec, ready)
            except BombusError as error:
                failed = error
            kernel.on_verify = None  # the loader may ask the kernel something with programs of its own
            short = spec.prog_type.removeprefix("BPF_PROG_TYPE_").lower()
            program = taken[0] if taken else None
            lines = tuple(program.line_info) if program is not None else ()
            yield Input(path, spec.name, short, spec.section, program, None if taken else failed, lines)
    finally:
        state.close()
