"""The same small programs on the user kernel and on Linux: results, packets, contexts and reports are equal."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator

import pytest
from helper_cases import (
    Case,
    arp,
    call,
    helper_args,
    ipv4,
    ipv6,
    linux,
    outcome,
    stack_bytes,
    vlan,
)

from bombus.isa import build as b
from bombus.isa.insn import Insn
from bombus.isa.opcodes import BPF_PSEUDO_FUNC
from bombus.kernel.user.kernel import UserKernel

pytestmark = pytest.mark.linux

SKB_FIELDS = ("len", "pkt_type", "protocol", "vlan_present", "vlan_tci", "vlan_proto", "mark", "ifindex", "cb0")
ROUNDS = 12


def skb_case(name: str, args: tuple[int | str, ...], data: bytes, *, stack: bytes = b"", kind: str = "SCHED_CLS",
             flags: int = 0, ctx: bytes = b"") -> Case:  # fmt: skip
    body: list[Insn] = [*stack_bytes(stack), *helper_args(*args), call(name)]
    return Case(f"{name}{args}", kind, tuple(body), data, ctx, flags, SKB_FIELDS)


def any_packet(rng: random.Random) -> bytes:
    return rng.choice((ipv4, ipv6, vlan, arp))(rng)


def csum_diff(rng: random.Random) -> Iterator[Case]:
    for _ in range(ROUNDS):
        a, c = rng.choice((4, 8, 16, 20)), rng.choice((4, 8, 40))
        data = rng.randbytes(64)
        yield skb_case("csum_diff", ("stack", a, "stack2", c, rng.getrandbits(31)), ipv4(rng),
                       stack=data.ljust(128, b"\0") + rng.randbytes(64))  # fmt: skip
    yield skb_case("csum_diff", (0, 0, "stack", 8, 5), ipv4(rng), stack=bytes(8))
    yield skb_case("csum_diff", (0, 0, "stack", 6, 5), ipv4(rng), stack=bytes(8))
    yield skb_case("csum_diff", ("stack", 8, 0, 0, 0), ipv4(rng), stack=b"\xff" * 8)


def l3_csum(rng: random.Random) -> Iterator[Case]:
    for _ in range(ROUNDS):
        flags = rng.choice((0, 2, 4, 2, 4, 3, 16))
        old = 0 if flags == 0 else rng.getrandbits(rng.choice((16, 31)))
        offset = rng.choice((24, 24, 24, 25, 70, 200, 0x10000))
        yield skb_case("l3_csum_replace", ("ctx", offset, old, rng.getrandbits(31), flags), ipv4(rng))


def l4_csum(rng: random.Random) -> Iterator[Case]:
    for _ in range(3 * ROUNDS):
        flags = rng.choice((0, 2, 4)) | rng.choice((0, 16)) | rng.choice((0, 32)) | rng.choice((0, 64))
        old = 0 if flags & 15 == 0 else rng.getrandbits(rng.choice((16, 31)))
        complete = rng.choice((0, 4))
        yield skb_case("l4_csum_replace", ("ctx", 40, old, rng.getrandbits(31), flags), ipv4(rng), flags=complete)
    yield skb_case("l4_csum_replace", ("ctx", 40, 1, 2, 1 << 9), ipv4(rng))


def store(rng: random.Random) -> Iterator[Case]:
    for _ in range(2 * ROUNDS):
        size = rng.randrange(1, 40)
        offset = rng.randrange(0, 100)
        yield skb_case("skb_store_bytes", ("ctx", offset, "stack", size, rng.choice((0, 1, 2, 3, 4))), ipv4(rng),
                       stack=rng.randbytes(40), flags=rng.choice((0, 4)))  # fmt: skip


def load(rng: random.Random) -> Iterator[Case]:
    for _ in range(ROUNDS):
        args = ("ctx", rng.randrange(0, 100), "report", rng.randrange(1, 40))
        kind = rng.choice(("SCHED_CLS", "SOCKET_FILTER", "CGROUP_SKB", "LWT_IN"))
        yield skb_case("skb_load_bytes", args, any_packet(rng), kind=kind)
        kind = rng.choice(("SCHED_CLS", "SOCKET_FILTER"))
        yield skb_case("skb_load_bytes_relative", (*args, rng.choice((0, 1, 2))), any_packet(rng), kind=kind)


def adjust_room(rng: random.Random) -> Iterator[Case]:
    for _ in range(6 * ROUNDS):
        delta = rng.choice((0, 4, 8, 20, 40, 60, 4095, 4096, -4, -8, -20, -28, -40, -70, -5000))
        flags = rng.choice((0, 0, 2, 4, 6, 10, 20, 26, 128, 256, 384, 1, 32, 66 | 14 << 56, 1 << 20))
        packet = rng.choice((ipv4, ipv6, vlan, arp))(rng)
        yield skb_case("skb_adjust_room", ("ctx", delta, rng.choice((0, 1, 2)), flags), packet)


def sizes(rng: random.Random) -> Iterator[Case]:
    for _ in range(2 * ROUNDS):
        packet = any_packet(rng)
        length = rng.choice((0, 14, 20, 34, 60, 100, 2000, 16000, 16064, 16065, 20000))
        yield skb_case("skb_change_tail", ("ctx", length, rng.choice((0, 0, 0, 1))), packet)
        yield skb_case("skb_change_head", ("ctx", rng.choice((0, 14, 100, 1000, 15000, 20000, -1)),
                                           rng.choice((0, 0, 0, 1))), packet)  # fmt: skip
        yield skb_case("skb_change_proto", ("ctx", rng.choice((0x0008, 0xDD86, 0x0608)), rng.choice((0, 0, 1))), packet)
        yield skb_case("skb_change_type", ("ctx", rng.choice((0, 1, 2, 3, 4, 7))), packet)
        yield skb_case("skb_pull_data", ("ctx", rng.choice((0, 20, 1000))), packet)


def vlans(rng: random.Random) -> Iterator[Case]:
    for _ in range(ROUNDS):
        packet = any_packet(rng)
        yield skb_case("skb_vlan_push", ("ctx", rng.choice((0x0081, 0xA888, 0)), rng.getrandbits(16)), packet)
        yield skb_case("skb_vlan_pop", ("ctx",), packet)
        push = [*helper_args("ctx", 0x0081, rng.getrandbits(12)), call("skb_vlan_push")]
        for more in ([], push, push + push):
            body = (*push, *more, *helper_args("ctx"), call("skb_vlan_pop"))
            yield Case("vlan push, pop", "SCHED_CLS", body, packet, fields=SKB_FIELDS)
            yield Case("vlan push, push", "SCHED_CLS", (*push, *more), packet, fields=SKB_FIELDS)
            # Headers in front of a tagged packet: the tag in the bytes is no longer the packet's protocol.
            front = (*helper_args("ctx", 40, 0), call("skb_change_head"))
            pop = (*helper_args("ctx"), call("skb_vlan_pop"))
            for complete in (0, 4):
                yield Case("vlan behind", "SCHED_CLS", (*front, *more, *pop, *push, *pop), packet, b"", complete,
                           fields=SKB_FIELDS)  # fmt: skip
                yield Case("vlan pops", "SCHED_CLS", (*more, *pop, *pop, *push), vlan(rng), b"", complete,
                           fields=SKB_FIELDS)  # fmt: skip


def levels(rng: random.Random) -> Iterator[Case]:
    for level in range(5):
        for first in range(4):
            body = (*helper_args("ctx", first), call("csum_level"), *helper_args("ctx", level), call("csum_level"))
            yield Case("csum_level", "SCHED_CLS", body, ipv4(rng), fields=SKB_FIELDS)
    for flags in (0, 4):
        yield skb_case("csum_update", ("ctx", 0), ipv4(rng), flags=flags)
    yield skb_case("csum_update", ("ctx", 12345), ipv4(rng), flags=4)


def small(rng: random.Random) -> Iterator[Case]:
    packet = any_packet(rng)
    for name in ("get_route_realm", "get_cgroup_classid", "skb_ecn_set_ce", "skb_cgroup_classid"):
        kinds = {"skb_ecn_set_ce": "CGROUP_SKB"}
        yield skb_case(name, ("ctx",), packet, kind=kinds.get(name, "SCHED_CLS"))
    for _ in range(8):
        yield skb_case("skb_ecn_set_ce", ("ctx",), any_packet(rng), kind="CGROUP_SKB")
    yield skb_case("set_hash_invalid", ("ctx",), packet)
    yield skb_case("set_hash", ("ctx", 77), packet)
    for args in ((1, 0), (1, 1), (99, 2), (1, 8)):
        yield skb_case("redirect", args, packet)
        yield skb_case("redirect_peer", args, packet)
    for args in ((1, 0), (1, 1)):
        body = (*helper_args(*args), call("redirect"))
        yield Case("xdp redirect", "XDP", body, packet)
    yield skb_case("skb_get_tunnel_key", ("ctx", "report", 44, 0), packet)


def numbers(rng: random.Random) -> Iterator[Case]:
    texts = (
        b"0", b"123", b"-5", b"  42x", b"0x1f", b"0x", b"0xg", b"017", b"08", b"9" * 19, b"9" * 20, b"", b"-", b"+3",
        b"18446744073709551615", b"-9223372036854775808", b"9223372036854775808", b" -0x10 ", b"ff", b"12\x0034",
    )  # fmt: skip
    for text in texts:
        for flags in (0, 8, 10, 16, 2, 64):
            for name in ("strtol", "strtoul"):
                args = ("stack", max(len(text), 1), flags, "report")
                yield skb_case(name, args, ipv4(rng), stack=text.ljust(24, b"\0"))


def xdp(rng: random.Random) -> Iterator[Case]:
    for _ in range(4 * ROUNDS):
        data = rng.randbytes(rng.choice((14, 60, 100, 1500, 3520, 4000, 9000)))
        for name in ("xdp_adjust_head", "xdp_adjust_tail", "xdp_adjust_meta"):
            delta = rng.choice((0, 1, 4, -4, 14, -14, -32, -216, -217, -256, 46, 47, 300, -400, -4000, 2000))
            body = (*helper_args("ctx", delta), call(name))
            yield Case(f"{name}({delta}) on {len(data)}", "XDP", body, data)
        meta = (*helper_args("ctx", rng.choice((-4, -32, -64))), call("xdp_adjust_meta"))
        head = (*meta, *helper_args("ctx", rng.choice((-8, 8, 20))), call("xdp_adjust_head"))
        yield Case("meta and head", "XDP", head, data)
        offset, size = rng.choice((0, 10, 3500, 3519, 5000, 0x10000)), rng.randrange(1, 64)
        yield Case("xdp_load_bytes", "XDP", (*helper_args("ctx", offset, "report", size), call("xdp_load_bytes")), data)
        body = (*stack_bytes(rng.randbytes(64)), *helper_args("ctx", offset, "stack", size), call("xdp_store_bytes"))
        yield Case("xdp_store_bytes", "XDP", body, data)
        yield Case("xdp_get_buff_len", "XDP", (*helper_args("ctx"), call("xdp_get_buff_len")), data)
    for md in ((0, 60, 0, 0, 0, 0), (4, 60, 0, 0, 0, 0), (5, 60, 0, 0, 0, 0), (0, 61, 0, 0, 0, 0), (8, 30, 0, 1, 0, 0),
               (0, 60, 0, 0, 1, 0), (0, 60, 1, 0, 0, 0), (0, 60, 0, 0, 0, 1), (256, 60, 0, 0, 0, 0)):  # fmt: skip
        body = (*helper_args("ctx"), call("xdp_get_buff_len"))
        yield Case(f"xdp_md {md}", "XDP", body, rng.randbytes(60), struct.pack("<6I", *md))


def contexts(rng: random.Random) -> Iterator[Case]:
    body = (*helper_args("ctx", 0), call("skb_pull_data"))
    for at in range(0, 192, 4):
        ctx = bytearray(192)
        struct.pack_into("<I", ctx, at, 1)
        yield Case(f"__sk_buff with {at} set", "SCHED_CLS", body, ipv4(rng), bytes(ctx), 0, SKB_FIELDS)
    for size in (4, 100, 191, 192, 200):
        yield Case(f"ctx of {size}", "SCHED_CLS", body, ipv4(rng), bytes(size), 0, SKB_FIELDS)
    for size in (0, 13, 14, 20, 34, 3712, 3713):
        yield Case(f"data of {size}", "SCHED_CLS", body, (ipv4(rng) + bytes(4000))[:size] , b"", 0, SKB_FIELDS)


FORMATS = (
    (b"%d|%u|%x|%X", (-5, 2**32 - 1, 0xABC, 0xABC)), (b"%5d|%-5d|%05d|%+d", (42, 42, -42, 42)), (b"% d|%i", (7, -7)),
    (b"%ld|%lu|%lx|%lld|%llu|%llx", (-1, -1, -1, -(2**63), 2**64 - 1, 1)), (b"%c%c|%3c|%-3c|", (65, 0x42, 67, 68)),
    (b"100%% %d", (1,)), (b"%d", ()), (b"%", ()), (b"%z", (1,)), (b"%5", (1,)), (b"caf\xc3\xa9", ()), (b"a\x01b", ()),
    (b"%08x|%-8x|%8X", (255, 255, 255)), (b"%px|%lx", (0x1234, 5)), (b"tab\tnl\n", ()), (b"%s", (0,)), (b"%sx", (0,)),
    (b"%pI4|%pi4", (0, 0)), (b"%pI6", (0,)), (b"%pi6", (0,)), (b"%pI5", (0,)), (b"%pks|%pus", (0, 0)), (b"%pX", (0,)),
    (b"%hd", (1,)), (b"%20s|", (0,)), (b"%+5u|%+x|% u", (5, 5, 5)), (b"%0+5d|%-05d|", (3, 3)), (b"%05c|", (65,)),
    (b"%lli %llX", (5, 0xABCDEF)), (b"% 5d|%+05d|%0 5d", (1, 2, 3)), (b"%-+5d|%- 5d|", (4, 5)), (b"%c", (0,)),
)


def formats(rng: random.Random) -> Iterator[Case]:
    """Through bpf_trace_printk, whose result is the length, and through seven arguments of bpf_trace_vprintk."""
    for form, args in FORMATS:
        text = form + b"\0"
        words = b"".join((arg % 2**64).to_bytes(8, "little") for arg in args)
        yield skb_case("trace_vprintk", ("stack", len(text), "stack2", len(words)), ipv4(rng),
                       stack=text.ljust(128, b"\0") + words.ljust(8, b"\0"))  # fmt: skip
        if len(args) <= 3:
            yield skb_case("trace_printk", ("stack", len(text), *args), ipv4(rng), stack=text)


def memory(rng: random.Random) -> Iterator[Case]:
    stack = b"hello, world\0xyz".ljust(40, b"!")
    for size in (1, 4, 8, 16, 40):
        for name in ("probe_read_kernel", "probe_read_kernel_str"):
            for source in ("stack", 0):
                yield skb_case(name, ("report", size, source), ipv4(rng), stack=stack)


def loops(rng: random.Random) -> Iterator[Case]:
    """bpf_loop whose callback counts in the report and stops at some index."""
    for count in (0, 1, 5, 100, 8 * 1024 * 1024 + 1):
        for stop in (0, 3, 1000):
            for flags in (0, 1):
                setup = [
                    b.st("u64", 10, -64, 0), b.mov(1, count), *b.ld_imm64(2, 0, BPF_PSEUDO_FUNC), b.mov(3, b.R10),
                    b.add(3, -64), b.mov(4, flags), call("loop"), b.ldx("u64", 1, 10, -64), b.stx("u64", 9, 64, b.R1),
                ]  # fmt: skip
                callback = (
                    b.ldx("u64", 3, 2, 0), b.add(3, 1), b.stx("u64", 2, 0, b.R3), b.mov(0, 0), b.jmp("!=", 1, stop, 1),
                    b.mov(0, 1), b.exit_(),
                )  # fmt: skip
                yield Case(f"loop {count} {stop} {flags}", "SCHED_CLS", tuple(setup), ipv4(rng), function=callback)


def maps(rng: random.Random) -> Iterator[Case]:
    """A run of operations on a map of its own; each result goes into the report."""
    hashes = ((1, 4, 8, 3), (5, 4, 8, 3), (2, 4, 8, 3), (6, 4, 8, 3), (9, 4, 8, 64))
    for shape in hashes * 3:
        body: list[Insn] = []
        for step in range(12):
            key = rng.randrange(5)
            body += stack_bytes(struct.pack("<I", key)) + stack_bytes(rng.randbytes(8), -128)
            name = rng.choice(("map_update_elem", "map_update_elem", "map_delete_elem", "map_lookup_elem"))
            more: tuple[int | str, ...] = ("stack2", rng.choice((0, 0, 1, 2, 3, 4))) if "update" in name else ()
            body += [*helper_args("map", "stack", *more), call(name)]
            if "lookup" in name:
                body += [b.jmp("==", 0, 0, 1), b.ldx("u64", 0, 0, 0)]
            body.append(b.stx("u64", 9, 64 + 8 * step, b.R0))
        yield Case(f"map {shape}", "SCHED_CLS", tuple(body), ipv4(rng), map=shape)
    for kind in (22, 23) * 4:
        body = []
        for step in range(12):
            name = rng.choice(("map_push_elem", "map_push_elem", "map_pop_elem", "map_peek_elem"))
            body += stack_bytes(rng.randbytes(8))
            more = (rng.choice((0, 0, 2, 1)),) if "push" in name else ()
            body += [*helper_args("map", "stack", *more), call(name), b.stx("u64", 9, 64 + 8 * step, b.R0)]
            body += [b.ldx("u64", 1, 10, -256), b.stx("u64", 9, 160, b.R1)]
        yield Case(f"queue {kind}", "SCHED_CLS", tuple(body), ipv4(rng), map=(kind, 0, 8, 3))


def rings(rng: random.Random) -> Iterator[Case]:
    for _ in range(ROUNDS):
        body: list[Insn] = stack_bytes(rng.randbytes(64))
        for step in range(8):
            args = ("map", "stack", rng.choice((1, 8, 17, 64)), rng.choice((0, 1, 2, 4)))
            body += [*helper_args(*args), call("ringbuf_output"), b.stx("u64", 9, 64 + 8 * step, b.R0)]
        for step in range(5):
            body += [*helper_args("map", step), call("ringbuf_query"), b.stx("u64", 9, 128 + 8 * step, b.R0)]
        yield Case("ringbuf_output", "SCHED_CLS", tuple(body), ipv4(rng), map=(27, 0, 0, 4096))
        size = rng.choice((8, 4080, 4088, 4096))
        body = [*helper_args("map", size, 0), call("ringbuf_reserve"), b.mov(7, 0), b.jmp("==", 0, 0, 4),
                b.st("u64", 0, 0, 5), b.mov(1, b.R0), b.mov(2, rng.choice((0, 1))),
                call(rng.choice(("ringbuf_submit", "ringbuf_discard"))), b.mov(0, 0)]  # fmt: skip
        for step in range(5):
            body += [*helper_args("map", step), call("ringbuf_query"), b.stx("u64", 9, 128 + 8 * step, b.R0)]
        yield Case(f"ringbuf_reserve {size}", "SCHED_CLS", tuple(body), ipv4(rng), map=(27, 0, 0, 4096))
    for flags in (0, 5, 0xFFFFFFFF, 10 << 32 | 0xFFFFFFFF, 1 << 60, 500 << 32):
        body = [*stack_bytes(bytes(16)), *helper_args("ctx", "map", flags, "stack", 16), call("perf_event_output")]
        yield Case(f"perf_event_output {flags:#x}", "SCHED_CLS", tuple(body), ipv4(rng), map=(4, 4, 4, 4))


FAMILIES: dict[str, Callable[[random.Random], Iterator[Case]]] = {
    f.__name__: f
    for f in (csum_diff, l3_csum, l4_csum, store, load, adjust_room, sizes, vlans, levels, small, numbers, xdp,
              contexts, formats, memory, loops, maps, rings)
}


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_to_linux(family: str) -> None:
    real = linux()
    if real is None:
        pytest.skip("bpf(2) is refused here")
    ours = UserKernel(real.version, engine="reference")
    wrong = []
    count = 0
    for case in FAMILIES[family](random.Random(7)):
        count += 1
        expected, got = outcome(real, case), outcome(ours, case)
        if expected != got:
            wrong.append(f"{case.name} on {case.data[:40].hex()}\n  Linux {expected}\n  user  {got}")
    assert not wrong, f"{len(wrong)} of {count}:\n" + "\n".join(wrong[:5])
    assert count >= 10
