"""Findings of the verifier's fuzzer as rows that tests can read without a kernel: program, maps, Linux's answer."""

from __future__ import annotations

import base64
from typing import Any

from verifier_gen import Case
from verifier_gen_world import World

from bombus.asm.kernel import KernelStyle
from bombus.asm.names import NameHooks
from bombus.btf.parse import Btf
from bombus.btf.types import Kind
from bombus.errors import BtfError
from bombus.verifier.program import MapInfo


def map_row(info: MapInfo) -> dict[str, Any]:
    """A map as JSON; its BTF is the one that all rows share."""
    row: dict[str, Any] = {
        "type": info.type, "key_size": info.key_size, "value_size": info.value_size, "max_entries": info.max_entries,
        "name": info.name, "flags": info.flags,
    }  # fmt: skip
    if info.contents is not None:
        row["contents"] = base64.b64encode(info.contents).decode()
        row["frozen"] = info.frozen
    if info.value_type_id:
        row["value_type"] = info.value_type_id
    if info.user_start:
        row["user_start"] = info.user_start
    if info.inner is not None:
        row["inner"] = map_row(info.inner)
    return row


def names_of(world: World, case: Case) -> dict[str, list[str]]:
    """The kernel's types in a program, by the number of the instruction ("target": what it attaches to): kind, name."""
    if world.vmlinux is None:
        return {}
    found = {}
    for at, insn in enumerate(case.insns):
        if ((insn.opcode == 0x85 and insn.src == 2) or (insn.opcode == 0x18 and insn.src == 3)) and insn.imm > 0:
            found[str(at)] = _name(world.vmlinux, insn.imm)
    if case.attach_btf_id:
        found["target"] = _name(world.vmlinux, case.attach_btf_id)
    return found


def _name(btf: Btf, type_id: int) -> list[str]:
    try:
        type_ = btf.type(type_id)
    except BtfError:
        return ["", ""]
    return [Kind(type_.kind).name, type_.name]


def needs_other_btf(world: World, case: Case) -> bool:
    """Whether the program or its maps have BTF that is not the world's."""
    if case.functions and case.btf_fd:
        return True
    for insn in case.insns:
        info = world.infos.get(insn.imm) if insn.opcode == 0x18 and insn.src in (1, 2) else None
        for one in (info, info.inner if info is not None else None):
            if one is not None and one.value_type_id and one.btf is not world.types.btf:
                return True
    return False


def row_of(world: World, case: Case, caps: str, errno: int, message: str, processed: int, log: str) -> dict[str, Any]:
    """The finding. Map references hold the number of the map in "maps"; asm is for readers."""
    maps: list[dict[str, Any]] = []
    numbers: dict[int, int] = {}
    insns = []
    for insn in case.insns:
        if insn.opcode == 0x18 and insn.src in (1, 2) and insn.imm in world.infos:
            if insn.imm not in numbers:
                numbers[insn.imm] = len(maps)
                maps.append(map_row(world.infos[insn.imm]))
            insn = insn._replace(imm=numbers[insn.imm])
        insns.append(insn)
    style = KernelStyle(world.kernel.version, leak=False)
    asm = []
    at = 0
    while at < len(insns):
        asm.append(style.format(insns, at, NameHooks()))
        at += 2 if insns[at].opcode == 0x18 else 1
    names = names_of(world, case)
    typed = {"names": names} if names else {}
    return typed | {
        "topic": case.topic, "caps": caps, "prog_type": case.prog_type, "attach_type": case.attach_type,
        "flags": case.flags, "license": case.license, "functions": [list(pair) for pair in case.functions],
        "maps": maps, "insns": [list(insn) for insn in insns], "asm": asm, "errno": errno, "message": message,
        "processed": processed, "log": log,
    }  # fmt: skip
