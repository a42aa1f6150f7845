"""The security hooks of calls on sockets. Linux 6.12 net/socket.c (__sock_create, __sys_bind, __sys_listen, ...)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, Protocol

from bombus.kernel.user.trampoline import allowed, hooks_of
from bombus.kernel.user.world.objects import objects_of

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.world.cgroups import Cgroup

_SOCKADDR: Final = 128  # sizeof(struct sockaddr_storage)
_PROTOCOLS: Final = {(2, 1): 6, (10, 1): 6, (2, 2): 17, (10, 2): 17}  # by family and type


class Asking(Protocol):
    """A socket whose call a hook is asked about."""

    kernel: UserKernel
    cgroup: Cgroup

    @property
    def family(self) -> int: ...

    @property
    def type(self) -> int: ...


def inet_address(place: tuple[bytes, int]) -> bytes:
    """struct sockaddr_in or sockaddr_in6."""
    address, port = place
    v6 = len(address) == 16
    head = struct.pack("=H", 10 if v6 else 2) + port.to_bytes(2, "big") + bytes(4 if v6 else 0)
    return head + address + bytes(4 if v6 else 8)


def ask_create(kernel: UserKernel, family: int, type: int, cgroup: Cgroup) -> None:
    """Before there is a socket: of the cgroup of who makes it. KernelError as programs say."""
    allowed(kernel, "bpf_lsm_socket_create", "socket", family, type, 0, 0, cgroup=cgroup)


def ask(item: Asking, what: str, *args: int, address: bytes | None = None) -> bool:
    """Whether the call goes on. A hook that gets the socket ("bind", ...) and, where the call has one, an address.

    KernelError as programs say. A result that is no errno ends the call, too: it answers that, and does nothing.
    """
    kernel = item.kernel
    name = f"bpf_lsm_socket_{what}"
    if not hooks_of(kernel).watched(name):
        return True
    objects, memory = objects_of(kernel), kernel.memory
    sk, made = objects.new("sock"), objects.new("socket")
    region = memory.allocate(_SOCKADDR, name="the address", kind="btf") if address is not None else None
    try:
        sk.set("__sk_common.skc_family", item.family)
        sk.set("sk_type", item.type)
        sk.set("sk_protocol", _PROTOCOLS.get((item.family, item.type), 0))
        sk.set("sk_socket", made.address)
        made.set("type", item.type)
        made.set("sk", sk.address)
        words = (made.address, *args)
        if region is not None and address is not None:
            region.view[: len(address)] = address
            words = (made.address, region.start, len(address))
        return not allowed(kernel, name, what, *words, cgroup=item.cgroup)
    finally:
        made.close()
        sk.close()
        if region is not None:
            memory.remove(region)
