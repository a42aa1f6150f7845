"""What a verifier learned about a program over all paths, for who compiles it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

# Kinds of memory, as bits.
CTX: Final = 1
STACK: Final = 2
PACKET: Final = 4
MAP_VALUE: Final = 8
MAP_KEY: Final = 16
MEM: Final = 32  # of known size: what dynptrs lead to, arguments of global functions. It may be any of the other kinds
RECORD: Final = 128  # of a ring buffer
OTHER: Final = 64  # what a kernel reads with care: kernel objects, sockets, arenas, buffers of tracepoints

# Operands of an addition or subtraction.
DST: Final = 1
SRC: Final = 2
NEGATIVE: Final = 4  # the other operand may be below 0


_NONE: Final[Mapping[int, int]] = {}
_NO_STEPS: Final[Mapping[int, tuple[int, int]]] = {}


class Facts(NamedTuple):
    """All by index of instruction.

    access: kinds of memory that a load, store or atomic may touch. pointer: which operand of an addition or subtraction
    is the pointer, and NEGATIVE; such a pointer never leaves the address space, nor gets 2**29 bytes below its object.
    steps: the lowest and highest value (s64) of the other operand, where it is a register.
    stack_arguments: calls that get pointers into the stack, and stores of such into other memory. depths: bytes of
    stack that the function starting there uses at most. maps: id of the map that a call always works on. loops: the
    function that a bpf_loop always calls, with flags 0, or another helper with whatever flags. probes: loads through
    typed pointers, which may lead nowhere and then give 0.
    stack_numbers: where pointers into the stack become numbers, or may be read as such later: arithmetic, atomics,
    stores of them into the stack itself, and calls of global functions, which do not know them for such.
    inner: type (number) of the map that a call works on, where it is one out of a map of maps.
    """

    access: Mapping[int, int] = _NONE
    pointer: Mapping[int, int] = _NONE
    stack_arguments: frozenset[int] = frozenset()
    depths: Mapping[int, int] = _NONE
    maps: Mapping[int, int] = _NONE
    loops: Mapping[int, int] = _NONE
    steps: Mapping[int, tuple[int, int]] = _NO_STEPS
    probes: frozenset[int] = frozenset()
    inner: Mapping[int, int] = _NONE
    stack_numbers: frozenset[int] = frozenset()
