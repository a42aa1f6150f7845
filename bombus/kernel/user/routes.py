"""Routes and neighbours of the user kernel, for bpf_fib_lookup and bpf_redirect_neigh. IPv4; neighbours of IPv6, too.

Facts: Linux 6.12 net/core/filter.c (bpf_ipv4_fib_lookup, __bpf_redirect_neigh_v4, bpf_out_neigh_v4),
net/ipv4/fib_semantics.c (fib_result_prefsrc), net/ipv4/route.c (ip_route_output_key_hash_rcu).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bombus.errors import NotSupported, UsageError

if TYPE_CHECKING:
    from bombus.kernel.user.devices import Network
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.world.world import NetDevice

SUCCESS, BLACKHOLE, UNREACHABLE, PROHIBIT, NOT_FWDED, FWD_DISABLED, _LWT, NO_NEIGH, FRAG_NEEDED = range(9)
OUTPUT, SKIP_NEIGH, SOURCE = 2, 4, 16  # BPF_FIB_LOOKUP_*
KINDS: Final = {"unicast": SUCCESS, "blackhole": BLACKHOLE, "unreachable": UNREACHABLE, "prohibit": PROHIBIT,
                "local": NOT_FWDED}  # fmt: skip
_FORWARD: Final = "net/ipv4/ip_forward"


@dataclass(frozen=True, slots=True)
class Route:
    net: ipaddress.IPv4Network
    ifindex: int
    via: bytes = b""
    source: bytes = b""
    metric: int = 0
    kind: str = "unicast"


class Routes:
    """One table, and the addresses of devices and of their neighbours."""

    __slots__ = ("_addresses", "_net", "neighbours", "routes")

    def __init__(self, net: Network) -> None:
        self._net = net
        self.routes: list[Route] = []
        self.neighbours: dict[tuple[int, bytes], bytes] = {}
        self._addresses: dict[int, list[ipaddress.IPv4Interface]] = {}

    def add(
        self, prefix: str, device: str = "", *, via: str = "", source: str = "", metric: int = 0, kind: str = "unicast"
    ) -> None:
        """As `ip route add`: kind is one of unicast, blackhole, unreachable, prohibit. UsageError; NotSupported for
        IPv6."""
        if kind not in KINDS or (kind == "unicast") != bool(device):
            raise UsageError(f"a {kind} route of device {device!r}: unicast has one, {', '.join(KINDS)} are the kinds")
        ifindex = self._net.device(device).ifindex if device else 0
        try:
            net = ipaddress.ip_network(prefix)
            gateway, preferred = (ipaddress.ip_address(text).packed if text else b"" for text in (via, source))
        except ValueError as error:
            raise UsageError(str(error)) from None
        if not isinstance(net, ipaddress.IPv4Network) or 16 in (len(gateway), len(preferred)):
            raise NotSupported("routes of IPv6", "the user kernel has those of IPv4")
        self.routes.append(Route(net, ifindex, gateway, preferred, metric, kind))

    def address(self, device: str, address: str) -> None:
        """As `ip address add 10.0.0.1/24 dev DEVICE`: the address is local, its net is reached by the device."""
        try:
            found = ipaddress.IPv4Interface(address)
        except ValueError as error:
            raise UsageError(str(error)) from None
        ifindex = self._net.device(device).ifindex
        self._addresses.setdefault(ifindex, []).append(found)
        self.routes.append(Route(ipaddress.IPv4Network(found.ip), ifindex, kind="local"))
        if found.network.prefixlen < 31:
            broadcast = ipaddress.IPv4Network(found.network.broadcast_address)
            self.routes.append(Route(broadcast, ifindex, kind="local"))
        if found.network.prefixlen < 32:
            self.routes.append(Route(found.network, ifindex, source=found.ip.packed))

    def neighbour(self, device: str, address: str, mac: bytes) -> None:
        """As `ip neighbour add ADDRESS lladdr MAC dev DEVICE`."""
        try:
            packed = ipaddress.ip_address(address).packed
        except ValueError as error:
            raise UsageError(str(error)) from None
        if len(mac) != 6:
            raise UsageError(f"{mac!r} is no Ethernet address")
        self.neighbours[self._net.device(device).ifindex, packed] = mac

    def find(self, target: bytes, ifindex: int = 0) -> Route | None:
        """The best route; ifindex: of those out of a device, or into none."""
        place = ipaddress.IPv4Address(target)
        found = [r for r in self.routes if place in r.net and (not ifindex or r.ifindex in (0, ifindex))]
        return min(found, key=lambda r: (-r.net.prefixlen, r.kind != "local", r.metric), default=None)

    def source_of(self, route: Route, target: bytes) -> bytes:
        """The preferred source, else an address of the device: the one whose net the next hop is in, or the first."""
        if route.source:
            return route.source
        here = self._addresses.get(route.ifindex, [])
        hop = ipaddress.IPv4Address(route.via or target)
        near = next((one for one in here if hop in one.network), here[0] if here else None)
        return near.ip.packed if near is not None else bytes(4)

    def hop(self, device: NetDevice, target: bytes) -> bytes:
        """Where a packet goes out of a device next: on the link when no route says otherwise."""
        route = self.find(target, device.ifindex) if len(target) == 4 else None
        return route.via if route is not None and route.via else target

    def header(self, device: NetDevice, frame: bytes, given: bytes | None) -> bytes | None:
        """A frame with the Ethernet header of its next hop: None when that is no neighbour. given: struct
        bpf_redir_neigh."""
        kind = frame[12:14]
        if kind not in (b"\x08\x00", b"\x86\xdd") or len(frame) < (34 if kind == b"\x08\x00" else 54):
            return None
        if given is None:
            hop = self.hop(device, frame[30:34] if kind == b"\x08\x00" else frame[38:54])
        else:
            family = int.from_bytes(given[:4], "little")
            if family not in (2, 10):
                return None
            hop = given[4:8] if family == 2 else given[4:20]
        mac = self.neighbours.get((device.ifindex, hop))
        return None if mac is None else mac + device.address + frame[12:]


def fib_lookup(kernel: UserKernel, params: bytearray, flags: int, length: int | None) -> int:
    """bpf_fib_lookup over struct bpf_fib_lookup (64 bytes). length: of an skb that says no tot_len, without header."""
    net = kernel.net
    routes: Routes = net.routes
    family, ifindex = params[0], int.from_bytes(params[8:12], "little")
    if family != 2 or kernel.sysctl(_FORWARD).read(16).strip() == b"0":
        return FWD_DISABLED
    route = routes.find(bytes(params[32:36]), ifindex if flags & OUTPUT else 0)
    if route is None:
        return NOT_FWDED
    if route.kind != "unicast":
        return KINDS[route.kind]
    device = net.device(route.ifindex)
    total = int.from_bytes(params[6:8], "little")
    checked = length is None or total != 0
    if checked and total > device.mtu:
        params[6:8] = min(device.mtu, 0xFFFF).to_bytes(2, "little")
        return FRAG_NEEDED
    target = bytes(params[32:36])
    params[12:16] = route.metric.to_bytes(4, "little")
    params[8:12] = route.ifindex.to_bytes(4, "little")
    if flags & SOURCE:
        params[16:20] = routes.source_of(route, target)
    if route.via:
        params[32:36] = route.via
    if not flags & SKIP_NEIGH:
        mac = routes.neighbours.get((route.ifindex, bytes(params[32:36])))
        if mac is None:
            return NO_NEIGH
        params[58:64], params[52:58] = mac, device.address
    params[48:52] = bytes(4)
    if checked:
        params[6:8] = min(device.mtu, 0xFFFF).to_bytes(2, "little")
    elif length is not None:
        params[6:8] = (device.mtu & 0xFFFF).to_bytes(2, "little")
        if length > device.mtu:
            return FRAG_NEEDED
    return SUCCESS
