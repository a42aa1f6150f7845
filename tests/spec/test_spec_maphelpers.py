"""Which helpers take maps of which types, asked of the running kernel's verifier: every map helper with every type."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from spec_kernels import types_of
from spec_loads import Place, insn, load, typed, untyped
from test_spec_maptypes import Maker, _need

from bombus.kernel.api import Attr, Kernel
from bombus.spec.helpers import HELPERS, Helper, allowed, prototype_for
from bombus.spec.maptypes import HELPER_MAP_TYPES, MAP_TYPES, MapType
from bombus.spec.version import since

MAP_HELPERS = [row for row in HELPERS if "ARG_CONST_MAP_PTR" in row.args]
# Arguments that a few instructions cannot make: sockets, tasks, functions and the like.
SIMPLE = {
    "ARG_PTR_TO_CTX", "ARG_CONST_MAP_PTR", "ARG_PTR_TO_MAP_KEY", "ARG_PTR_TO_MAP_VALUE", "ARG_PTR_TO_MEM",
    "ARG_CONST_SIZE", "ARG_CONST_SIZE_OR_ZERO", "ARG_ANYTHING", "ARG_CONST_ALLOC_SIZE_OR_ZERO",
    "ARG_PTR_TO_RINGBUF_MEM",
}  # fmt: skip
BUFFER = 264  # bytes of zeros on the stack
REFUSED = "cannot pass map_type"


def _home(row: Helper) -> Place | None:
    """A kind of program that may call the helper with simple arguments."""
    types = types_of("running")
    places: list[Place] = list(untyped())
    if types is not None:
        places += typed(types.btf)
    for place in places:
        args = prototype_for(row, place.type_id, place.flags != 0, place.attach_id).args
        simple = all(arg.split("|")[0] in SIMPLE for arg in args)
        if simple and allowed(row.name, place.type_id, place.attach_id, since("6.12"), target=place.target):
            return place
    return None


def _program(row: Helper, place: Place, fd: int) -> bytes:
    code = insn(0xBF, 6, 1)
    for offset in range(-BUFFER, 0, 8):
        code += insn(0x7A, 10, off=offset)
    for number, text in enumerate(prototype_for(row, place.type_id, False, place.attach_id).args, 1):
        kind = text.split("|")[0]
        if kind == "ARG_PTR_TO_CTX":
            code += insn(0xBF, number, 6)
        elif kind == "ARG_CONST_MAP_PTR":
            code += insn(0x18, number, 1, 0, fd) + insn(0)
        elif kind.startswith("ARG_PTR_TO"):
            code += insn(0xBF, number, 10) + insn(0x07, number, imm=-BUFFER)
        elif kind.startswith("ARG_CONST"):
            code += insn(0xB7, number, imm=24 if row.name == "perf_event_read_value" else 8)
        else:
            code += insn(0xB7, number)
    return code + insn(0x85, imm=row.id) + insn(0xB7) + insn(0x95)


def _takes(kind: MapType, row: Helper) -> bool:
    if kind.helpers_only and row.name not in kind.helpers:
        return False
    return row.name not in HELPER_MAP_TYPES or kind.name in HELPER_MAP_TYPES[row.name]


@pytest.mark.linux
@pytest.mark.parametrize("kind", MAP_TYPES, ids=lambda kind: kind.short)
def test_helpers_of_map_types(kind: MapType, linux_kernel: Kernel) -> None:
    _need(kind)
    wrong, asked = [], 0
    with ExitStack() as stack:
        make = Maker(linux_kernel, kind, stack)
        fd = linux_kernel.bpf(Attr("BPF_MAP_CREATE", **make.base))
        stack.callback(linux_kernel.close, fd)
        for row in MAP_HELPERS:
            place = _home(row)
            if place is None:
                continue
            code, log = load(linux_kernel, place, _program(row, place, fd))
            refused = REFUSED in log
            # Where the verifier finds another fault first, it says nothing about the map.
            if code and not refused and not _takes(kind, row):
                continue
            asked += 1
            if refused == _takes(kind, row):
                wrong.append((row.name, code, log.splitlines()[-2:]))
    assert wrong == []
    assert asked > (2 if kind.short == "arena" else 10)


def test_rows_and_helpers_agree() -> None:
    """What a type names as its helpers is what the helper's own list allows."""
    wrong = [
        (kind.short, name)
        for kind in MAP_TYPES
        for name in kind.helpers
        if name in HELPER_MAP_TYPES and kind.name not in HELPER_MAP_TYPES[name]
    ]
    assert wrong == []
    assert set(HELPER_MAP_TYPES) <= {row.name for row in HELPERS}
