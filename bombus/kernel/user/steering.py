"""Programs that choose the socket of a packet: sk_lookup of the network namespace, and those of reuseport groups.

Facts: Linux 6.12 include/linux/filter.h (BPF_PROG_SK_LOOKUP_RUN_ARRAY), net/core/filter.c (bpf_sk_lookup_assign,
bpf_run_sk_reuseport, sk_select_reuseport), net/core/sock_reuseport.c, kernel/bpf/net_namespace.c.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Final

from bombus.errors import KernelError, NotSupported
from bombus.kernel.user.hooks.skbrun import borrow, give_back, prepare
from bombus.kernel.user.objects import KernelObject
from bombus.kernel.user.userlink import UserLink
from bombus.kernel.user.world import world_of
from bombus.spec.ctxstructs import SK_LOOKUP, SK_REUSEPORT
from bombus.spec.tcp import TcpState

if TYPE_CHECKING:
    from bombus.kernel.api import Attr
    from bombus.kernel.user.hooks.skb import Skb
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog
    from bombus.kernel.user.sockets import UserSocket
    from bombus.spec.attachtypes import AttachType

Place = tuple[bytes, int]
_MOST: Final = 64  # netns_bpf_max_progs
_REPLACE, _NO_REUSEPORT = 1, 2  # BPF_SK_LOOKUP_F_REPLACE, _NO_REUSEPORT
_PASS: Final = 1
NAMES: Final = ("/proc/self/ns/net", "/proc/thread-self/ns/net")


class Netns(KernelObject):
    """The network namespace, of which a user kernel has one."""

    kind: ClassVar[str] = "netns"

    __slots__ = ("lookups",)

    def __init__(self) -> None:
        super().__init__()
        self.lookups: list[UserLink] = []


class Refused(Exception):
    """A program wants no socket to have the packet."""


def netns_of(kernel: UserKernel) -> Netns:
    world = world_of(kernel)
    if world.netns is None:
        world.netns = Netns()
    found: Netns = world.netns
    return found


def create_link(kernel: UserKernel, attr: Attr, prog: Prog, row: AttachType) -> UserLink:
    """KernelError(EINVAL, E2BIG); NotSupported for what else there is in namespaces."""
    call = "BPF_LINK_CREATE"
    if row.name != "BPF_SK_LOOKUP":
        raise NotSupported(f"{row.name} links", "the user kernel dissects no flows")
    if attr.get("flags"):
        raise KernelError(errno.EINVAL, call, f"flags {attr.get('flags'):#x}")
    space = kernel.object(call, attr.get("target_fd"), "netns")
    assert isinstance(space, Netns)
    if len(space.lookups) >= _MOST:
        raise KernelError(errno.E2BIG, call, f"{_MOST} programs are attached")
    link = UserLink(kernel, "netns", prog, {"netns_netns_ino": 1, "netns_attach_type": row.id})
    space.lookups.append(link)

    def change(new: Prog) -> None:
        """The list has the link, which gets the program."""

    link.undo = lambda: space.lookups.remove(link)
    link.change = change
    return link


class Lookup:
    """What an sk_lookup program gets: `ctx` holds struct bpf_sk_lookup."""

    kind = "sk_lookup"

    def __init__(self, kernel: UserKernel, protocol: int, source: Place, target: Place, ifindex: int) -> None:
        self.kernel, self.protocol = kernel, protocol
        self.family = 2 if len(target[0]) == 4 else 10
        self.selected: UserSocket | None = None
        self.alone = False  # what the chosen socket's group says does not matter
        self.ctx = kernel.memory.allocate(SK_LOOKUP.size, name="bpf_sk_lookup", kind="ctx")
        version = "ip4" if self.family == 2 else "ip6"
        for name, data in (
            ("family", self.family.to_bytes(4, "little")), ("protocol", protocol.to_bytes(4, "little")),
            (f"remote_{version}", source[0]), ("remote_port", source[1].to_bytes(2, "big")),
            (f"local_{version}", target[0]), ("local_port", target[1].to_bytes(4, "little")),
            ("ingress_ifindex", ifindex.to_bytes(4, "little")),
        ):  # fmt: skip
            at = SK_LOOKUP.member(name).offset
            self.ctx.view[at : at + len(data)] = data

    def choose(self, item: UserSocket | None, alone: bool) -> None:
        self.selected, self.alone = item, alone
        address = item.region.start if item is not None else 0
        if item is not None:
            item.fill()
        self.ctx.view[:8] = address.to_bytes(8, "little")

    def assign(self, item: UserSocket | None, flags: int) -> int:
        """bpf_sk_assign: 0 or an errno."""
        if flags & ~(_REPLACE | _NO_REUSEPORT):
            return -errno.EINVAL
        if item is not None:
            state = item.state
            if state != (TcpState.LISTEN if item.tcp is not None else TcpState.CLOSE):
                return -errno.ESOCKTNOSUPPORT
            if (6 if item.tcp is not None else 17) != self.protocol:
                return -errno.EPROTOTYPE
            if item.family != self.family and (item.family == 2 or any(item.local[0])):  # sk_ipv6only by bind
                return -errno.EAFNOSUPPORT
        if self.selected is not None and not flags & _REPLACE:
            return -errno.EEXIST
        self.choose(item, bool(flags & _NO_REUSEPORT))
        return 0


def lookup(
    kernel: UserKernel, protocol: int, source: Place, target: Place, ifindex: int
) -> tuple[UserSocket | None, bool]:
    """(the socket that programs choose, whether its group is not asked). Refused when they drop the packet."""
    links = netns_of(kernel).lookups
    if not links:
        return None, False
    call = Lookup(kernel, protocol, source, target, ifindex)
    contexts = world_of(kernel).contexts
    contexts[call.ctx.start] = call
    kept: tuple[UserSocket | None, bool] = (None, False)
    all_pass = True
    try:
        for link in links[:]:
            call.choose(*kept)
            verdict = link.prog.compiled.run(call.ctx.start) & 0xFFFF_FFFF
            if verdict == _PASS and call.selected is not None:
                kept = call.selected, call.alone
            elif verdict != _PASS:
                all_pass = False
    finally:
        del contexts[call.ctx.start]
        kernel.memory.remove(call.ctx)
    if not all_pass and kept[0] is None:
        raise Refused
    return kept


class Group:
    """Sockets that share a place: SO_REUSEPORT. prog: who chooses among them."""

    __slots__ = ("prog", "sockets")

    def __init__(self) -> None:
        self.sockets: list[UserSocket] = []
        self.prog: Prog | None = None

    def set(self, prog: Prog | None) -> None:
        if prog is not None:
            prog.get()
        old, self.prog = self.prog, prog
        if old is not None:
            old.put()

    def remove(self, item: UserSocket) -> None:
        """The last takes its place."""
        at = self.sockets.index(item)
        last = self.sockets.pop()
        if last is not item:
            self.sockets[at] = last
        if not self.sockets:
            self.set(None)


class Choice:
    """What an sk_reuseport program gets: `ctx` holds struct sk_reuseport_md. The packet begins at its own header."""

    kind = "skb"

    def __init__(self, kernel: UserKernel, skb: Skb, item: UserSocket, group: Group, hash: int) -> None:
        self.group, self.item = group, item
        self._skb = skb
        self.data, self.end, self.mac, self.network = skb.data, skb.end, skb.mac, skb.network
        self.length, self.buffer = skb.length, skb.buffer
        self.socket = item.region
        self.selected: UserSocket | None = None
        self.ctx = kernel.memory.allocate(SK_REUSEPORT.size, name="sk_reuseport_md", kind="ctx")
        start = skb.buffer.start
        item.fill()
        for name, value in (
            ("data", start + skb.data), ("data_end", start + skb.end), ("len", skb.length),
            ("eth_protocol", int.from_bytes(skb.protocol.to_bytes(2, "big"), "little")),
            ("ip_protocol", 6 if item.tcp is not None else 17), ("bind_inany", int(not any(item.local[0]))),
            ("hash", hash), ("sk", item.region.start),
        ):  # fmt: skip
            member = SK_REUSEPORT.member(name)
            self.ctx.view[member.offset : member.offset + member.size] = value.to_bytes(member.size, "little")

    def select(self, item: UserSocket | None, *, array: bool) -> int:
        """bpf_sk_select_reuseport: 0 or an errno."""
        if item is None:
            return -errno.ENOENT
        if item.group is None:
            return -(errno.ENOENT if array else errno.EINVAL)
        if item.group is not self.group:
            if item.type != self.item.type:
                return -errno.EPROTOTYPE
            return -(errno.EAFNOSUPPORT if item.family != self.item.family else errno.EBADFD)
        self.selected = item
        return 0


def among(item: UserSocket, frame: bytes, at: int, header: int) -> UserSocket:
    """Which socket of the group gets a packet, whose transport header of `header` bytes is at `at`. Refused when a
    program drops it."""
    group = item.group
    if group is None or not group.sockets:
        return item
    kernel = item.kernel
    ports = frame[26:34] + frame[at : at + 4] if len(item.local[0]) == 4 else frame[22:54] + frame[at : at + 4]
    hash = sum(struct.unpack(f"<{len(ports) // 4}I", ports)) & 0xFFFF_FFFF  # Linux' has a secret
    by_hash: UserSocket = group.sockets[hash * len(group.sockets) >> 32]
    prog = group.prog
    if prog is None:
        return by_hash
    if prog.type.short == "sk_reuseport":
        return _by_program(kernel, prog, item, group, frame, at, hash) or by_hash
    index: int = item.filtered(prog, frame, at + header)
    chosen: UserSocket = group.sockets[index] if index < len(group.sockets) else by_hash
    return chosen


def _by_program(
    kernel: UserKernel, prog: Prog, item: UserSocket, group: Group, frame: bytes, at: int, hash: int
) -> UserSocket | None:
    world = world_of(kernel)
    skb = borrow(kernel, world)
    try:
        prepare(skb, prog, frame, world, 1, at_hook=True)
        skb.data += at - 14
        skb.direct = True
        skb.sync()
        call = Choice(kernel, skb, item, group, hash)
        world.contexts[call.ctx.start] = call
        try:
            verdict = prog.compiled.run(call.ctx.start) & 0xFFFF_FFFF
        finally:
            del world.contexts[call.ctx.start]
            kernel.memory.remove(call.ctx)
    finally:
        give_back(world, skb)
    if verdict != _PASS:
        raise Refused
    return call.selected


def attach(kernel: UserKernel, fd: int, prog: Prog | None) -> None:
    """SO_ATTACH_REUSEPORT_EBPF, or SO_DETACH_REUSEPORT_BPF without a program. Linux: reuseport_attach_prog."""
    call = "SO_ATTACH_REUSEPORT_EBPF" if prog is not None else "SO_DETACH_REUSEPORT_BPF"
    item = kernel.file(call, fd).obj
    find: Callable[[], Group | None] | None = getattr(item, "own_group", None)
    if find is None:
        raise KernelError(errno.ENOTSOCK, call, f"descriptor {fd} is a {item.kind}")
    if prog is not None and prog.type.short not in ("socket_filter", "sk_reuseport"):
        raise KernelError(errno.EINVAL, call, f"a {prog.type.short} program chooses no sockets")
    group = find()
    if prog is None:
        if group is None or group.prog is None:
            raise KernelError(errno.ENOENT, call, "no program is attached")
        group.set(None)
        return
    if group is None:
        raise KernelError(errno.EINVAL, call, "the socket is in no group: set SO_REUSEPORT before it is bound")
    group.set(prog)
