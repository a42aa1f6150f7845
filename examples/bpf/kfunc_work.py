"""Have work done later, in a context that may sleep, and look at packets through a dynptr."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bombus import bpf
from bombus.bpf import Array, Dynptr, Ref, Struct, WorkQueue, array, be16, map, s32, s64, u8, u32, u64, xdp
from bombus.bpf.helpers import Memory

LICENSE = bpf.license("GPL")


class Element(Struct):
    work: WorkQueue
    done: u64


class Ethernet(Struct, name="ethhdr"):
    destination: Array[u8] = array(6)
    source: Array[u8] = array(6)
    protocol: be16


elements = map.array(u32, Element, max_entries=1)
bytes_seen = map.array(u32, u64, max_entries=1)


@bpf.kfunc
def bpf_wq_init(wq: WorkQueue, p__map: map.Map, flags: u32) -> s32:
    raise NotImplementedError


@bpf.kfunc
def bpf_wq_set_callback_impl(
    wq: WorkQueue, callback_fn: Callable[[Any, Ref[u32], Any], s64], flags: u32, aux__prog: Memory | None
) -> s32:
    raise NotImplementedError


@bpf.kfunc
def bpf_wq_start(wq: WorkQueue, flags: u32) -> s32:
    raise NotImplementedError


@bpf.kfunc
def bpf_dynptr_from_xdp(x: xdp.Context, flags: u64, ptr__uninit: Dynptr) -> s32:
    raise NotImplementedError


@bpf.kfunc
def bpf_dynptr_size(p: Dynptr) -> u64:
    raise NotImplementedError


@bpf.kfunc
def bpf_dynptr_slice(p: Dynptr, offset: u64, buffer__opt: Memory | None, buffer__szk: u64) -> Ethernet | None: ...


def later(_map: u64, key: Ref[u32], element: Element) -> s64:
    element.done += 1
    return s64(0)


@xdp
def look(ctx: xdp.Context) -> xdp.Action:
    dynptr = Dynptr()
    if bpf_dynptr_from_xdp(ctx, u64(0), dynptr) != 0:
        return xdp.ABORTED
    header = bpf_dynptr_slice(dynptr, u64(0), Ethernet(), u64(14))
    if header is None or header.protocol != 0x0800:
        return xdp.PASS
    bytes_seen.update(0, bpf_dynptr_size(dynptr))
    return xdp.DROP


@bpf.tc
def start(ctx: bpf.tc.Context) -> bpf.tc.Action:
    element = elements.lookup(0)
    if element is None:
        return bpf.tc.OK
    if bpf_wq_init(element.work, elements, u32(0)) != 0:
        return bpf.tc.OK
    if bpf_wq_set_callback_impl(element.work, later, u32(0), None) == 0:
        bpf_wq_start(element.work, u32(0))
    return bpf.tc.OK
