"""Attaching everything of a loaded object that says where it goes.

Facts: Linux 6.12 tools/lib/bpf/libbpf.c (bpf_object__attach_skeleton).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bombus.errors import BombusError, UsageError
from bombus.kernel.handles.attach import attach, can_attach_alone
from bombus.loader.state import State


def attach_all(state: State, cookies: Mapping[str, int]) -> dict[str, Any]:
    """Programs that can be attached by their section alone, and struct_ops maps. By name; all or nothing."""
    for name in cookies:
        if name not in state.programs:
            raise UsageError(f"no program {name!r} was loaded")
    made: dict[str, Any] = {}
    try:
        for name, program in state.programs.items():
            if not program.origin.autoattach or not can_attach_alone(program):
                continue
            try:
                made[name] = attach(program, **({"cookie": cookies[name]} if name in cookies else {}))
            except BombusError as error:
                error.add_note(f"attaching program {name!r} (section {program.origin.section!r}) of {state.obj.name}")
                raise
        for name, item in state.struct_ops.items():
            if item.autoattach:
                made[name] = item.attach()
    except BaseException:
        for link in reversed(made.values()):
            link.close()
        raise
    state.links += made.values()
    return made
