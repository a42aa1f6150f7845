"""A firewall: rules for networks of IPv4 and IPv6 by longest prefix, each with its counters."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Array, Struct, array, be32, map, u32, u64, xdp
from bombus.bpf.net import ETH_IPV4, ETH_IPV6, Ethernet, IPv4, IPv6


class Prefix4(Struct):
    bits: u32
    address: be32


class Prefix6(Struct):
    bits: u32
    address: Array[be32] = array(4)


class Rule(Struct):
    verdict: u32
    reserved: u32
    packets: u64
    bytes: u64


networks4 = map.lpm_trie(Prefix4, Rule, max_entries=1024)
networks6 = map.lpm_trie(Prefix6, Rule, max_entries=1024)
otherwise = bpf.config(u32(xdp.PASS))  # the verdict where no rule fits


@bpf.inline
def judged(rule: Rule, length: u32) -> xdp.Action:
    bpf.atomic(rule).packets += 1
    bpf.atomic(rule).bytes += u64(length)
    return xdp.Action(rule.verdict)


@xdp
def firewall(ctx: xdp.Context) -> xdp.Action:
    eth = ctx.parse(Ethernet)
    if eth is None:
        return xdp.DROP
    length = ctx.length
    if eth.protocol == ETH_IPV4:
        ip = ctx.parse(IPv4, 14)
        if ip is None:
            return xdp.DROP
        rule = networks4.lookup(Prefix4(bits=32, address=ip.source))
        return judged(rule, length) if rule is not None else xdp.Action(otherwise.value)
    if eth.protocol == ETH_IPV6:
        six = ctx.parse(IPv6, 14)
        if six is None:
            return xdp.DROP
        key = Prefix6(bits=128)
        for i in range(4):
            key.address[i] = six.source[i]
        rule = networks6.lookup(key)
        return judged(rule, length) if rule is not None else xdp.Action(otherwise.value)
    return xdp.PASS
