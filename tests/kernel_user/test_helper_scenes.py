"""Helpers that need maps, callbacks, constants or readers: the same scenes on the user kernel and on Linux."""

from __future__ import annotations

import errno
import random
import re
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helper_cases import call, ipv4, linux, stack_bytes
from helper_scenes import LOCKED, TIMED, Case, Stage, func, helper, main, map_, note, play, stack_, value_
from test_helper_linux import FORMATS

from bombus.errors import KernelError, LoadError
from bombus.isa import build as b
from bombus.isa.insn import Insn
from bombus.kernel.handles import PerfBuffer, RingBuffer, UserRing
from bombus.kernel.user.kernel import UserKernel

pytestmark = pytest.mark.linux

ZERO = bytes(4)


def snprintf(rng: random.Random) -> Iterator[Case]:
    for form, numbers in FORMATS:
        words = b"".join((number % 2**64).to_bytes(8, "little") for number in numbers)
        for size in (0, 1, 5, 64):
            yield f"snprintf {form!r} {size}", _snprintf(form, words, size)


def _snprintf(form: bytes, words: bytes, size: int) -> Callable[[Stage], object]:
    def scene(stage: Stage) -> object:
        maps = (stage.report(), stage.text(form + b"\0"))
        data = stack_(4, -128) if words else 0
        body = main(stack_bytes(words, -128), helper("snprintf", [*value_(1, 0, 64)], size, value_(3, 1), data,
                                                     len(words)), note(0))  # fmt: skip
        try:
            program = stage.load(body, maps=maps)
        except LoadError as error:
            # The verifier reads the format; without it the helper finds what is wrong.
            return None if error.errno == errno.EINVAL else error.errno
        out = stage.run(program)
        return None if maps[0][ZERO][:8] == (-errno.EINVAL % 2**64).to_bytes(8, "little") else (out, maps[0][ZERO])

    return scene


def strings(rng: random.Random) -> Iterator[Case]:
    texts = (b"abc", b"abd", b"", b"abcdef", b"\xff", b"\x01", b"ab\0x", b"ab\0y")
    for first in texts:
        for second in texts:
            yield f"strncmp {first!r} {second!r}", _strncmp(first, second)


def _strncmp(first: bytes, second: bytes) -> Callable[[Stage], object]:
    def scene(stage: Stage) -> object:
        maps = (stage.report(), stage.text(second + b"\0"))
        body: list[Insn] = []
        for number, size in enumerate((1, 2, 3, 8)):
            body += [*helper("strncmp", stack_(1, -64), size, value_(3, 1)), *note(number)]
        program = stage.load(main(stack_bytes(first.ljust(8, b"\0"), -64), body), maps=maps)
        return stage.run(program), maps[0][ZERO]

    return scene


def dynptrs(rng: random.Random) -> Iterator[Case]:
    for number in range(60):
        yield f"dynptr {number}", _dynptr(random.Random(rng.random()))
    for number in range(20):
        yield f"ring dynptr {number}", _ring_dynptr(random.Random(rng.random()))


def _dynptr(rng: random.Random) -> Callable[[Stage], object]:
    size = rng.choice((0, 1, 8, 16, 64, 100))
    flags = rng.choice((0, 0, 0, 0, 1))
    body = [*value_(7, 0, 256), *helper("dynptr_from_mem", [b.mov(1, b.R7)], size, flags, stack_(4, -16)), *note(0)]
    body += stack_bytes(rng.randbytes(32), -64)
    for step in range(1, 9):
        offset, count = rng.choice((0, 1, 7, 60, 99, 100, 200, 0xFFFFFFFF)), rng.choice((0, 1, 4, 8, 32))
        wrong = rng.choice((0, 0, 0, 1))
        which = rng.randrange(3)
        if which == 0:
            body += helper("dynptr_write", stack_(1, -16), offset, stack_(3, -64), count, wrong)
        elif which == 1:
            body += helper("dynptr_read", stack_(1, -64), count, stack_(3, -16), offset, wrong)
        else:
            body += [*helper("dynptr_data", stack_(1, -16), offset, max(count, 1)), b.jmp("==", 0, 0, 2),
                     b.ldx("u8", 1, 0, 0), b.mov(0, b.R1)]  # fmt: skip
        body += note(step)
    body += [b.ldx("u64", 0, 10, -64), *note(9)]

    def scene(stage: Stage) -> object:
        report = stage.report()
        report[ZERO] = bytes(range(256)) * 2
        return stage.run(stage.load(main(body), maps=[report])), report[ZERO]

    return scene


def _ring_dynptr(rng: random.Random) -> Callable[[Stage], object]:
    body = stack_bytes(rng.randbytes(32), -64)
    for step in range(6):
        size, flags = rng.choice((0, 8, 13, 100, 4080, 4096, 1 << 25)), rng.choice((0, 0, 0, 1))
        body += [*helper("ringbuf_reserve_dynptr", map_(1, 1), size, flags, stack_(4, -16)), *note(4 * step)]
        body += [*helper("dynptr_write", stack_(1, -16), rng.choice((0, 5, 90)), stack_(3, -64), 8, 0),
                 *note(4 * step + 1)]  # fmt: skip
        name = rng.choice(("ringbuf_submit_dynptr", "ringbuf_submit_dynptr", "ringbuf_discard_dynptr"))
        body += helper(name, stack_(1, -16), rng.choice((0, 1, 2)))
        body += [*helper("ringbuf_query", map_(1, 1), rng.randrange(4)), *note(4 * step + 2)]

    def scene(stage: Stage) -> object:
        maps = (stage.report(), stage.map("ringbuf", 0, 0, 4096))
        with RingBuffer(maps[1]) as ring:
            out = stage.run(stage.load(main(body), maps=maps))
            # Bytes that nobody wrote are what was in the pages: compare lengths, and the written 8.
            return out, maps[0][ZERO], [len(event) for event in ring.read()]

    return scene


def rings(rng: random.Random) -> Iterator[Case]:
    for number in range(30):
        yield f"ring {number}", _ring(random.Random(rng.random()))


def _ring(rng: random.Random) -> Callable[[Stage], object]:
    """Outputs, reservations with submit and discard; then what a reader sees, and again after it read."""
    body: list[Insn] = stack_bytes(rng.randbytes(64), -64)
    for step in range(16):
        if rng.random() < 0.5:
            size, flags = rng.choice((0, 1, 8, 17, 64)), rng.choice((0, 1, 2, 0, 4))
            body += [*helper("ringbuf_output", map_(1, 1), stack_(2, -64), size, flags), *note(step)]
            continue
        size = rng.choice((8, 16, 512, 2000))
        body += helper("ringbuf_reserve", map_(1, 1), size, rng.choice((0, 0, 0, 1)))
        name = rng.choice(("ringbuf_submit", "ringbuf_discard"))
        filled = [b.st("u64", 0, at, rng.getrandbits(31)) for at in range(0, size, 8)]
        body += [b.mov(7, 1), b.jmp("==", 0, 0, len(filled) + 4), *filled, b.mov(1, b.R0),
                 b.mov(2, rng.choice((0, 1, 2))), call(name), b.mov(7, 2), *note(step, 7)]  # fmt: skip
    for what in range(5):
        body += [*helper("ringbuf_query", map_(1, 1), what), *note(20 + what)]

    def scene(stage: Stage) -> object:
        maps = (stage.report(), stage.map("ringbuf", 0, 0, 4096))
        program = stage.load(main(body), maps=maps)
        seen: list[object] = []
        with RingBuffer(maps[1]) as ring:
            for _ in range(3):
                seen += [stage.run(program), maps[0][ZERO], ring.read()]
        return seen

    return scene


def user_rings(rng: random.Random) -> Iterator[Case]:
    for count in (0, 1, 5, 100):
        for stop in (0, 1, 3):
            for flags in (0, 1, 2, 4):
                yield f"drain {count} {stop} {flags}", _drain(rng, count, stop, flags)


def _drain(rng: random.Random, count: int, stop: int, flags: int) -> Callable[[Stage], object]:
    samples = [rng.randbytes(rng.choice((8, 9, 16, 20))) for _ in range(count)]
    body = [b.st("u64", 10, -8, 3),
            *helper("user_ringbuf_drain", map_(1, 1), func(2, 0), stack_(3, -8), flags), *note(0)]  # fmt: skip
    # Mixes the first 8 bytes of each sample into word 2, adds the caller's 3 to word 1, stops there.
    callback = b.program(
        b.mov(7, b.R2), b.mov(3, b.R1), stack_(1, -8), b.mov(2, 8), b.mov(4, 0), b.mov(5, 0), call("dynptr_read"),
        value_(9, 0), b.ldx("u64", 1, 10, -8), b.ldx("u64", 2, 9, 16), b.mul(2, 3), b.add(2, b.R1),
        b.stx("u64", 9, 16, b.R2), b.ldx("u64", 2, 7, 0), b.ldx("u64", 1, 9, 8), b.add(2, b.R1),
        b.stx("u64", 9, 8, b.R2), b.mov(0, 0), b.jmp("!=", 2, 3 * stop, 1), b.mov(0, 1), b.exit_(),
    )  # fmt: skip

    def scene(stage: Stage) -> object:
        maps = (stage.report(), stage.map("user_ringbuf", 0, 0, 4096))
        program = stage.load(main(body), callback, maps=maps)
        ring = UserRing(maps[1])
        for sample in samples:
            ring.send(sample)
        seen: list[object] = []
        for _ in range(3):
            seen += [stage.run(program), maps[0][ZERO], ring.room]
        return seen

    return scene


def each(rng: random.Random) -> Iterator[Case]:
    for kind in ("array", "hash", "percpu_array", "percpu_hash", "lru_hash", "lru_percpu_hash"):
        for stop in (0, 1, 3):
            for flags in (0, 1):
                yield f"for_each {kind} {stop} {flags}", _each(kind, stop, flags)


def _each(kind: str, stop: int, flags: int) -> Callable[[Stage], object]:
    body = [b.st("u64", 10, -8, 3),
            *helper("for_each_map_elem", map_(1, 1), func(2, 0), stack_(3, -8), flags), *note(0)]  # fmt: skip
    # Order does not matter: sums of keys and values, a count, and the value grows by one.
    callback = b.program(
        value_(6, 0), b.ldx("u32", 5, 2, 0), b.ldx("u64", 0, 6, 16), b.add(0, b.R5), b.stx("u64", 6, 16, b.R0),
        b.ldx("u64", 5, 3, 0), b.add(5, 1), b.stx("u64", 3, 0, b.R5), b.ldx("u64", 0, 6, 24), b.add(0, b.R5),
        b.stx("u64", 6, 24, b.R0), b.ldx("u64", 5, 4, 0), b.ldx("u64", 1, 6, 8), b.add(5, b.R1),
        b.stx("u64", 6, 8, b.R5), b.mov(0, 0), b.jmp("!=", 5, 3 * stop, 1), b.mov(0, 1), b.exit_(),
    )  # fmt: skip

    def scene(stage: Stage) -> object:
        maps = (stage.report(), stage.map(kind, 4, 8, 8))
        cpus = stage.kernel.possible_cpus if "percpu" in kind else 1
        for key in range(6):
            word = struct.pack("<Q", 7 if stop else 100 * key)
            maps[1].store(struct.pack("<I", key), word * cpus if cpus == 1 else [word] * cpus)
        out = stage.run(stage.load(main(body), callback, maps=maps))
        left = sorted((bytes(key), _total(value)) for key, value in maps[1].items()) if not stop else []
        return out, maps[0][ZERO] if not stop else maps[0][ZERO][:16], left

    return scene


def _total(value: Any) -> int:
    if isinstance(value, int):
        return value
    if isinstance(value, (bytes, bytearray)):
        return int.from_bytes(value, "little")
    return sum(_total(item) for item in value)


def tail_calls(rng: random.Random) -> Iterator[Case]:
    for depth in (0, 1, 2, 31, 32, 33, 34, 40):
        yield f"self {depth}", _self_calls(depth)
    for index in (0, 1, 2, 3, 0xFFFFFFFF, 1 << 32):
        yield f"index {index:#x}", _chain(index)


def _self_calls(limit: int) -> Callable[[Stage], object]:
    """A program that calls itself until word 0 reached `limit`, and counts in word 1 what it fell through."""
    body = main(
        b.ldx("u64", 7, 9, 0), b.jmp(">=", 7, limit, 7), b.add(7, 1), b.stx("u64", 9, 0, b.R7),
        b.mov(1, b.R6), map_(2, 1), b.mov(3, 0), call("tail_call"), b.ldx("u64", 7, 9, 8), b.add(7, 1),
        b.stx("u64", 9, 8, b.R7), b.ldx("u64", 0, 9, 0), result=None,
    )  # fmt: skip

    def scene(stage: Stage) -> object:
        maps = (stage.report(), stage.map("prog_array", 4, 4, 4))
        program = stage.load(body, maps=maps)
        maps[1].store(ZERO, struct.pack("<I", program.fd))
        seen = []
        for _ in range(2):
            maps[0][ZERO] = bytes(512)
            seen += [stage.run(program), maps[0][ZERO]]
        return seen

    return scene


def _chain(index: int) -> Callable[[Stage], object]:
    """0 -> slot `index`; slot 1 changes the packet and calls 2; slot 2 answers; slots 0 and 3 are empty."""

    def scene(stage: Stage) -> object:
        maps = (stage.report(), stage.map("prog_array", 4, 4, 4))

        def jump(to: int) -> list[Insn]:
            return helper("tail_call", [b.mov(1, b.R6)], map_(2, 1), to)

        first = stage.load(main(jump(index), b.mov(0, 11), note(1), result=5), maps=maps)
        push = helper("skb_vlan_push", [b.mov(1, b.R6)], 0x0081, 9)
        second = stage.load(main(push, note(2), jump(2), result=6), maps=maps)
        third = stage.load(main(b.ldx("u32", 0, 6, 0), note(3), result=7), maps=maps)
        maps[1].store(struct.pack("<I", 1), struct.pack("<I", second.fd))
        maps[1].store(struct.pack("<I", 2), struct.pack("<I", third.fd))
        return stage.run(first), maps[0][ZERO]

    return scene


def printed(rng: random.Random) -> Iterator[Case]:
    for form, numbers in FORMATS:
        yield f"printk {form!r}", _printed(form, numbers)


def _printed(form: bytes, numbers: tuple[int, ...]) -> Callable[[Stage], object]:
    text = form + b"\0"
    words = b"".join((number % 2**64).to_bytes(8, "little") for number in numbers)

    def scene(stage: Stage) -> object:
        report = stage.report()
        body = [*stack_bytes(text, -256), *stack_bytes(words.ljust(8, b"\0"), -128)]
        if len(numbers) <= 3:
            body += [*helper("trace_printk", stack_(1, -256), len(text), *numbers), *note(0)]
        body += [*helper("trace_vprintk", stack_(1, -256), len(text), stack_(3, -128), len(words)), *note(1)]
        program = stage.load(main(body), maps=[report])
        stage.kernel.printk()
        return stage.run(program), report[ZERO], stage.kernel.printk()

    return scene


def perf(rng: random.Random) -> Iterator[Case]:
    for size in (1, 8, 20, 60):
        for extra in (0, 1, 14, 40, 64, 65, 1000):
            for kind in ("sched_cls", "xdp", "socket_filter"):
                yield f"perf {size} {extra} {kind}", _perf(kind, rng.randbytes(64), size, extra)


def _perf(kind: str, record: bytes, size: int, extra: int) -> Callable[[Stage], object]:
    flags = extra << 32 | 0xFFFFFFFF

    def scene(stage: Stage) -> object:
        maps = (stage.report(), stage.map("perf_event_array", 4, 4, stage.kernel.possible_cpus))
        output = helper("perf_event_output", [b.mov(1, b.R6)], map_(2, 1), flags, stack_(4, -64), size)
        program = stage.load(main(stack_bytes(record, -64), output, note(0), output, note(1)), maps=maps, kind=kind)
        with PerfBuffer(maps[1]) as events:
            return stage.run(program, bytes(range(64))), maps[0][ZERO], events.read(), events.read()

    return scene


def locks(rng: random.Random) -> Iterator[Case]:
    for kind in ("array", "hash", "lru_hash"):
        yield f"lock {kind}", _lock(kind)


def _lock(kind: str) -> Callable[[Stage], object]:
    def scene(stage: Stage) -> object:
        try:
            maps = (stage.report(), stage.map(kind, 4, 16, 1, value_type=LOCKED))
        except KernelError as error:
            return error.errno
        maps[1].store(ZERO, bytes(16))
        body = main(
            b.st("u32", 10, -4, 0), helper("map_lookup_elem", map_(1, 1), stack_(2, -4)), b.jmp("==", 0, 0, 9),
            b.mov(7, b.R0), b.mov(1, b.R7), call("spin_lock"), b.ldx("u64", 8, 7, 8), b.add(8, 3),
            b.stx("u64", 7, 8, b.R8), b.mov(1, b.R7), call("spin_unlock"), note(0, 8),
        )  # fmt: skip
        program = stage.load(body, maps=maps)
        first, second = stage.run(program), stage.run(program)
        return first, second, maps[0][ZERO], bytes(maps[1].lookup(ZERO)), bytes(maps[1].lookup(ZERO, flags=4))

    return scene


def timers(rng: random.Random) -> Iterator[Case]:
    orders = (
        ("init", "init", "set", "start", "cancel", "cancel"), ("set", "start", "cancel"), ("init", "start", "cancel"),
        ("init", "set", "start", "start", "cancel", "start"), ("init", "badstart", "set", "badstart", "cancel"),
        ("badinit", "badclock", "init"),
    )  # fmt: skip
    for kind in ("array", "hash"):
        for order in orders:
            yield f"timer {kind} {order}", _timer(kind, order)


def _timer(kind: str, order: tuple[str, ...]) -> Callable[[Stage], object]:
    """An hour until it is due, so that no callback runs."""
    timer = [b.mov(1, b.R7)]
    steps = {
        "init": helper("timer_init", timer, map_(2, 1), 1), "set": helper("timer_set_callback", timer, func(2, 0)),
        "start": helper("timer_start", timer, 3600 * 10**9, 0), "cancel": helper("timer_cancel", timer),
        "badstart": helper("timer_start", timer, 3600 * 10**9, 4),
        "badinit": helper("timer_init", timer, map_(2, 1), 1 << 5),
        "badclock": helper("timer_init", timer, map_(2, 1), 3),
    }  # fmt: skip
    body: list[Insn] = []
    for number, step in enumerate(order):
        body += [*steps[step], *note(number)]
    # The verifier wants the callback to be named, whether or not a case sets it.
    body += [b.mov(1, 0), b.jmp("==", 1, 0, 4), *steps["set"]]

    def scene(stage: Stage) -> object:
        maps = (stage.report(), stage.map(kind, 4, 24, 1, value_type=TIMED))
        maps[1].store(ZERO, bytes(24))
        lookup = [b.st("u32", 10, -4, 0), *helper("map_lookup_elem", map_(1, 1), stack_(2, -4))]
        whole = main(lookup, b.jmp("!=", 0, 0, 2), b.mov(0, 1), b.exit_(), b.mov(7, b.R0), body)
        program = stage.load(whole, [b.mov(0, 0), b.exit_()], maps=maps)
        return stage.run(program), maps[0][ZERO], bytes(maps[1].lookup(ZERO))

    return scene


def tries_and_blooms(rng: random.Random) -> Iterator[Case]:
    for number in range(20):
        yield f"trie {number}", _trie(random.Random(rng.random()))
        yield f"bloom {number}", _bloom(random.Random(rng.random()))
        yield f"inner {number}", _inner(random.Random(rng.random()))


def _trie(rng: random.Random) -> Callable[[Stage], object]:
    body: list[Insn] = []
    for step in range(12):
        length = rng.choice((0, 1, 8, 16, 31, 32, 33))
        key = struct.pack("<I", length) + bytes(rng.choice((0, 1, 0x80)) for _ in range(4))
        body += [*stack_bytes(key, -64), *stack_bytes(rng.randbytes(8), -32)]
        name = rng.choice(("map_update_elem", "map_update_elem", "map_lookup_elem", "map_delete_elem"))
        more: tuple[int | list[Insn], ...] = (stack_(3, -32), rng.choice((0, 1, 2))) if "update" in name else ()
        body += helper(name, map_(1, 1), stack_(2, -64), *more)
        body += [b.jmp("==", 0, 0, 1), b.ldx("u64", 0, 0, 0)] if "lookup" in name else []
        body += note(step)

    def scene(stage: Stage) -> object:
        maps = (stage.report(), stage.map("lpm_trie", 8, 8, 4, flags=1))
        return stage.run(stage.load(main(body), maps=maps)), maps[0][ZERO]

    return scene


def _bloom(rng: random.Random) -> Callable[[Stage], object]:
    values = [rng.randbytes(8) for _ in range(3)]
    body: list[Insn] = []
    for step in range(8):
        # Without false positives: only what was pushed before is asked for, and an empty filter.
        if step == 0 or rng.random() < 0.5:
            body += [*stack_bytes(values[0], -32)]
            name, more = ("map_peek_elem", ()) if step == 0 else ("map_push_elem", (rng.choice((0, 0, 1, 2)),))
        else:
            body += [*stack_bytes(values[0], -32), *helper("map_push_elem", map_(1, 1), stack_(2, -32), 0)]
            name, more = "map_peek_elem", ()
        body += [*helper(name, map_(1, 1), stack_(2, -32), *more), *note(step)]

    def scene(stage: Stage) -> object:
        maps = (stage.report(), stage.map("bloom_filter", 0, 8, 100))
        return stage.run(stage.load(main(body), maps=maps)), maps[0][ZERO]

    return scene


def _inner(rng: random.Random) -> Callable[[Stage], object]:
    kind = rng.choice(("array_of_maps", "hash_of_maps"))
    key, slot = rng.choice((0, 1, 2, 9)), rng.choice((0, 1))
    body = [
        b.st("u32", 10, -4, key), *helper("map_lookup_elem", map_(1, 1), stack_(2, -4)), b.jmp("==", 0, 0, 7),
        b.st("u32", 10, -4, slot), b.mov(1, b.R0), *stack_(2, -4), call("map_lookup_elem"), b.jmp("==", 0, 0, 1),
        b.ldx("u64", 0, 0, 0), *note(0),
    ]  # fmt: skip

    def scene(stage: Stage) -> object:
        inner = stage.map("array", 4, 8, 1)
        inner.store(ZERO, struct.pack("<Q", 77))
        maps = (stage.report(), stage.map(kind, 4, 4, 3, inner=inner))
        maps[1].store(struct.pack("<I", 1), struct.pack("<I", inner.fd))
        return stage.run(stage.load(main(body), maps=maps)), maps[0][ZERO]

    return scene


def answers(rng: random.Random) -> Iterator[Case]:
    """Helpers that answer for the surroundings of a direct run: no routes, no sockets, a loopback device."""
    ctx = [b.mov(1, b.R6)]
    data = stack_(2, -128)

    def one(kind: str, name: str, *values: int | list[Insn], stack: bytes = bytes(64)) -> Case:
        return f"{kind} {name} {stack.hex()}", _answer(kind, stack, helper(name, *values))

    for kind in ("sched_cls", "xdp"):
        for ifindex in (0, 1, 9999):
            for mtu in (0, 100, 65536, 65537):
                for delta in (0, 10, -10, -200, 66000):
                    for flags in (0, 1, 2):
                        yield one(kind, "check_mtu", ctx, ifindex, stack_(3, -128), delta, flags,
                                  stack=struct.pack("<I", mtu).ljust(64, b"\0"))  # fmt: skip
    for flags in (0, 1, 2, 4, 8, 16, 32, 64):
        for size in (4, 8, 12, 16, 24, 28, 44, 40, 48):
            for tunnel in (bytes(64), bytes(24) + b"\xff" * 4 + bytes(36), bytes(8) + bytes([1]) * 12 + bytes(44)):
                yield one("sched_cls", "skb_set_tunnel_key", ctx, data, size, flags, stack=tunnel)
    for size in (1, 4, 8, 60):
        yield one("sched_cls", "skb_set_tunnel_opt", ctx, data, size)
        yield one("sched_cls", "skb_get_tunnel_opt", ctx, data, size)
        yield one("raw_tracepoint", "probe_read", stack_(1, -128), size, stack_(3, -100), stack=rng.randbytes(64))
        yield one("raw_tracepoint", "probe_read_str", stack_(1, -128), size, stack_(3, -100), stack=rng.randbytes(64))
        yield one("raw_tracepoint", "probe_read", stack_(1, -128), size, 0, stack=rng.randbytes(64))
    yield one("sched_cls", "skb_get_xfrm_state", ctx, 0, stack_(3, -128), 24, 0, stack=rng.randbytes(64))
    yield one("socket_filter", "get_socket_uid", ctx)
    yield one("sched_cls", "get_socket_uid", ctx)
    for time in (0, 5):
        for kind_ in (0, 1, 2, 3):
            yield one("sched_cls", "skb_set_tstamp", ctx, time, kind_)
    for maps in ("devmap", "devmap_hash", "cpumap", "xskmap"):
        for key in (0, 3, 4, 1 << 32):
            for flags in (0, 1, 2, 3, 4, 8, 16, 24):
                yield f"redirect_map {maps} {key} {flags}", _redirect_map(maps, key, flags)
    for cpu in (0, 1, 999, 0xFFFFFFFF):
        for key in (0, 1):
            for maps in ("percpu_array", "percpu_hash", "lru_percpu_hash"):
                yield f"lookup_percpu {maps} {key} {cpu}", _percpu(maps, key, cpu)


def _answer(kind: str, stack: bytes, body: list[Insn]) -> Callable[[Stage], object]:
    def scene(stage: Stage) -> object:
        report = stage.report()
        after = [insn for n in range(8) for insn in (b.ldx("u64", 1, 10, -128 + 8 * n), *note(n + 1, 1))]
        program = stage.load(main(stack_bytes(stack, -128), body, note(0), after), maps=[report], kind=kind)
        packet = None if kind == "raw_tracepoint" else ipv4(random.Random(1))
        return stage.run(program, packet), report[ZERO]

    return scene


def _redirect_map(kind: str, key: int, flags: int) -> Callable[[Stage], object]:
    def scene(stage: Stage) -> object:
        maps = (stage.report(), stage.map(kind, 4, 4, 4))
        try:
            program = stage.load(main(helper("redirect_map", map_(1, 1), key, flags), note(0)), maps=maps, kind="xdp")
        except LoadError as error:
            return error.errno
        return stage.run(program), maps[0][ZERO]

    return scene


def _percpu(kind: str, key: int, cpu: int) -> Callable[[Stage], object]:
    def scene(stage: Stage) -> object:
        maps = (stage.report(), stage.map(kind, 4, 8, 1))
        cpus = stage.kernel.possible_cpus
        maps[1].store(ZERO, list(range(7, 7 + cpus)) if cpus > 1 else 7)
        body = [b.st("u32", 10, -4, key), *helper("map_lookup_percpu_elem", map_(1, 1), stack_(2, -4), cpu),
                b.jmp("==", 0, 0, 1), b.ldx("u64", 0, 0, 0), *note(0)]  # fmt: skip
        return stage.run(stage.load(main(body), maps=maps)), maps[0][ZERO]

    return scene


FAMILIES: dict[str, Callable[[random.Random], Iterator[Case]]] = {
    f.__name__: f
    for f in (snprintf, strings, dynptrs, rings, user_rings, each, tail_calls, printed, perf, locks, timers, answers,
              tries_and_blooms)
}


def shown(result: object) -> str:
    return re.sub(r"(\\x00){8,}", "..", repr(result))


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_to_linux(family: str) -> None:
    real = linux()
    if real is None:
        pytest.skip("bpf(2) is refused here")
    ours = UserKernel(real.version, cpus=real.possible_cpus, engine="reference")
    wrong = []
    count = 0
    for name, scene in FAMILIES[family](random.Random(5)):
        count += 1
        expected, got = play(real, scene), play(ours, scene)
        if expected != got:
            wrong.append(f"{name}\n  Linux {shown(expected)}\n  user  {shown(got)}")
    assert not wrong, f"{len(wrong)} of {count}:\n" + "\n".join(wrong[:5])
    assert count >= 3


@pytest.mark.parametrize("family", ["user_rings", "dynptrs", "each"])
def test_native_code(family: str) -> None:
    """The same in native code, over native maps. Every fourth: compiling takes its time."""
    pytest.importorskip("llvmlite", reason="native code is LLVM's")
    slow = UserKernel("6.18", cpus=2, engine="reference", maps="python")
    fast = UserKernel("6.18", cpus=2, engine="native", maps="native")
    for name, scene in list(FAMILIES[family](random.Random(6)))[::4]:
        assert play(slow, scene) == play(fast, scene), name


def test_drains_without_python() -> None:
    """Nobody of Python's is asked, and a drain inside of a drain of the same map is refused, as on Linux."""
    pytest.importorskip("llvmlite", reason="native code is LLVM's")
    drain = [b.st("u64", 10, -8, 0), *helper("user_ringbuf_drain", map_(1, 1), func(2, 0), stack_(3, -8), 0), *note(0)]
    callback = b.program(
        b.mov(3, b.R1), stack_(1, -8), b.mov(2, 8), b.mov(4, 0), b.mov(5, 0), call("dynptr_read"), value_(9, 0),
        b.ldx("u64", 1, 10, -8), b.ldx("u64", 2, 9, 16), b.add(2, b.R1), b.stx("u64", 9, 16, b.R2),
        b.st("u64", 10, -16, 0), helper("user_ringbuf_drain", map_(1, 1), func(2, 1), stack_(3, -16), 0),
        b.stx("u64", 9, 8, b.R0), b.mov(0, 0), b.exit_(),
    )  # fmt: skip
    nothing = b.program(b.mov(0, 0), b.exit_())

    def scene(stage: Stage) -> object:
        maps = (stage.report(), stage.map("user_ringbuf", 0, 0, 4096))
        program = stage.load(main(drain), callback, nothing, maps=maps)
        ring = UserRing(maps[1])
        for number in (5, 70, 900):
            ring.send(struct.pack("<Q", number))
        stage.run(program)
        if isinstance(stage.kernel, UserKernel) and stage.kernel.maps == "native":
            compiled: Any = stage.kernel.object("test", program.fd, "prog").compiled  # type: ignore[attr-defined]
            assert compiled.is_native
            assert not compiled.calls_python
        return struct.unpack_from("<QqQ", maps[0][ZERO]), ring.room

    wanted = ((3, -errno.EBUSY, 975), 4096)
    for kernel in (UserKernel("6.18", engine="fast", maps="python"),
                   UserKernel("6.18", engine="native", maps="native"), linux()):  # fmt: skip
        if kernel is not None:
            assert play(kernel, scene) == wanted
