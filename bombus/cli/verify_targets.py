"""Programs that programs to be verified attach to: `bombus verify --target`."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bombus.cli.source import open_program
from bombus.errors import BombusError, UsageError

if TYPE_CHECKING:
    from bombus.cli.verify_inputs import Choice
    from bombus.kernel.handles.programs import Program
    from bombus.kernel.user.kernel import UserKernel
    from bombus.object.model import Object, ProgramSpec

_FORM: Final = "[NAME=]FILE[:PROGRAM[:FUNCTION]]"
_WATCHING: Final = ("BPF_TRACE_FENTRY", "BPF_TRACE_FEXIT")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One --target. name: the program that attaches ("": all that do); program, function: "" to be found."""

    file: str
    name: str = ""
    program: str = ""
    function: str = ""


def parse(text: str) -> Wanted:
    """UsageError for what is not of the form, and for a file that is not there."""
    name, equals, rest = text.partition("=")
    if not equals or Path(text).is_file():
        name, rest = "", text
    parts = [rest] if Path(rest).is_file() else rest.rsplit(":", 2)
    if len(parts) == 3 and not Path(parts[0]).is_file() and Path(f"{parts[0]}:{parts[1]}").is_file():
        parts = [f"{parts[0]}:{parts[1]}", parts[2]]
    if not Path(parts[0]).is_file() or not all(parts) or (equals and not name and rest != text):
        raise UsageError(f"--target {text!r} is not of the form {_FORM}, or the file is not there")
    return Wanted(parts[0], name, *parts[1:])


def find(
    kernel: UserKernel, obj: Object, wanted: Collection[str], choice: Choice
) -> dict[str, tuple[Program, str]]:
    """For each program that attaches to one of the targets, that program and the function's name.

    Targets are loaded for it, which is to say verified. UsageError when a named program or function is not there;
    LoadError for a target that is refused.
    """
    found: dict[str, tuple[Program, str]] = {}
    for one in choice.targets:
        target = open_program(one.file)
        names = [program.name for program in target.programs]
        if one.program and one.program not in names:
            raise UsageError(f"no program {one.program!r} in {one.file}; there are {', '.join(names) or 'none'}")
        programs = _loaded(kernel, target, [one.program] if one.program else names, choice)
        for spec in obj.programs:
            if spec.name in wanted and _attaches(spec, one.name):
                place = _place(programs, one, spec)
                if place is not None:
                    found[spec.name] = place
    return found


def _loaded(kernel: UserKernel, target: Object, names: list[str], choice: Choice) -> list[Program]:
    """Those of the programs that load; what was wrong with the first one when none does."""
    from bombus.loader.load import load

    found: list[Program] = []
    wrong: BombusError | None = None
    for name in names:
        try:
            found += load(target, kernel, programs=[name], pin_root="", btf=choice.btf).programs.values()
        except BombusError as error:
            wrong = wrong or error
    if not found and wrong is not None:
        raise wrong
    return found


def _attaches(spec: ProgramSpec, name: str) -> bool:
    if name:
        return spec.name == name
    return spec.prog_type == "BPF_PROG_TYPE_EXT" or spec.attach_type in _WATCHING


def _place(programs: list[Program], one: Wanted, spec: ProgramSpec) -> tuple[Program, str] | None:
    from bombus.kernel.handles.attach.tracing import function_id

    function = one.function or spec.target
    for program in programs:
        with suppress(UsageError):
            function_id(program, function)
            return program, function
    if one.name:
        raise UsageError(f"{spec.name} attaches to {function!r}, which is no function of a program of {one.file}")
    return None  # a function of the kernel, perhaps, or of another target
