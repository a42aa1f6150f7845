"""Network devices of the user kernel: what is attached to them, and the way of a frame through it.

Receiving: XDP (native, then generic), tcx ingress, clsact ingress, the stack. Sending: tcx egress, clsact egress, the
wire, which leads to the peer of a veth pair. Facts: Linux 6.12 net/core/dev.c (__netif_receive_skb_core,
sch_handle_ingress, sch_handle_egress, __dev_queue_xmit, do_xdp_generic), drivers/net/veth.c.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bombus.errors import KernelError, UsageError
from bombus.kernel.sites import TcFilter
from bombus.kernel.user.chain import Chain
from bombus.kernel.user.hooks.skb import ETH_HLEN, Skb
from bombus.kernel.user.hooks.skbrun import borrow, give_back
from bombus.kernel.user.hooks.xdp import HEADROOM
from bombus.kernel.user.hooks.xdprun import borrow as borrow_xdp
from bombus.kernel.user.hooks.xdprun import give_back as give_back_xdp
from bombus.kernel.user.routes import Routes
from bombus.kernel.user.world import world_of
from bombus.kernel.user.world.world import NetDevice, Redirect

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog
    from bombus.kernel.user.userlink import UserLink

XDP_MODES: Final = {2: "skb", 4: "native", 8: "offload"}
_ABORTED, _DROP, _PASS, _TX, _REDIRECT = range(5)
_OK, _SHOT, _STOLEN, _QUEUED, _TC_REDIRECT, _TRAP = 0, 2, 4, 5, 7, 8
_UNSPEC: Final = 0xFFFF_FFFF
_EXCLUDE_INGRESS: Final = 1 << 4
MAX_HOPS: Final = 16  # frames that go in circles end here, as XMIT_RECURSION_LIMIT does
PARENTS: Final = {0xFFFFFFF2: "ingress", 0xFFFFFFF3: "egress"}


@dataclass(slots=True)
class XdpSlot:
    prog: Prog
    link: UserLink | None = None


@dataclass(slots=True)
class Filter:
    handle: int
    priority: int
    name: str
    prog: Prog


def _chains() -> dict[str, Chain]:
    return {"ingress": Chain(forgets=True), "egress": Chain(forgets=True)}


@dataclass(slots=True)
class Hooks:
    """What is attached to one device."""

    xdp: dict[str, XdpSlot] = field(default_factory=dict)
    tcx: dict[str, Chain] = field(default_factory=_chains)
    clsact: bool = False
    filters: dict[str, list[Filter]] = field(default_factory=lambda: {"ingress": [], "egress": []})


def hooks_of(device: NetDevice) -> Hooks:
    found: Hooks = device.hooks.setdefault("net", Hooks())
    return found


@dataclass(slots=True)
class Delivery:
    """Where a frame and what became of it went, in order.

    received: (ifindex, frame, mark) that reached the stack. sent: (ifindex, frame) that left through a device, to its
    peer or to nowhere. dropped: (ifindex, by): "xdp", "xdp aborted", "tcx", "clsact", "redirect".
    """

    received: list[tuple[int, bytes, int]] = field(default_factory=list)
    sent: list[tuple[int, bytes]] = field(default_factory=list)
    dropped: list[tuple[int, str]] = field(default_factory=list)


class Network:
    """The devices of one user kernel, by name; frames go in through `receive` and `send`."""

    def __init__(self, kernel: UserKernel) -> None:
        self.kernel = kernel
        self.world = world_of(kernel)
        lo = self.world.devices[1]
        lo.peer = lo.peer or 1
        self.routes = Routes(self)
        self._stack: list[Any] = []  # who takes what reaches the stack: see sockets

    def add(self, name: str, *, address: bytes = b"", mtu: int = 1500, peer: str = "") -> NetDevice:
        """A new device; peer: the other end of a veth pair, made already. UsageError for a name that is taken."""
        if any(device.name == name for device in self.world.devices.values()):
            raise UsageError(f"there is an interface {name!r} already")
        number = max(self.world.devices) + 1
        device = NetDevice(number, name, address or bytes((2, 0, 0, 0, number >> 8 & 255, number & 255)), mtu=mtu)
        self.world.devices[number] = device
        self.kernel.netdevs[number] = name
        if peer:
            other = self.device(peer)
            other.peer, device.peer = number, other.ifindex
        return device

    def veth(self, name: str, peer: str) -> tuple[NetDevice, NetDevice]:
        """A pair of devices: what one sends the other receives."""
        first = self.add(name)
        return first, self.add(peer, peer=name)

    def device(self, which: str | int) -> NetDevice:
        """KernelError(ENODEV)."""
        for device in self.world.devices.values():
            if which in (device.name, device.ifindex):
                return device
        raise KernelError(errno.ENODEV, "interface", f"the user kernel has no interface {which!r}")

    def remove(self, name: str) -> None:
        """Take a device away; what is attached to it is detached."""
        device = self.device(name)
        if device.ifindex == 1:
            raise UsageError("the loopback stays")
        hooks = hooks_of(device)
        links = [slot.link for slot in hooks.xdp.values()]
        links += [entry.link for chain in hooks.tcx.values() for entry in chain.entries]
        for link in links:
            if link is not None:
                link.detach()
        for slot in hooks.xdp.values():
            slot.prog.put()
        for filters in hooks.filters.values():
            for one in filters:
                one.prog.put()
        if device.peer in self.world.devices:
            self.world.devices[device.peer].peer = 0
        del self.world.devices[device.ifindex]
        self.kernel.netdevs.pop(device.ifindex, None)

    def on_receive(self, taker: Any) -> None:
        """`taker(ifindex, frame, mark, skb)` sees every frame that reaches the stack."""
        self._stack.append(taker)

    # Frames

    def receive(self, which: str | int, frame: bytes) -> Delivery:
        """A frame comes in at a device."""
        out = Delivery()
        self._receive(self.device(which), frame, out, 0)
        return out

    def send(self, which: str | int, frame: bytes) -> Delivery:
        """The stack sends a frame out of a device."""
        out = Delivery()
        self._send(self.device(which), frame, 0, out, 0)
        return out

    def _receive(self, device: NetDevice, frame: bytes, out: Delivery, hops: int, meta: bytes = b"") -> None:
        """meta: what the XDP program that sent the frame here put in front of it."""
        if len(frame) < ETH_HLEN:
            raise KernelError(errno.EINVAL, "receive", f"a frame has at least {ETH_HLEN} bytes, not {len(frame)}")
        if hops > MAX_HOPS:
            out.dropped.append((device.ifindex, "recursion"))
            return
        hooks = hooks_of(device)
        for mode in ("offload", "native", "skb"):
            slot = hooks.xdp.get(mode)
            if slot is not None:
                kept = self._xdp(device, slot.prog, frame, out, hops, mode, meta)
                if kept is None:
                    return
                meta, frame = kept
        self._ingress(device, frame, out, hops, meta)

    def _xdp(
        self, device: NetDevice, prog: Prog, frame: bytes, out: Delivery, hops: int, mode: str, meta: bytes
    ) -> tuple[bytes, bytes] | None:
        """(metadata, frame) for the stack; None when the frame goes elsewhere.

        Metadata travels with frames of native XDP (Linux 6.12 include/net/xdp.h: xdp_convert_frame_to_buff), not with
        the packets that the skb mode sends on.
        """
        if mode == "skb":
            meta = b""
        verdict, frame, meta = self._run_xdp(device, prog, frame, meta)
        if verdict == _PASS:
            return meta, frame
        if mode == "skb":
            meta = b""
        if verdict == _TX:
            self._wire(device, frame, out, hops, meta)
        elif verdict == _REDIRECT:
            self._redirect(device, frame, out, hops, xdp=True, meta=meta, native=mode == "native")
        else:
            out.dropped.append((device.ifindex, "xdp" if verdict == _DROP else "xdp aborted"))
        return None

    def _run_xdp(
        self, device: NetDevice, prog: Prog, frame: bytes, meta: bytes, egress: int = 0
    ) -> tuple[int, bytes, bytes]:
        """(verdict, frame, metadata). egress: where a devmap's entry sends the frame that came in at `device`."""
        buff = borrow_xdp(self.kernel, self.world)
        try:
            buff.ifindex, buff.queue, buff.egress = device.ifindex, 0, egress
            self.world.redirect = Redirect()
            linear = len(meta) + min(len(frame), 4096 - HEADROOM - 320)
            if buff.fill(meta + frame, HEADROOM - len(meta), linear, len(meta)):
                return _DROP, frame, meta
            verdict = prog.compiled.run(buff.ctx.start) & 0xFFFF_FFFF
            meta = bytes(buff.frame.view[buff.meta : buff.data])
            return verdict, bytes(buff.frame.view[buff.data : buff.end]) + b"".join(buff.frags), meta
        finally:
            give_back_xdp(self.world, buff)

    def _ingress(self, device: NetDevice, frame: bytes, out: Delivery, hops: int, meta: bytes = b"") -> None:
        verdict, frame, mark = self._classify(device, frame, "ingress", 0, meta)
        if verdict == "redirect":
            self._redirect(device, frame, out, hops, xdp=False)
        elif verdict:
            out.dropped.append((device.ifindex, verdict))
        else:
            out.received.append((device.ifindex, frame, mark))
            for taker in self._stack:
                taker(device.ifindex, frame, mark)

    def _send(self, device: NetDevice, frame: bytes, mark: int, out: Delivery, hops: int) -> None:
        if hops > MAX_HOPS:
            out.dropped.append((device.ifindex, "recursion"))
            return
        verdict, frame, mark = self._classify(device, frame, "egress", mark)
        if verdict == "redirect":
            self._redirect(device, frame, out, hops, xdp=False)
        elif verdict:
            out.dropped.append((device.ifindex, verdict))
        else:
            self._wire(device, frame, out, hops)

    def _wire(self, device: NetDevice, frame: bytes, out: Delivery, hops: int, meta: bytes = b"") -> None:
        out.sent.append((device.ifindex, frame))
        peer = self.world.devices.get(device.peer)
        if peer is not None:
            self._receive(peer, frame, out, hops + 1, meta)

    def _classify(
        self, device: NetDevice, frame: bytes, way: str, mark: int, meta: bytes = b""
    ) -> tuple[str, bytes, int]:
        """("", frame, mark) for a frame that goes on, else who took it."""
        hooks = hooks_of(device)
        programs: list[tuple[str, Prog]] = [("tcx", entry.prog) for entry in hooks.tcx[way].entries]
        programs += [("clsact", one.prog) for one in hooks.filters[way]]
        if not programs:
            return "", frame, mark
        skb = borrow(self.kernel, self.world)
        try:
            self._fill(skb, device, frame, way, mark, meta)
            for kind, prog in programs:
                skb.sync()
                verdict = prog.compiled.run(skb.ctx.start) & 0xFFFF_FFFF
                if verdict == _TC_REDIRECT:
                    return "redirect", skb.output(), _mark(skb)
                if verdict in (_SHOT, *((_STOLEN, _QUEUED, _TRAP) if kind == "clsact" else ())):
                    return kind, b"", 0
                # A tcx program's other answers mean "next"; a classifier's OK, PIPE and RECLASSIFY end the walk.
                if verdict == _OK or (kind == "clsact" and verdict != _UNSPEC):
                    if kind == "tcx":
                        return "", self._out(skb), _mark(skb)
                    break
            return "", self._out(skb), _mark(skb)
        finally:
            self._clones()
            give_back(self.world, skb)

    def _fill(self, skb: Skb, device: NetDevice, frame: bytes, way: str, mark: int, meta: bytes) -> None:
        skb.reset(frame, direct=True, meta=meta)
        skb.ifindex = device.ifindex
        skb.eth_type_trans(device.address)
        if way == "egress":
            skb.pkt_type = 0  # only receiving decides it
        skb.data -= ETH_HLEN
        skb.ctx.view[8:12] = mark.to_bytes(4, "little")
        if way == "ingress":
            skb.ctx.view[36:40] = device.ifindex.to_bytes(4, "little")  # ingress_ifindex

    @staticmethod
    def _out(skb: Skb) -> bytes:
        """The frame as the wire carries it: an accelerated VLAN tag goes back in."""
        data = skb.output()
        if skb.vlan is not None:
            protocol, tag = skb.vlan
            data = data[:12] + protocol.to_bytes(2, "big") + tag.to_bytes(2, "big") + data[12:]
        return data

    def _clones(self) -> None:
        """What bpf_clone_redirect sent while a program ran."""
        clones, self.world.sent[:] = list(self.world.sent), []
        for ifindex, ingress, frame in clones:
            device = self.world.devices.get(ifindex)
            if device is not None:
                out = Delivery()
                self._ingress(device, frame, out, 1) if ingress else self._send(device, frame, 0, out, 1)
                self.cloned.append(out)

    @property
    def cloned(self) -> list[Delivery]:
        """What became of clones, the oldest first."""
        found: list[Delivery] = self.world.spare.setdefault("clones", [])
        return found

    def _redirect(
        self, device: NetDevice, frame: bytes, out: Delivery, hops: int, *, xdp: bool, meta: bytes = b"",
        native: bool = False,
    ) -> None:  # fmt: skip
        asked, self.world.redirect = self.world.redirect, Redirect()
        if asked.kind == "neigh":
            self._to_neighbour(device, asked, frame, out, hops)
            return
        if asked.kind == "map" and asked.map.type.short == "cpumap":
            self._to_cpu(device, asked.target.program, frame, out, hops, meta, native=native)
            return
        if asked.kind == "map" and not asked.map.type.short.startswith("devmap"):
            out.dropped.append((device.ifindex, asked.map.type.short))
            return
        for number, prog in self._targets(asked, device):
            target = self.world.devices.get(number)
            if target is None:
                out.dropped.append((device.ifindex, "redirect"))
            elif xdp:
                self._to_device(device, target, prog, frame, out, hops, meta, native=native)
            elif asked.kind == "ingress":
                self._ingress(target, frame, out, hops + 1)
            elif asked.kind == "peer":
                peer = self.world.devices.get(target.peer)
                if peer is None:
                    out.dropped.append((device.ifindex, "redirect"))
                else:
                    self._ingress(peer, frame, out, hops + 1)
            else:
                self._send(target, frame, 0, out, hops + 1)

    def _targets(self, asked: Redirect, device: NetDevice) -> Iterator[tuple[int, Any]]:
        """(interface, program of the map's entry)."""
        if asked.kind != "map":
            yield asked.ifindex, None
        elif asked.target is not None:
            yield asked.target.number, asked.target.program
        else:  # BPF_F_BROADCAST: to all that the map has
            without = device.ifindex if asked.flags & _EXCLUDE_INGRESS else 0
            for _key, target in sorted(asked.map.targets.items()):
                if target.number != without:
                    yield target.number, target.program

    def _to_neighbour(self, device: NetDevice, asked: Redirect, frame: bytes, out: Delivery, hops: int) -> None:
        """bpf_redirect_neigh: with the header that the next hop wants. There is no ARP: others are dropped."""
        target = self.world.devices.get(asked.ifindex)
        made = self.routes.header(target, frame, asked.target) if target is not None else None
        if target is None or made is None:
            out.dropped.append((device.ifindex, "redirect" if target is None else "neighbour"))
        else:
            self._send(target, made, 0, out, hops + 1)

    def _to_device(
        self, device: NetDevice, target: NetDevice, prog: Prog | None, frame: bytes, out: Delivery, hops: int,
        meta: bytes, *, native: bool,
    ) -> None:  # fmt: skip
        """Out of a device, when the program of the devmap's entry passes the frame (dev_map_bpf_prog_run)."""
        if prog is not None:
            verdict, frame, meta = self._run_xdp(device, prog, frame, meta, target.ifindex)
            if verdict != _PASS:
                out.dropped.append((target.ifindex, "devmap"))
                return
        self._wire(target, frame, out, hops + 1, meta if native else b"")

    def _to_cpu(
        self, device: NetDevice, prog: Prog | None, frame: bytes, out: Delivery, hops: int, meta: bytes, *, native: bool
    ) -> None:
        """The same stack on another CPU, after the program of the cpumap's entry (cpu_map_bpf_prog_run)."""
        if prog is not None:
            verdict, frame, meta = self._run_xdp(device, prog, frame, meta)
            if verdict == _REDIRECT:
                self._redirect(device, frame, out, hops, xdp=True, meta=meta, native=native)
                return
            if verdict != _PASS:
                out.dropped.append((device.ifindex, "cpumap"))
                return
        self._ingress(device, frame, out, hops, meta)


def _mark(skb: Skb) -> int:
    return int.from_bytes(skb.ctx.view[8:12], "little")


def network_of(kernel: UserKernel) -> Network:
    """The network of a kernel, made at the first question."""
    world = world_of(kernel)
    found: Network | None = world.net
    if found is None:
        found = world.net = Network(kernel)
    return found


# Hooks beside bpf(2)


def xdp_set(kernel: UserKernel, ifindex: int, prog: Prog | None, flags: int, expected: Prog | None) -> None:
    """IFLA_XDP as netlink does it. Linux 6.12 net/core/dev.c dev_xdp_attach."""
    call = "RTM_SETLINK (XDP)"
    device = network_of(kernel).device(ifindex)
    hooks = hooks_of(device)
    mode = xdp_mode(call, device, flags & 0xE, prog)
    slot = hooks.xdp.get(mode)
    if slot is not None and slot.link is not None:
        raise KernelError(errno.EBUSY, call, "Can't replace active BPF XDP link")
    if flags & 16 and (slot.prog if slot else None) is not expected:
        raise KernelError(errno.EEXIST, call, "Active program does not match expected")
    if prog is None:
        if slot is not None:
            del hooks.xdp[mode]
            slot.prog.put()
        return
    if slot is not None and flags & 1:
        raise KernelError(errno.EBUSY, call, "XDP program already attached")
    other = {"native": "skb", "skb": "native"}.get(mode, "")
    if other in hooks.xdp:
        raise KernelError(errno.EEXIST, call, "Native and generic XDP can't be active at the same time")
    prog.get()
    hooks.xdp[mode] = XdpSlot(prog)
    if slot is not None:
        slot.prog.put()


def xdp_mode(call: str, device: NetDevice, flags: int, prog: Prog | None) -> str:
    """The mode that flags name; the loopback has generic XDP only."""
    if flags and flags not in XDP_MODES:
        raise KernelError(errno.EINVAL, call, "Only one XDP mode flag can be set")
    native = device.ifindex != 1
    mode = XDP_MODES.get(flags, "native" if native else "skb")
    if mode == "offload" or (mode == "native" and not native):
        raise KernelError(errno.EOPNOTSUPP, call, "Underlying driver does not support XDP in native mode")
    if prog is not None and prog.type.short != "xdp":
        raise KernelError(errno.EINVAL, call, f"a {prog.type.short} program is no XDP program")
    if prog is not None and prog.expected_attach_type in (33, 35):  # BPF_XDP_DEVMAP, BPF_XDP_CPUMAP
        raise KernelError(errno.EINVAL, call, "programs for devmaps and cpumaps can not be attached to a device")
    return mode


def tc_attach(kernel: UserKernel, place: TcFilter, prog: Prog, *, replace: bool) -> TcFilter:
    call = "RTM_NEWTFILTER (bpf)"
    device = network_of(kernel).device(place.ifindex)
    hooks = hooks_of(device)
    if not hooks.clsact:
        raise KernelError(errno.EINVAL, call, "Parent Qdisc doesn't exists")
    if prog.type.short != "sched_cls":
        raise KernelError(errno.EINVAL, call, f"a {prog.type.short} program is no classifier")
    filters = hooks.filters[PARENTS[place.parent]]
    priority = place.priority or min((f.priority for f in filters), default=0xC000) - (1 if filters else 0)
    key = place.handle, priority
    old = next((f for f in filters if (f.handle, f.priority) == key), None) if place.handle else None
    if old is not None and not replace:
        raise KernelError(errno.EEXIST, call, "Filter already exists")
    prog.get()
    if old is not None:
        old.prog.put()
        old.prog, old.name = prog, place.name
        made = old
    else:
        taken = {f.handle for f in filters if f.priority == priority}
        handle = place.handle or next(n for n in itertools.count(1) if n not in taken)
        made = Filter(handle, priority, place.name, prog)
        filters.append(made)
        filters.sort(key=lambda f: f.priority)
    return TcFilter(place.ifindex, place.parent, made.handle, made.priority, prog.id, made.name)


def tc_detach(kernel: UserKernel, place: TcFilter) -> None:
    filters = hooks_of(network_of(kernel).device(place.ifindex)).filters[PARENTS[place.parent]]
    for at, one in enumerate(filters):
        if (one.handle, one.priority) == (place.handle, place.priority):
            filters.pop(at).prog.put()
            return
    raise KernelError(errno.ENOENT, "RTM_DELTFILTER (bpf)", "there is no such filter")


def tc_qdisc(kernel: UserKernel, ifindex: int, *, add: bool) -> bool:
    hooks = hooks_of(network_of(kernel).device(ifindex))
    if hooks.clsact == add:
        return False
    hooks.clsact = add
    if not add:
        for filters in hooks.filters.values():
            while filters:
                filters.pop().prog.put()
    return True
