"""`bombus build --native`: BPF programs to machine code."""

from __future__ import annotations

from pathlib import Path

from bombus.errors import UsageError
from bombus.native.arch import WASM32, Arch, arch_of
from bombus.native.build import Emit, build, header
from bombus.native.programs import unit_of
from bombus.object.read import read_object

__all__ = ["arch_of", "compile_object", "goal"]


def goal(path: Path, arch: Arch, emit: str) -> Path:
    """Where the result goes by default: beside the source, with the architecture in its name."""
    ending = {"llvm": ".ll", "asm": ".s", "exe": "", "so": ".so", "header": ".h"}.get(emit, ".o")
    if arch is WASM32 and emit in ("exe", "so"):
        ending = ".wasm"
    stem = path.name.removesuffix(path.suffix).removesuffix(".bpf")
    return path.with_name(f"{stem}{ending}" if emit == "header" else f"{stem}-{arch.name}{ending}")


def compile_object(data: bytes, path: Path, arch: Arch, emit: str, names: tuple[str, ...]) -> bytes:
    """A BPF object to machine code, or to the header of its object. LoadError when the verifier refuses a program."""
    unit = unit_of(read_object(data, name=path.name), names)
    if emit == "header":
        return header(unit, path.name).encode()
    if emit not in ("obj", "exe", "so", "llvm", "asm"):
        raise UsageError(f"{emit!r} is nothing that can be made")
    kind: Emit = emit  # type: ignore[assignment]
    return build(unit, arch, emit=kind, soname=goal(path, arch, emit).name)
