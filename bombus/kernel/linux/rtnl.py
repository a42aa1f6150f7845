"""Attaching through route netlink: XDP, tc classifiers, lightweight tunnels.

Facts: include/uapi/linux/if_link.h (IFLA_XDP_*), pkt_cls.h (TCA_BPF_*), pkt_sched.h (clsact), lwtunnel.h.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct

from bombus.errors import KernelError, UsageError
from bombus.kernel.linux.devices import GETQDISC, GETTFILTER, text, traffic
from bombus.kernel.linux.netlink import (
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Netlink,
    attribute,
    attributes,
    nest,
)
from bombus.kernel.sites import TcFilter, XdpState

_RTM_GETLINK, _RTM_SETLINK = 18, 19
_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_GETROUTE = 24, 25, 26
_RTM_NEWQDISC, _RTM_DELQDISC = 36, 37
_RTM_NEWTFILTER, _RTM_DELTFILTER, _RTM_GETTFILTER = 44, 45, 46
_IFLA_XDP = 43
_XDP_FD, _XDP_ATTACHED, _XDP_FLAGS, _XDP_PROG_ID = 1, 2, 3, 4
_XDP_DRV_ID, _XDP_SKB_ID, _XDP_HW_ID, _XDP_EXPECTED_FD = 5, 6, 7, 8
_XDP_MODES = {0: "none", 1: "native", 2: "skb", 3: "offload", 4: "multi"}
_XDP_FLAGS_REPLACE = 1 << 4
_CLSACT = 0xFFFFFFF1  # TC_H_CLSACT
_CLSACT_HANDLE = 0xFFFF0000
_TCA_KIND, _TCA_OPTIONS, _TCA_CHAIN = 1, 2, 11
_BPF_FD, _BPF_NAME, _BPF_FLAGS, _BPF_ID = 6, 7, 8, 11
_FLAG_DIRECT = 1
_ETH_P_ALL = 3
_TCMSG = struct.Struct("=BxxxiIII")
_IFINFO = struct.Struct("=BxHiII")
_RTMSG = struct.Struct("=BBBBBBBBI")
_RTA_DST, _RTA_OIF, _RTA_ENCAP_TYPE, _RTA_ENCAP = 1, 4, 21, 22
_ENCAP_BPF = 6
_LWT = {"in": 1, "out": 2, "xmit": 3}
_LWT_HEADROOM = 4
_LWT_FD, _LWT_NAME = 1, 2


def xdp_set(netlink: Netlink, ifindex: int, prog_fd: int, flags: int, expected_fd: int | None) -> None:
    parts = [attribute(_XDP_FD, struct.pack("=i", prog_fd))]
    if expected_fd is not None:
        flags |= _XDP_FLAGS_REPLACE
        parts.append(attribute(_XDP_EXPECTED_FD, struct.pack("=i", expected_fd)))
    if flags:
        parts.append(attribute(_XDP_FLAGS, flags))
    body = _IFINFO.pack(0, 0, ifindex, 0, 0) + nest(_IFLA_XDP, *parts)
    netlink.ask(_RTM_SETLINK, body, call="RTM_SETLINK (XDP)")


def xdp_query(netlink: Netlink, ifindex: int) -> XdpState:
    answer = netlink.ask(_RTM_GETLINK, _IFINFO.pack(0, 0, ifindex, 0, 0), call="RTM_GETLINK")
    found: dict[str, int] = {}
    mode = "none"
    for _, body in answer:
        xdp = attributes(attributes(body[_IFINFO.size :]).get(_IFLA_XDP, b""))
        mode = _XDP_MODES.get(xdp.get(_XDP_ATTACHED, b"\0")[0], "none")
        for name, kind in (("native", _XDP_DRV_ID), ("skb", _XDP_SKB_ID), ("offload", _XDP_HW_ID)):
            if kind in xdp:
                found[name] = int.from_bytes(xdp[kind][:4], "little")
    return XdpState(mode, found)


def tc_qdisc(netlink: Netlink, ifindex: int, *, add: bool) -> bool:
    body = _TCMSG.pack(0, ifindex, _CLSACT_HANDLE, _CLSACT, 0) + attribute(_TCA_KIND, "clsact")
    try:
        if add:
            netlink.ask(_RTM_NEWQDISC, body, flags=NLM_F_CREATE | NLM_F_EXCL, call="RTM_NEWQDISC (clsact)")
        else:
            netlink.ask(_RTM_DELQDISC, body, call="RTM_DELQDISC (clsact)")
    except KernelError as error:
        if error.errno == (errno.EEXIST if add else errno.ENOENT) or (not add and error.errno == errno.EINVAL):
            return False
        raise
    return True


def has_clsact(netlink: Netlink, ifindex: int) -> bool:
    """Has an interface the qdisc that tc filters hang on?"""
    return any(text(one.attributes.get(_TCA_KIND, b"")) == "clsact" for one in traffic(netlink, GETQDISC, ifindex))


def any_filter(netlink: Netlink, ifindex: int, parent: int) -> bool:
    """Is a filter of any kind there?"""
    return bool(traffic(netlink, GETTFILTER, ifindex, parent))


def _info(priority: int) -> int:
    return priority << 16 | socket.htons(_ETH_P_ALL)


def tc_attach(netlink: Netlink, place: TcFilter, prog_fd: int, *, replace: bool) -> TcFilter:
    options = (attribute(_BPF_FD, struct.pack("=i", prog_fd)), attribute(_BPF_NAME, place.name or "bombus"),
               attribute(_BPF_FLAGS, _FLAG_DIRECT))  # fmt: skip
    body = (
        _TCMSG.pack(0, place.ifindex, place.handle, place.parent, _info(place.priority))
        + attribute(_TCA_KIND, "bpf") + nest(_TCA_OPTIONS, *options)
    )  # fmt: skip
    # NLM_F_ECHO: the kernel tells the handle and priority that it chose.
    flags = NLM_F_CREATE | 8 | (NLM_F_REPLACE if replace else NLM_F_EXCL)
    answer = netlink.ask(_RTM_NEWTFILTER, body, flags=flags, call="RTM_NEWTFILTER (bpf)")
    for kind, data in answer:
        if kind == _RTM_NEWTFILTER:
            found = _filter(data)
            if found is not None:
                return found
    raise KernelError(errno.EIO, "RTM_NEWTFILTER", "the kernel did not say which filter it made")


def _filter(data: bytes) -> TcFilter | None:
    _, ifindex, handle, parent, info = _TCMSG.unpack_from(data)
    rows = attributes(data[_TCMSG.size :])
    if rows.get(_TCA_KIND) != b"bpf\0" or not handle:
        return None
    options = attributes(rows.get(_TCA_OPTIONS, b""))
    return TcFilter(
        ifindex, parent, handle, info >> 16, int.from_bytes(options.get(_BPF_ID, b""), "little"),
        options.get(_BPF_NAME, b"").rstrip(b"\0").decode(errors="replace"),
    )  # fmt: skip


def tc_detach(netlink: Netlink, place: TcFilter) -> None:
    body = _TCMSG.pack(0, place.ifindex, place.handle, place.parent, _info(place.priority))
    body += attribute(_TCA_KIND, "bpf")
    netlink.ask(_RTM_DELTFILTER, body, call="RTM_DELTFILTER (bpf)")


def tc_filters(netlink: Netlink, ifindex: int, parent: int) -> list[TcFilter]:
    body = _TCMSG.pack(0, ifindex, 0, parent, 0)
    answer = netlink.ask(_RTM_GETTFILTER, body, flags=NLM_F_DUMP, call="RTM_GETTFILTER")
    return [found for kind, data in answer if kind == _RTM_NEWTFILTER and (found := _filter(data)) is not None]


def _network(destination: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(destination)
    except ValueError as error:
        raise UsageError(f"{destination!r} is no network: {error}") from None


def route_has(netlink: Netlink, destination: str, ifindex: int, name: str) -> bool:
    """Does a route run a program that was given this name?"""
    network = _network(destination)
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    body = _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
    for _, data in netlink.ask(_RTM_GETROUTE, body, flags=NLM_F_DUMP, call="RTM_GETROUTE"):
        rows = attributes(data[_RTMSG.size :])
        if (
            _RTMSG.unpack_from(data)[1] == network.prefixlen and rows.get(_RTA_OIF) == struct.pack("=I", ifindex)
            and rows.get(_RTA_DST, bytes(len(network.network_address.packed))) == network.network_address.packed
            and rows.get(_RTA_ENCAP_TYPE, b"")[:2] == struct.pack("=H", _ENCAP_BPF)
            and any(text(attributes(one).get(_LWT_NAME, b"")) == name for one in attributes(rows[_RTA_ENCAP]).values())
        ):  # fmt: skip
            return True
    return False


def route_encap(
    netlink: Netlink, destination: str, ifindex: int, programs: dict[str, int], headroom: int, *, remove: bool,
    name: str = "bombus",
) -> None:  # fmt: skip
    network = _network(destination)
    parts = [
        nest(_LWT[way], attribute(_LWT_FD, struct.pack("=i", fd)), attribute(_LWT_NAME, name))
        for way, fd in programs.items()
    ]
    if headroom:
        parts.append(attribute(_LWT_HEADROOM, headroom))
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    table, protocol, scope, unicast = 254, 4, 253 if network.version == 4 else 0, 1  # main, static, link
    body = _RTMSG.pack(family, network.prefixlen, 0, 0, table, 0 if remove else protocol, scope, unicast, 0)
    body += attribute(_RTA_DST, network.network_address.packed) + attribute(_RTA_OIF, ifindex)
    if not remove:
        body += attribute(_RTA_ENCAP_TYPE, struct.pack("=H", _ENCAP_BPF)) + nest(_RTA_ENCAP, *parts)
    if remove:
        netlink.ask(_RTM_DELROUTE, body, call="RTM_DELROUTE")
    else:
        netlink.ask(_RTM_NEWROUTE, body, flags=NLM_F_CREATE | NLM_F_EXCL, call="RTM_NEWROUTE (encap bpf)")
