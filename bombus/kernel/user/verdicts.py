"""Programs that were accepted before, in this or another process: what the verifier found, on disk (`bombus.kept`).

A file is named after all that a verdict depends on: everything of `verifier.program.Program`, and the sources of
whatever judges a program here. Descriptors and ids of maps are replaced by the maps' order, for they differ from
process to process. Only acceptance is kept, and only of loads without a log: a refused program is judged again, so that
its log can be written; who wants a log of an accepted one gets it from the verifier, too.
"""

from __future__ import annotations

import hashlib
import marshal
import sys
from typing import TYPE_CHECKING, Final

from bombus import kept
from bombus.isa import opcodes as op
from bombus.isa.facts import Facts
from bombus.isa.insn import encode
from bombus.kernel.user.progverify import map_contents
from bombus.verifier import OLDEST

if TYPE_CHECKING:
    from bombus.btf.parse import Btf
    from bombus.isa.insn import Insn
    from bombus.kernel.api import Attr
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.maps.base import Map
    from bombus.kernel.user.prog import Prog
    from bombus.verifier.program import MapInfo

_ROOM: Final = "verdicts"
_MAGIC: Final = b"bombus verdict 2\n"
# Whatever decides, here or before a program gets here, whether it is accepted and what is known of it then.
_SOURCES: Final = (
    "btf", "isa", "kernel/user", "kernel/user/helpers", "kernel/user/kfuncs", "kernel/user/maps", "spec",
    "spec/helpers", "spec/kfuncs", "verifier",
)  # fmt: skip
_BY_FD: Final = (op.BPF_PSEUDO_MAP_FD, op.BPF_PSEUDO_MAP_VALUE)
# A command judges a few programs, a fuzzer a million: of those that come later, what took no longer than this (ns) is
# not worth a file.
_FIRST: Final = 64
_WORTH: Final = 5_000_000

_judged = 0


class Key:
    """The name of a program's verdict, and its maps in the order that the verdict counts them in."""

    __slots__ = ("maps", "name")

    def __init__(self, name: str, maps: list[Map]) -> None:
        self.name = name
        self.maps = maps


def key_of(kernel: UserKernel, attr: Attr, prog: Prog, fds: set[int], array: tuple[int, ...]) -> Key | None:
    """None where nothing is kept: with a log, without verification, before the oldest verifier, for programs that
    attach to another one or to a module, or have descriptors that are no maps. fds, array: the descriptors that the
    program names, and its fd_array."""
    if kernel.verify == "off" or kernel.on_verify is not None or attr.get("log_level") or kernel.version < OLDEST:
        return None
    if attr.get("attach_prog_fd") or kept.folder(_ROOM) is None:  # or attach_btf_obj_fd, in the same place
        return None
    maps: list[Map] = []
    number: dict[int, int] = {}
    for fd in (*sorted(fds - set(array)), *array):
        file = kernel.fds.find(fd)
        if file is None or file.obj.kind != "map":
            return None
        item: Map = file.obj  # type: ignore[assignment]
        if item not in maps:
            maps.append(item)
        number[fd] = maps.index(item)
    btf = _types(prog.btf)
    if btf is not None and btf.base is not None:
        return None
    state = hashlib.sha256(kept.stamp(*_SOURCES))
    facts = (
        sys.version_info[:3], marshal.version, tuple(kernel.version), prog.type.id, prog.expected_attach_type,
        prog.license, prog.name, prog.flags, kernel.possible_cpus, attr.get("attach_btf_id"),
        tuple(number[fd] for fd in array), prog.func_info, prog.line_info,
        _digest(btf), _digest(kernel.types()), [_map(item) for item in maps],
    )  # fmt: skip
    state.update(repr(facts).encode())
    state.update(encode(_numbered(prog.insns, number)))
    return Key(state.hexdigest(), maps)


def find(key: Key, prog: Prog) -> bool:
    """Give the program what is known of it. False when it has to be judged."""
    payload = kept.read(_ROOM, key.name, _MAGIC)
    if payload is None:
        return False
    try:
        insns, context, found, functions, callback = marshal.loads(payload)
        facts = Facts(**found)
        by_id = {index: key.maps[which].id for index, which in facts.maps.items()}
    except (ValueError, TypeError, EOFError, AttributeError, IndexError):
        return False  # whole, and yet no verdict
    prog.verified_insns = insns
    prog.max_ctx_offset = context
    prog.facts = facts._replace(maps=by_id)
    prog.functions = tuple(functions)
    prog.exception_callback = callback
    return True


def keep(key: Key, prog: Prog, took: int) -> None:
    """Keep what the verifier found of a program that was accepted, all other checks included. took: ns."""
    global _judged
    _judged += 1
    facts = prog.facts
    if facts is None or (_judged > _FIRST and took < _WORTH):
        return
    order = {item.id: which for which, item in enumerate(key.maps)}
    if not order.keys() >= set(facts.maps.values()):
        return
    numbered = facts._replace(maps={index: order[id_] for index, id_ in facts.maps.items()})
    functions = [tuple(one) for one in prog.functions or ()]
    found = prog.verified_insns, prog.max_ctx_offset, numbered._asdict(), functions, prog.exception_callback
    kept.write(_ROOM, key.name, _MAGIC, marshal.dumps(found))


def _numbered(insns: list[Insn], number: dict[int, int]) -> list[Insn]:
    return [
        insn._replace(imm=number[insn.imm]) if insn.opcode == op.LD_IMM64 and insn.src in _BY_FD else insn
        for insn in insns
    ]


def _types(obj: object) -> Btf | None:
    return getattr(obj, "types", None)


def _digest(btf: Btf | None) -> bytes:
    """Of the bytes. A kernel's BTF is hashed once."""
    if btf is None:
        return b""
    known = _digests.get(id(btf))
    if known is None or known[0] is not btf:
        known = btf, hashlib.sha256(btf.raw).digest()
        if len(btf.raw) >= _LARGE:
            _digests.clear()
            _digests[id(btf)] = known
    return known[1]


_LARGE: Final = 1 << 20
_digests: dict[int, tuple[Btf, bytes]] = {}


def _map(item: Map) -> tuple[object, ...]:
    """What the verifier knows of a map (`progverify.map_info`) but its id and places in memory."""
    template = getattr(item, "template", None)
    contents = map_contents(item)
    btf = _types(item.btf)
    return (
        item.type.id, item.key_size, item.value_size, item.max_entries, item.name, item.map_flags, item.frozen,
        None if contents is None else hashlib.sha256(contents).digest(), item.btf_ids, item.map_extra,
        _digest(btf), btf is not None and btf.base is not None, None if template is None else _inner(template.info),
    )  # fmt: skip


def _inner(info: MapInfo) -> tuple[object, ...]:
    return (
        info.type, info.key_size, info.value_size, info.max_entries, info.flags, info.frozen, info.key_type_id,
        info.value_type_id, info.user_start, _digest(info.btf), repr(info.fields),
        None if info.inner is None else _inner(info.inner),
    )  # fmt: skip
