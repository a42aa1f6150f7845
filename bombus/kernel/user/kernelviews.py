"""Contexts as the kernel's own structs: what programs at functions of programs see of `struct __sk_buff *`, say.

The struct is made for one call, from what the user kernel knows of the packet: members that it knows nothing of are 0.
Linux 6.12 net/core/filter.c (bpf_convert_ctx_access, xdp_convert_ctx_access) says which member is which.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from bombus.btf.types import Ptr
from bombus.errors import NotSupported
from bombus.kernel.user.hooks.skb import Skb
from bombus.kernel.user.hooks.xdp import PAGE, XdpBuff
from bombus.kernel.user.world import world_of
from bombus.kernel.user.world.objects import KernelStruct, objects_of
from bombus.verifier.arguments import is_context

if TYPE_CHECKING:
    from bombus.btf.parse import Btf
    from bombus.btf.types import FuncProto
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog

# Types of programs whose context is the kernel's own struct.
_SAME: Final = frozenset({"BPF_PROG_TYPE_KPROBE"})
# Members of struct sk_buff that stand in the context: offset and size there.
_FROM_CONTEXT: Final = {
    "mark": (8, 4), "queue_mapping": (12, 2), "priority": (32, 4), "skb_iif": (36, 4), "tc_index": (44, 2),
    "napi_id": (84, 4), "tstamp": (152, 8),
}  # fmt: skip
_CB: Final = (48, 20)
_CB_IN_SKB: Final = 8  # offsetof(struct qdisc_skb_cb, data)


class Views:
    """Which arguments of one function are contexts, and what is shown of them."""

    def __init__(self, prog: Prog, btf: Btf | None, proto: FuncProto | None) -> None:
        self._kernel = prog.kernel
        self._type = prog.acts_as
        self._contexts: list[int] = []
        if btf is None or proto is None or prog.acts_as.name in _SAME:
            return
        for number, param in enumerate(proto.params[:5]):
            type_ = btf.resolved(param.type)
            if isinstance(type_, Ptr) and is_context(btf, type_, prog.acts_as.id):
                self._contexts.append(number)

    def check(self, prog: Prog) -> None:
        """NotSupported for a program that looks into a context that cannot be shown."""
        looks = prog.facts is None or bool(prog.facts.probes)
        if self._contexts and looks and self._type.short not in _SHOWN:
            raise NotSupported(
                f"looking into the context of {self._type.short} programs",
                f"the user kernel shows those of {', '.join(sorted(_SHOWN))} programs",
            )

    @contextmanager
    def of(self, args: Sequence[int]) -> Iterator[Sequence[int]]:
        """The arguments with contexts as the kernel's structs, while the block runs."""
        kernel = self._kernel
        if not self._contexts or kernel.types() is None or self._type.short not in _SHOWN:
            yield args
            return
        contexts = world_of(kernel).contexts
        shown = list(args)
        with ExitStack() as stack:
            for number in self._contexts:
                found = contexts.get(args[number])
                if isinstance(found, Skb):
                    shown[number] = _skb(kernel, found, stack)
                elif isinstance(found, XdpBuff):
                    shown[number] = _xdp(kernel, found, stack)
                else:
                    continue
                contexts[shown[number]] = found
                stack.callback(contexts.pop, shown[number])
            yield shown


_SHOWN: Final = frozenset(
    ("xdp", "socket_filter", "sched_cls", "sched_act", "cgroup_skb", "lwt_in", "lwt_out", "lwt_xmit")
)


def _new(kernel: UserKernel, name: str, stack: ExitStack, values: dict[str, int | bytes]) -> KernelStruct:
    made = objects_of(kernel).new(name)
    stack.callback(made.close)
    for path, value in values.items():
        if made.has(path):
            made.set(path, value)
    return made


def _device(kernel: UserKernel, ifindex: int, stack: ExitStack) -> int:
    device = world_of(kernel).devices.get(ifindex)
    name = getattr(device, "name", "")
    return _new(kernel, "net_device", stack, {"ifindex": ifindex, "name": name.encode()[:15]}).address


def _skb(kernel: UserKernel, skb: Skb, stack: ExitStack) -> int:
    start = skb.buffer.start
    view = skb.ctx.view
    values: dict[str, int | bytes] = {
        "len": skb.length, "data_len": 0, "mac_len": skb.mac_len, "pkt_type": skb.pkt_type, "hash": skb.hash,
        "protocol": _swapped(skb.protocol), "head": start, "data": start + skb.data, "tail": skb.end,
        "end": skb.buffer.size, "mac_header": skb.mac, "network_header": skb.network, "ip_summed": skb.ip_summed,
        "csum": skb.csum, "dev": _device(kernel, skb.ifindex, stack),
    }  # fmt: skip
    if skb.transport is not None:
        values["transport_header"] = skb.transport
    if skb.vlan is not None:
        values |= {"vlan_proto": _swapped(skb.vlan[0]), "vlan_tci": skb.vlan[1]}
    for name, (offset, size) in _FROM_CONTEXT.items():
        values[name] = int.from_bytes(view[offset : offset + size], "little")
    values["cb"] = bytes(_CB_IN_SKB) + bytes(view[_CB[0] : _CB[0] + _CB[1]])
    return _new(kernel, "sk_buff", stack, values).address


def _xdp(kernel: UserKernel, buff: XdpBuff, stack: ExitStack) -> int:
    start = buff.frame.start
    device = _device(kernel, buff.ifindex, stack)
    queue = _new(kernel, "xdp_rxq_info", stack, {"dev": device, "queue_index": buff.queue})
    values: dict[str, int | bytes] = {
        "data": start + buff.data, "data_end": start + buff.end, "data_meta": start + buff.meta,
        "data_hard_start": start, "rxq": queue.address, "frame_sz": PAGE, "flags": int(bool(buff.frags)),
    }  # fmt: skip
    return _new(kernel, "xdp_buff", stack, values).address


def _swapped(number: int) -> int:
    return (number & 0xFF) << 8 | number >> 8
