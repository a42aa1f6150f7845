"""Links of the user kernel: what keeps a program attached until the last descriptor and pin go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

from bombus.kernel.user.info import info_body, read_info, write_info
from bombus.kernel.user.objects import KernelObject
from bombus.spec.linktypes import LINK_TYPE, LinkType

if TYPE_CHECKING:
    from bombus.kernel.api import Attr
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog


class UserLink(KernelObject):
    """type: "xdp", "tcx", "cgroup", "netns". undo takes the program off its hook; facts: members of bpf_link_info."""

    kind: ClassVar[str] = "link"

    __slots__ = ("_owner", "attached", "change", "facts", "prog", "row", "undo")

    def __init__(self, kernel: UserKernel, type: str, prog: Prog, facts: Mapping[str, int]) -> None:
        super().__init__()
        self._owner = kernel
        self.row: LinkType = LINK_TYPE[f"BPF_LINK_TYPE_{type.upper()}"]
        self.prog = prog
        self.facts = dict(facts)
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
    data[:] = bytes(len(data))
    write_info(
        kernel, attr, "bpf_link_info", data,
        {"type": obj.row.id, "id": obj.id, "prog_id": obj.prog.id, **obj.facts},
    )  # fmt: skip
