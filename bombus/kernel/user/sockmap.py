"""Programs of sockmaps: what a connection sends is passed, dropped or given to another (sk_msg).

Facts: Linux 6.12 net/core/sock_map.c (sock_map_link, sock_map_prog_update), net/core/skmsg.c (sk_psock_msg_verdict),
net/ipv4/tcp_bpf.c (tcp_bpf_send_verdict, tcp_bpf_recvmsg).
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final

from bombus.bits import U32
from bombus.errors import KernelError
from bombus.kernel.user.userlink import UserLink
from bombus.kernel.user.world import world_of
from bombus.spec.ctxstructs import SK_MSG
from bombus.spec.tcp import TcpState

if TYPE_CHECKING:
    from bombus.kernel.api import Attr
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.maps.socket import _Sockets
    from bombus.kernel.user.prog import Prog
    from bombus.kernel.user.sockets import UserSocket
    from bombus.spec.attachtypes import AttachType

_PASS: Final = 1


def _map(kernel: UserKernel, call: str, attr: Attr, fd: int) -> _Sockets:
    item: Any = kernel.map_by_fd(call, fd)
    if item.type.short not in ("sockmap", "sockhash"):
        raise KernelError(errno.EINVAL, call, f"a {item.type.short} takes no programs")
    return item  # type: ignore[no-any-return]


def attach(kernel: UserKernel, attr: Attr, prog: Prog) -> None:
    """BPF_PROG_ATTACH: sockets that come into the map from now on have the program. KernelError(EINVAL, EBUSY)."""
    call = "BPF_PROG_ATTACH"
    if attr.get("attach_flags") or attr.get("replace_bpf_fd"):
        raise KernelError(errno.EINVAL, call, "sockmaps know no flags")
    item = _map(kernel, call, attr, attr.get("target_fd"))
    if item.verdict_link is not None:
        raise KernelError(errno.EBUSY, call, "a link holds the program of this map")
    prog.get()
    old, item.verdict = item.verdict, prog
    if old is not None:
        old.put()


def detach(kernel: UserKernel, attr: Attr, prog: Prog) -> None:
    call = "BPF_PROG_DETACH"
    item = _map(kernel, call, attr, attr.get("target_fd"))
    if item.verdict is not prog:
        raise KernelError(errno.ENOENT, call, "the program is not attached there")
    if item.verdict_link is not None:
        raise KernelError(errno.EBUSY, call, "a link holds the program of this map")
    item.verdict = None
    prog.put()


def create_link(kernel: UserKernel, attr: Attr, prog: Prog, row: AttachType) -> UserLink:
    """KernelError(EINVAL, EBUSY)."""
    call = "BPF_LINK_CREATE"
    if attr.get("flags"):
        raise KernelError(errno.EINVAL, call, f"flags {attr.get('flags'):#x}")
    item = _map(kernel, call, attr, attr.get("target_fd"))
    if item.verdict is not None:
        raise KernelError(errno.EBUSY, call, "the map has a program")
    link = UserLink(kernel, "sockmap", prog, {"sockmap_map_id": item.id, "sockmap_attach_type": row.id})
    prog.get()
    item.verdict, item.verdict_link = prog, link

    def undo() -> None:
        if item.verdict_link is link:
            old, item.verdict, item.verdict_link = item.verdict, None, None
            if old is not None:
                old.put()

    def change(new: Prog) -> None:
        new.get()
        old, item.verdict = item.verdict, new
        if old is not None:
            old.put()

    link.undo, link.change = undo, change
    return link


class Message:
    """What an sk_msg program gets: `ctx` holds struct sk_msg_md, `data` the message."""

    kind = "sk_msg"

    def __init__(self, item: UserSocket, data: bytes) -> None:
        kernel = item.kernel
        self.item = item
        self.socket = item.region
        self.data = kernel.memory.allocate(max(len(data), 1), name="the message", kind="packet")
        self.data.view[: len(data)] = data
        self.size = len(data)
        self.apply = 0
        self.redirect: UserSocket | None = None
        self.ingress = False
        self.ctx = kernel.memory.allocate(SK_MSG.size, name="sk_msg_md", kind="ctx")
        self.show(0, len(data))
        version = "ip4" if item.family == 2 else "ip6"
        remote = item.remote or (bytes(len(item.local[0])), 0)
        item.fill()
        for name, value in (
            ("family", item.family.to_bytes(4, "little")), (f"remote_{version}", remote[0]),
            (f"local_{version}", item.local[0]), ("remote_port", bytes(2) + remote[1].to_bytes(2, "big")),
            ("local_port", item.local[1].to_bytes(4, "little")), ("size", self.size.to_bytes(4, "little")),
            ("sk", item.region.start.to_bytes(8, "little")),
        ):  # fmt: skip
            at = SK_MSG.member(name).offset
            self.ctx.view[at : at + len(value)] = value

    def show(self, start: int, end: int) -> None:
        """Which bytes the program may touch."""
        at = self.data.start
        self.ctx.view[:16] = (at + start).to_bytes(8, "little") + (at + end).to_bytes(8, "little")

    def close(self) -> None:
        memory = self.item.kernel.memory
        memory.remove(self.ctx)
        memory.remove(self.data)


class Verdict:
    """What the program of a socket said, for as many bytes as it said it of."""

    __slots__ = ("apply", "ingress", "kind", "redirect")

    def __init__(self) -> None:
        self.kind = ""
        self.apply = 0
        self.redirect: UserSocket | None = None
        self.ingress = False


def send(item: UserSocket, data: bytes) -> int:
    """Send what the socket's program lets through. KernelError(EACCES) for what it drops."""
    prog = item.verdict
    assert prog is not None and item.tcp is not None
    sent, rest, apply = 0, bytes(data), 0
    while rest:
        said = item.said
        if not said.kind:
            rest = _ask(item, prog, said, rest, apply)
            apply = said.apply  # it stays with the message
        part = rest[: said.apply] if said.apply and said.apply < len(rest) else rest
        kind, target, ingress = said.kind, said.redirect, said.ingress
        if said.apply:
            said.apply = max(said.apply - len(part), 0)
        if not said.apply and kind != "drop":  # tcp_bpf_send_verdict forgets no other: what drops once does so on
            said.kind, said.redirect = "", None
        if kind == "drop":
            if len(part) == len(data):
                raise KernelError(errno.EACCES, "send", "a program of a sockmap drops it")
            return len(data) - len(part)  # Linux says so, whatever became of the rest
        done = _give(target, part, ingress=ingress) if target is not None else item.tcp.push(part)
        sent += done
        if done < len(part):
            return sent
        rest = rest[len(part) :]
    return sent


def _give(target: UserSocket, data: bytes, *, ingress: bool) -> int:
    """To another socket: as if it had arrived there, or for it to send."""
    assert target.tcp is not None
    if target.tcp.state not in (TcpState.ESTABLISHED, TcpState.CLOSE_WAIT):
        raise KernelError(errno.EPIPE, "send", "the socket that the message is for is not connected")
    if ingress:
        target.tcp.given += data
        return len(data)
    return target.tcp.push(data)


def _ask(item: UserSocket, prog: Prog, said: Verdict, data: bytes, apply: int) -> bytes:
    """Run the program over a message: the message afterwards. apply: what it said of an earlier part of it."""
    contexts = world_of(item.kernel).contexts
    call = Message(item, data)
    call.apply = apply
    contexts[call.ctx.start] = call
    try:
        verdict = prog.compiled.run(call.ctx.start) & U32
        said.kind, said.apply, said.redirect = "drop", call.apply, None
        if verdict == _PASS:
            said.kind, said.redirect, said.ingress = "pass", call.redirect, call.ingress
        return bytes(call.data.view[: call.size])
    finally:
        del contexts[call.ctx.start]
        call.close()
