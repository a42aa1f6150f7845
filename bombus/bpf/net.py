"""Headers of packets as structs. Numbers in them are in network byte order (be16, be32)."""

from __future__ import annotations

from typing import Final

from bombus.bpf.ints import be16, be32, u8
from bombus.bpf.struct import Array, Struct, array, bits

ETH_IPV4: Final = 0x0800
ETH_ARP: Final = 0x0806
ETH_VLAN: Final = 0x8100
ETH_IPV6: Final = 0x86DD
ETH_QINQ: Final = 0x88A8

PROTO_ICMP: Final = 1
PROTO_IPIP: Final = 4
PROTO_TCP: Final = 6
PROTO_UDP: Final = 17
PROTO_ICMPV6: Final = 58


class Ethernet(Struct, name="ethhdr"):
    """14 bytes."""

    destination: Array[u8] = array(6)
    source: Array[u8] = array(6)
    protocol: be16


class Vlan(Struct, name="vlan_hdr"):
    """4 bytes after the Ethernet header of tagged frames."""

    tag: be16
    protocol: be16


class Arp(Struct, name="arphdr_ether"):
    """28 bytes: ARP for IPv4 over Ethernet."""

    hardware: be16
    protocol: be16
    hardware_length: u8
    protocol_length: u8
    operation: be16
    sender_hardware: Array[u8] = array(6)
    sender_address: Array[u8] = array(4)
    target_hardware: Array[u8] = array(6)
    target_address: Array[u8] = array(4)


class IPv4(Struct, name="iphdr"):
    """20 bytes, and ihl * 4 with options."""

    ihl: u8 = bits(4)
    version: u8 = bits(4)
    tos: u8
    length: be16
    id: be16
    fragment: be16
    ttl: u8
    protocol: u8
    checksum: be16
    source: be32
    destination: be32


class IPv6(Struct, name="ipv6hdr"):
    """40 bytes."""

    priority: u8 = bits(4)
    version: u8 = bits(4)
    flow: Array[u8] = array(3)
    length: be16
    next: u8
    hop_limit: u8
    source: Array[be32] = array(4)
    destination: Array[be32] = array(4)


class Tcp(Struct, name="tcphdr"):
    """20 bytes, and offset * 4 with options."""

    source: be16
    destination: be16
    sequence: be32
    acknowledgment: be32
    reserved: u8 = bits(4)
    offset: u8 = bits(4)
    fin: u8 = bits(1)
    syn: u8 = bits(1)
    rst: u8 = bits(1)
    psh: u8 = bits(1)
    ack: u8 = bits(1)
    urg: u8 = bits(1)
    ece: u8 = bits(1)
    cwr: u8 = bits(1)
    window: be16
    checksum: be16
    urgent: be16


class Udp(Struct, name="udphdr"):
    """8 bytes."""

    source: be16
    destination: be16
    length: be16
    checksum: be16


class Icmp(Struct, name="icmphdr"):
    """8 bytes."""

    type: u8
    code: u8
    checksum: be16
    id: be16
    sequence: be16
