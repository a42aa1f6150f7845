"""Structs of operations: what the kernel calls through, filled in with functions of the program.

    class tcp_congestion_ops(StructOps):
        init: Method
        ssthresh: Method
        name: Array[u8] = array(16)

    @struct_ops
    def start(sk: tcp_sock) -> None: ...

    mine = tcp_congestion_ops(init=start, name=b"mine")

Only the members that are used are named; the loader finds them in the kernel's struct by name.
"""

from __future__ import annotations

from typing import Any, ClassVar

from bombus.bpf.ints import Scalar
from bombus.bpf.program import Program
from bombus.bpf.struct import Struct
from bombus.errors import UsageError


class Method(Scalar, bits=64):
    """The type of a member that is a function."""

    __slots__ = ()


class StructOps(Struct):
    """Base of structs of operations. LINK: registered by a link (Linux 6.4), which ends with its owner; otherwise until
    it is deleted."""

    __slots__ = ("_programs",)
    LINK: ClassVar[bool] = True

    def __init__(self, **members: Any) -> None:
        programs = {name: value for name, value in members.items() if isinstance(value, Program)}
        for name, program in programs.items():
            member = self.LAYOUT.members.get(name)
            if member is None:
                raise UsageError(f"{type(self).__name__} has no member {name!r}")
            if member.type is not Method:
                raise UsageError(f"{type(self).__name__}.{name} is no function; annotate it: {name}: Method")
            if not program.section.startswith("struct_ops"):
                raise UsageError(f"{name} takes a function that is declared with @struct_ops, not {program!r}")
        for name, value in members.items():
            found = self.LAYOUT.members.get(name)
            if found is not None and found.type is Method and not isinstance(value, Program):
                raise UsageError(f"{name} takes a function that is declared with @struct_ops, not {value!r}")
        super().__init__(**{name: value for name, value in members.items() if name not in programs})
        object.__setattr__(self, "_programs", programs)


def programs_of(ops: StructOps) -> dict[str, Program[Any, Any]]:
    """The functions of a struct of operations by member."""
    found: dict[str, Program[Any, Any]] = ops._programs  # type: ignore[attr-defined]
    return found
