"""Links of the user kernel: what keeps a program attached until the last descriptor and pin go."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

from bombus.errors import KernelError
from bombus.kernel.user.info import get_field, info_body, read_info, write_info
from bombus.kernel.user.objects import KernelObject
from bombus.spec.linktypes import LINK_TYPE, LinkType

if TYPE_CHECKING:
    from bombus.kernel.api import Attr
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog


class UserLink(KernelObject):
    """type: "xdp", "tcx", "cgroup", "netns", "iter". undo takes the program off its hook; facts: members of
    bpf_link_info; name: a text that it tells, (member, text)."""

    kind: ClassVar[str] = "link"

    __slots__ = ("_owner", "attached", "change", "facts", "name", "prog", "row", "undo")

    def __init__(
        self, kernel: UserKernel, type: str, prog: Prog, facts: Mapping[str, int], *,
        name: tuple[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._owner = kernel
        self.row: LinkType = LINK_TYPE[f"BPF_LINK_TYPE_{type.upper()}"]
        self.prog = prog
        self.facts = dict(facts)
        self.name = name
        self.attached = True
        self.undo: Callable[[], None] = _nothing
        self.change: Callable[[Prog], None] | None = None
        prog.get()

    def detach(self) -> None:
        """Off the hook; the link itself stays. Once."""
        if self.attached:
            self.attached = False
            for name in self.facts:
                if name.endswith(("ifindex", "cgroup_id", "ino")):
                    self.facts[name] = 0
            self.undo()

    def release(self) -> None:
        self._owner.ids["link"].remove(self)
        self.detach()
        self.prog.put()


def _nothing() -> None:
    """A link that is not on any hook yet."""


@info_body("link")
def link_info(kernel: UserKernel, obj: KernelObject, attr: Attr) -> None:
    assert isinstance(obj, UserLink)
    data = read_info(kernel, attr, "bpf_link_info")
    given = bytearray(data)
    data[:] = bytes(len(data))
    facts = {"type": obj.row.id, "id": obj.id, "prog_id": obj.prog.id, **obj.facts}
    if obj.name is None:
        write_info(kernel, attr, "bpf_link_info", data, facts)
        return
    member, text = obj.name
    whole = text.encode() + b"\0"
    address, room = (get_field("bpf_link_info", given, field) for field in (member, f"{member}_len"))
    if bool(address) != bool(room):
        raise KernelError(errno.EINVAL, attr.command.name, f"{member} and its length do not fit together")
    write_info(kernel, attr, "bpf_link_info", data, {**facts, member: address, f"{member}_len": len(whole)})
    if not address:
        return
    attr.write(address, whole if len(whole) <= room else whole[: room - 1] + b"\0")
    if room < len(whole):
        raise KernelError(errno.ENOSPC, attr.command.name, f"{member} has {len(whole)} bytes")
