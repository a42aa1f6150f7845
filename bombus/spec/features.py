"""Every row of spec that has a `since`, flat: one table to list, filter and ask "does Linux X have it?"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from bombus.spec.attachtypes import ATTACH_TYPES
from bombus.spec.commands import COMMANDS
from bombus.spec.helperflags import HELPER_FLAGS
from bombus.spec.helpers import HELPERS
from bombus.spec.instructions import INSTRUCTIONS
from bombus.spec.kfuncs import KFUNCS
from bombus.spec.linktypes import LINK_TYPES
from bombus.spec.maptypes import FLAGS, MAP_TYPES
from bombus.spec.progtypes import PROG_TYPES
from bombus.spec.version import KernelVersion


class Feature(NamedTuple):
    """One feature. id: its number in the kernel's enum, or a flag's value. until: the first kernel without it."""

    kind: str
    name: str
    id: int | None
    since: KernelVersion
    doc: str
    until: KernelVersion | None = None

    def in_kernel(self, version: KernelVersion) -> bool:
        return self.since <= version and (self.until is None or version < self.until)


def _rows() -> Iterator[Feature]:
    for kind, table in (
        ("prog_type", PROG_TYPES), ("attach_type", ATTACH_TYPES), ("map_type", MAP_TYPES),
        ("link_type", LINK_TYPES), ("command", COMMANDS),
    ):  # fmt: skip
        for row in table:
            yield Feature(kind, row.name, row.id, row.since, row.doc)
    for helper in HELPERS:
        yield Feature("helper", f"bpf_{helper.name}", helper.id, helper.since, helper.doc)
    for kfunc in KFUNCS:
        yield Feature("kfunc", kfunc.name, None, kfunc.since, kfunc.doc, kfunc.until)
    for insn in INSTRUCTIONS:
        yield Feature("instruction", insn.title, None, insn.since, insn.doc)
    for flag in FLAGS:
        yield Feature(f"{flag.where}_flag", flag.name, flag.value, flag.since, flag.doc)
    for helper_flag in HELPER_FLAGS:
        yield Feature("helper_flag", helper_flag.name, helper_flag.value, helper_flag.since, helper_flag.doc)


FEATURES: tuple[Feature, ...] = tuple(_rows())
