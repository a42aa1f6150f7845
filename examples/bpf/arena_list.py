"""A sorted list in memory that the program shares with user space."""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Array, Pointer, Struct, array, map, syscall, u32, u64

LICENSE = bpf.license("GPL")
heap = map.arena(pages=16)


class Node(Struct, arena=True):
    next: Pointer[Node]
    value: u64
    seen: Array[u32] = array(2)


class Page(Struct, arena=True):
    nodes: Array[Node] = array(64)


class State(Struct):
    head: Pointer[Node]
    page: Pointer[Page]
    used: u32


class Request(Struct):
    value: u64
    place: u64
    sum: u64


state = bpf.var(State)


def fresh() -> Node | None:
    page = state.page
    if page is None:
        page = heap.alloc(Page)
        if page is None:
            return None
        state.page = page
    index = state.used
    if index >= 64:
        return None
    state.used += 1
    return page.nodes[index & 63]


@syscall
def insert(ctx: Request) -> int:
    node = fresh()
    if node is None:
        return 1
    node.value = ctx.value
    before: Node | None = None
    after = state.head
    place = u64(0)
    for _step in range(64):
        if after is None or after.value >= ctx.value:
            break
        bpf.atomic(after.seen)[0] += 1
        before = after
        after = after.next
        place += 1
    node.next = after
    if before is None:
        state.head = node
    else:
        before.next = node
    ctx.place = place
    return 0


@syscall
def total(ctx: Request) -> int:
    sum = u64(0)
    node = state.head
    for _step in range(64):
        if node is None:
            break
        sum = sum * 3 + node.value + u64(node.seen[0])
        node = node.next
    ctx.sum = sum
    return 0
