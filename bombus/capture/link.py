"""Link layers other than Ethernet, turned into Ethernet so that XDP and tc programs can read them.

Numbers: the LINKTYPE_ registry of the pcap format.
"""

from __future__ import annotations

from collections.abc import Callable

from bombus.errors import CaptureError, NotSupported

ETHERNET = 1
ETH_P_IP = b"\x08\x00"
ETH_P_IPV6 = b"\x86\xdd"
ADDRESSES = bytes(12)

# Address family numbers of IPv6 differ between systems (LINKTYPE_NULL keeps the capturing host's).
_AF_INET = 2
_AF_INET6 = {10, 24, 28, 30}


def _ip(data: bytes) -> bytes:
    version = data[0] >> 4 if data else 0
    if version not in (4, 6):
        raise CaptureError(f"a raw IP packet of IP version {version}")
    return ADDRESSES + (ETH_P_IP if version == 4 else ETH_P_IPV6) + data


def _family(data: bytes, order: str) -> bytes:
    if len(data) < 4:
        raise CaptureError(f"a loopback packet of {len(data)} bytes")
    family = int.from_bytes(data[:4], "big")
    if order == "host" and family > 0xFFFF:
        family = int.from_bytes(data[:4], "little")
    if family == _AF_INET:
        return ADDRESSES + ETH_P_IP + data[4:]
    if family in _AF_INET6:
        return ADDRESSES + ETH_P_IPV6 + data[4:]
    raise CaptureError(f"a loopback packet of address family {family}")


def _cooked(data: bytes, header: int, protocol: int) -> bytes:
    if len(data) < header:
        raise CaptureError(f"a cooked packet of {len(data)} bytes")
    return ADDRESSES + data[protocol : protocol + 2] + data[header:]


_TO_ETHERNET: dict[int, tuple[str, Callable[[bytes], bytes]]] = {
    ETHERNET: ("Ethernet", lambda data: data),
    0: ("BSD loopback", lambda data: _family(data, "host")),
    12: ("raw IP", _ip),
    14: ("raw IP", _ip),
    101: ("raw IP", _ip),
    108: ("OpenBSD loopback", lambda data: _family(data, "network")),
    113: ("Linux cooked", lambda data: _cooked(data, 16, 14)),
    228: ("raw IPv4", _ip),
    229: ("raw IPv6", _ip),
    276: ("Linux cooked v2", lambda data: _cooked(data, 20, 0)),
}


def link_name(linktype: int) -> str:
    known = _TO_ETHERNET.get(linktype)
    return known[0] if known else f"link type {linktype}"


def to_ethernet(linktype: int) -> Callable[[bytes], bytes]:
    """A function that makes an Ethernet frame of a packet's bytes. NotSupported for other link types.

    The function raises CaptureError for a packet that its link type does not allow.
    """
    known = _TO_ETHERNET.get(linktype)
    if known is None:
        raise NotSupported(f"link type {linktype}", "only Ethernet, raw IP, loopback and cooked can be run")
    return known[1]
