"""What route netlink tells of network devices: XDP programs, qdiscs, classes and filters of tc.

Source: include/uapi/linux/rtnetlink.h, if_link.h, pkt_cls.h.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import NamedTuple

from bombus.kernel.linux.netlink import NLM_F_DUMP, Netlink, attributes

GETQDISC, GETTCLASS, GETTFILTER = 38, 42, 46  # RTM_*
_GETLINK = 18
_NAMES = {GETQDISC: "RTM_GETQDISC", GETTCLASS: "RTM_GETTCLASS", GETTFILTER: "RTM_GETTFILTER"}
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg
_TC = struct.Struct("=BxxxiIII")  # struct tcmsg

IFLA_IFNAME, IFLA_XDP = 3, 43
XDP_ATTACHED, XDP_PROG_ID, XDP_DRV_PROG_ID, XDP_SKB_PROG_ID, XDP_HW_PROG_ID = 2, 4, 5, 6, 7  # IFLA_XDP_*
TCA_KIND, TCA_OPTIONS = 1, 2

Attributes = dict[int, bytes]


class Device(NamedTuple):
    ifindex: int
    attributes: Attributes


class Traffic(NamedTuple):
    """One qdisc, class or filter."""

    handle: int
    attributes: Attributes


def text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode(errors="replace")


def number(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder)


def devices(netlink: Netlink) -> list[Device]:
    """All network devices of this namespace."""
    body = _LINK.pack(socket.AF_PACKET, 0, 0, 0, 0)
    answer = netlink.ask(_GETLINK, body, flags=NLM_F_DUMP, call="RTM_GETLINK")
    return [Device(_LINK.unpack_from(data)[2], attributes(data[_LINK.size :])) for _, data in answer]


def traffic(netlink: Netlink, kind: int, ifindex: int, parent: int = 0) -> list[Traffic]:
    """Qdiscs, classes or filters (kind: GETQDISC, GETTCLASS, GETTFILTER) of a device."""
    body = _TC.pack(0, ifindex, 0, parent, 0)
    found = []
    for _, data in netlink.ask(kind, body, flags=NLM_F_DUMP, call=_NAMES[kind]):
        _family, of, handle, _parent, _info = _TC.unpack_from(data)
        if of == ifindex:
            found.append(Traffic(handle, attributes(data[_TC.size :])))
    return found
