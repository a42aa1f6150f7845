"""Calls: helpers, functions of the program, loops, tail calls, and loads that the kernel does by a call."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from bombus.isa.facts import CTX, PACKET
from bombus.jit import abi
from bombus.jit.access import TAGS
from bombus.jit.model import asks
from bombus.jit.ops import number
from bombus.jit.writer import Left, Writer
from bombus.vm.env import ASK, HANDLE_BASE, HANDLE_STRIDE, HANDLES
from bombus.vm.run import FRAME_STRIDE, MAX_CALL_FRAMES, MAX_LOOPS, MAX_TAIL_CALLS

if TYPE_CHECKING:
    from bombus.vm.env import ArrayPlace, MapCode

LOOKUP: Final = 1  # bpf_map_lookup_elem
TAIL_CALL: Final = 12
_POINTERS: Final = (LOOKUP, 131, 203)  # give an address, or 0: bpf_ringbuf_reserve, bpf_dynptr_data
_FIVE: Final = range(1, 6)
_NETWORK: Final = -0x100000  # SKF_NET_OFF, SKF_LL_OFF: Linux 6.12 include/uapi/linux/filter.h
_LINK: Final = -0x200000


def _arguments(w: Writer) -> str:
    return ", ".join(f"i64 {w.read(n)}" for n in _FIVE)


def call(w: Writer, symbol: str) -> None:
    w.module.out.helpers.setdefault(symbol, w.here)
    w.outside()
    result = w.ops.emit(f"call i64 @{symbol}(ptr %run, {_arguments(w)})")
    w.leave_if_stopped()
    w.forget()
    w.write(0, result)


def loop(w: Writer, function: int) -> None:
    """bpf_loop as a loop: function(i, r3) until it returns other than 0; the rounds made are r0."""
    ops, emit = w.ops, w.ops.emit
    w.module.call(function)
    count = w.read(1)
    context = w.read(3)
    frame = "0" if w.module.native_frames else emit(f"add i64 %frame, {FRAME_STRIDE}")
    begin, head, body, after, done = (ops.name() for _ in range(5))
    w.line(f"br label {begin}")
    w.label(begin)
    many = emit(f"icmp ugt i64 {count}, {MAX_LOOPS}")
    w.line(f"br i1 {many}, label {done}, label {head}")
    w.label(head)
    index, following = ops.name(), ops.name()
    w.line(f"{index} = phi i64 [ 0, {begin} ], [ {following}, {after} ]")
    more = emit(f"icmp ult i64 {index}, {count}")
    w.line(f"br i1 {more}, label {body}, label {done}")
    w.label(body)
    result = emit(f"call i64 @f{function}(ptr %run, i64 {frame}, i64 {index}, i64 {context}, i64 0, i64 0, i64 0)")
    if w.module.stops(function):
        w.leave_if_stopped()
    w.line(f"br label {after}")
    w.label(after)
    w.line(f"{following} = add i64 {index}, 1")
    ends = emit(f"icmp ne i64 {result}, 0")
    w.line(f"br i1 {ends}, label {done}, label {head}")
    w.label(done)
    # Linux' inlined form looks at all of r1, and sets the lower half of r0 only (inline_bpf_loop).
    too_many = -errno.E2BIG & 0xFFFF_FFFF
    rounds = emit(f"phi i64 [ {too_many}, {begin} ], [ {index}, {head} ], [ {following}, {after} ]")
    w.forget()
    w.write(0, rounds)


def array_lookup(w: Writer, array: ArrayPlace) -> None:
    """bpf_map_lookup_elem of an array, as the kernel inlines it."""
    emit = w.ops.emit
    index = emit(f"load i32, ptr {w.pointer(2)}, align 1")
    inside = emit(f"icmp ult i32 {index}, {number(array.entries, 32)}")
    offset = emit(f"mul i64 {emit(f'zext i32 {index} to i64')}, {array.stride}")
    if array.cpu_stride:
        cpu = emit(f"load i32, ptr {w.field('cpu')}, align 4")
        own = emit(f"mul i64 {emit(f'zext i32 {cpu} to i64')}, {array.cpu_stride}")
        offset = emit(f"add i64 {offset}, {own}")
    place = emit(f"getelementptr nusw nuw i8, ptr @{w.module.memory(w.here)}, i64 {offset}")
    w.write(0, None, emit(f"select i1 {inside}, ptr {place}, ptr null"))


def map_call(w: Writer, code: MapCode, helper: int) -> None:
    """A map helper as a call of the map's own code, which LLVM inlines."""
    name, params = code.calls[helper]
    memory = w.ops.emit(f"ptrtoint ptr @{w.module.memory(w.here)} to i64")
    merge = None
    if code.by_handle:
        memory, merge = _memory_of(w, memory, abi.helper_symbol(helper))
    args = [f"i64 {memory}"]
    for param in params:
        if param == "c":
            cpu = w.ops.emit(f"load i32, ptr {w.field('cpu')}, align 4")
            args.append(f"i64 {w.ops.emit(f'zext i32 {cpu} to i64')}")
        elif param == "y":
            args.append("i64 1")
        elif param == "w":
            ordinary = w.ops.emit(f"load i64, ptr {w.field('ordinary')}, align 8")
            args.append(f"i64 {ordinary}")
        else:
            args.append(f"i64 {w.read(int(param))}")
    result = w.ops.emit(f"call i64 @{name}({', '.join(args)})")
    if merge is not None:
        result = merge(result)
    elif asks(code, helper):
        result = _or_helper(w, result, abi.helper_symbol(helper))
    place = w.ops.emit(f"inttoptr i64 {result} to ptr") if helper in _POINTERS else None
    w.forget()
    w.write(0, result, place)


def _memory_of(w: Writer, table: str, symbol: str) -> tuple[str, Callable[[str], str]]:
    """Where the memory of the map in r1 lies; goes on there. What is returned brings the result together with that of
    the helper, which is called where the map has no such memory."""
    emit = w.ops.emit
    w.module.out.helpers.setdefault(symbol, w.here)
    arguments = _arguments(w)
    number_ = emit(f"lshr i64 {emit(f'sub i64 {w.read(1)}, {HANDLE_BASE}')}, {HANDLE_STRIDE.bit_length() - 1}")
    look, there, ask, asked, done = (w.ops.name() for _ in range(5))
    inside = emit(f"icmp ult i64 {number_}, {HANDLES}")
    w.line(f"br i1 {inside}, label {look}, label {ask}, !prof !0")
    w.label(look)
    slot = emit(f"getelementptr i64, ptr {emit(f'inttoptr i64 {table} to ptr')}, i64 {number_}")
    memory = emit(f"load atomic i64, ptr {slot} monotonic, align 8")
    native = emit(f"icmp ne i64 {memory}, 0")
    w.line(f"br i1 {native}, label {there}, label {ask}, !prof !0")
    w.label(ask)
    w.outside()
    other = emit(f"call i64 @{symbol}(ptr %run, {arguments})")
    w.leave_if_stopped()
    w.line(f"br label {asked}")
    w.label(asked)
    w.line(f"br label {done}")
    w.label(there)

    def merge(result: str) -> str:
        here = w.ops.name()
        w.line(f"br label {here}")
        w.label(here)
        w.line(f"br label {done}")
        w.label(done)
        return emit(f"phi i64 [ {result}, {here} ], [ {other}, {asked} ]")

    return memory, merge


def _or_helper(w: Writer, answer: str, symbol: str) -> str:
    """An answer, or where that is ASK what the helper says (those that may be asked take no arguments)."""
    w.module.out.helpers.setdefault(symbol, w.here)
    knows, ask, asked, done = (w.ops.name() for _ in range(4))
    unknown = w.ops.emit(f"icmp eq i64 {answer}, {ASK}")
    w.line(f"br i1 {unknown}, label {ask}, label {knows}, !prof !1")
    w.label(knows)
    w.line(f"br label {done}")
    w.label(ask)
    w.outside()
    other = w.ops.emit(f"call i64 @{symbol}(ptr %run, {', '.join(['i64 0'] * 5)})")
    w.leave_if_stopped()
    w.line(f"br label {asked}")
    w.label(asked)
    w.line(f"br label {done}")
    w.label(done)
    return w.ops.emit(f"phi i64 [ {answer}, {knows} ], [ {other}, {asked} ]")


def call_local(w: Writer, target: int) -> None:
    if not 0 <= target < len(w.insns):
        w.fault("call", f"there is no instruction {target} to call")
        raise Left
    w.module.call(target)
    if w.options.checked:
        top = w.ops.emit(f"load i64, ptr {w.field('top')}, align 8")
        last = w.ops.emit(f"icmp eq i64 %frame, {top}")
        bad, good = w.ops.name(), w.ops.name()
        w.line(f"br i1 {last}, label {bad}, label {good}, !prof !1")
        w.label(bad)
        w.stop(abi.STACK)
        w.label(good)
    frame = "0" if w.module.native_frames else w.ops.emit(f"add i64 %frame, {FRAME_STRIDE}")
    result = w.ops.emit(f"call i64 @f{target}(ptr %run, i64 {frame}, {_arguments(w)})")
    if w.module.stops(target):
        w.leave_if_stopped()
    w.forget()
    w.write(0, result)


def tail_call(w: Writer) -> None:
    """Jump to the program that bpf_tail_call names; from a subprogram: call it and return what it returns."""
    ops, emit = w.ops, w.ops.emit
    context, array, index = w.read(1), w.read(2), ops.zext(ops.trunc(w.read(3), 64, 32), 32, 64)
    count = "%count" if w.module.counts_in_register else emit(f"load i32, ptr {w.field('tail_calls')}, align 4")
    below = emit(f"icmp ult i32 {count}, {MAX_TAIL_CALLS}")
    try_, ask, asked, jump, ran, native, on = (ops.name() for _ in range(7))
    w.line(f"br i1 {below}, label {try_}, label {on}, !prof !0")
    w.label(try_)
    known = _known_target(w, index, native, ask)
    w.label(ask)
    if not w.module.native_frames:
        w.line(f"store i64 %frame, ptr {w.field('frame')}, align 8")
    target = _ask(w, context, array, index)
    w.leave_if_stopped()
    w.line(f"br label {asked}")
    w.label(asked)
    found = emit(f"icmp ne i64 {target}, 0")
    w.line(f"br i1 {found}, label {jump}, label {on}")
    w.label(jump)
    already = emit(f"icmp eq i64 {target}, {abi.ALREADY_RAN}")
    w.line(f"br i1 {already}, label {ran}, label {native}")
    w.label(ran)
    result = emit(f"load i64, ptr {w.field('result')}, align 8")
    w.line(f"ret i64 {result}")
    w.label(native)
    if known:
        value, place = known
        target = emit(f"phi i64 [ {value}, {place} ], [ {target}, {jump} ]")
    _enter(w, target, context, emit(f"add i32 {count}, 1"))
    w.label(on)
    w.forget()


def _known_target(w: Writer, index: str, native: str, ask: str) -> tuple[str, str] | None:
    """Look into the call's table of jumps: the value found, and the block that goes to `native` with it."""
    entries = w.module.jumps.get(w.here)
    if entries is None:
        w.line(f"br label {ask}")
        return None
    emit, look = w.ops.emit, w.ops.name()
    inside = emit(f"icmp ult i64 {index}, {entries}")
    w.line(f"br i1 {inside}, label {look}, label {ask}")
    w.label(look)
    slot = emit(f"getelementptr i64, ptr @{abi.jumps_symbol(w.here)}, i64 {index}")
    value = emit(f"load atomic i64, ptr {slot} monotonic, align 8")
    there = emit(f"icmp ne i64 {value}, 0")
    w.line(f"br i1 {there}, label {native}, label {ask}, !prof !0")
    return value, look


def _ask(w: Writer, context: str, array: str, index: str) -> str:
    """bpf_tail_call, out of the way: a call that saves all registers leaves the jump itself without any to save."""
    w.module.out.needs.add(abi.TAIL_CALL)
    saving = w.module.out.target.saving
    args = f"i64 {context}, i64 {array}, i64 {index}, i32 {w.here}"
    return w.ops.emit(f"call {saving}i64 @ask(ptr %run, {args})")


def _enter(w: Writer, target: str, context: str, count: str) -> None:
    """Go there. A program in the place of main has main's frames; one in the place of a subprogram 8 of its own."""
    emit = w.ops.emit
    code = emit(f"inttoptr i64 {target} to ptr")
    if not w.module.native_frames:
        w.line(f"store i64 %frame, ptr {w.field('frame')}, align 8")
    how = "musttail " if w.main and w.module.out.target.musttail else ""
    call = f"{how}call i64 {code}(ptr %run, i64 {context}, i32 {count})"
    if w.main:
        w.line(f"ret i64 {emit(call)}")
        return
    top = w.field("top")
    before = emit(f"load i64, ptr {top}, align 8")
    here = emit(f"load i64, ptr {w.field('frame')}, align 8") if w.module.native_frames else "%frame"
    last = emit(f"add i64 {here}, {(MAX_CALL_FRAMES - 1) * FRAME_STRIDE}")
    w.line(f"store i64 {last}, ptr {top}, align 8")
    result = emit(call)
    w.line(f"store i64 {before}, ptr {top}, align 8")
    w.line(f"ret i64 {result}")


def load_packet(w: Writer, offset: str, size: int) -> None:
    if w.options.packet and not w.options.checked:
        _load_known_packet(w, w.ops.sext(offset, 32, 64), size)
        return
    wide = w.ops.sext(offset, 32, 64)
    found = w.service(abi.LOAD_PACKET, [w.read(6), wide, str(size)])
    none = w.ops.emit(f"icmp eq i64 {found}, -1")
    out, on = w.ops.name(), w.ops.name()
    w.line(f"br i1 {none}, label {out}, label {on}")
    w.label(out)
    w.line("ret i64 0")
    w.label(on)
    w.write(0, found)


def _load_known_packet(w: Writer, offset: str, size: int) -> None:
    """The packet is where the words behind its context say. Linux 6.12 net/core/filter.c bpf_skb_load_helper_8."""
    emit, context = w.ops.emit, w.pointer(6)
    words = []
    for number_ in range(4):
        place = emit(f"getelementptr i8, ptr {context}, i64 {w.options.packet + 8 * number_}")
        words.append(emit(f"load i64, ptr {place}, align 8, !tbaa !{TAGS[CTX]}"))
    data, end, link, network = words
    of_data = emit(f"icmp sge i64 {offset}, 0")
    of_network = emit(f"icmp sge i64 {offset}, {_NETWORK}")
    headers = emit(f"select i1 {of_network}, i64 {emit(f'sub i64 {network}, {_NETWORK}')}, "
                   f"i64 {emit(f'sub i64 {link}, {_LINK}')}")  # fmt: skip
    base = emit(f"select i1 {of_data}, i64 {data}, i64 {headers}")
    at = emit(f"add i64 {base}, {offset}")
    inside = emit(f"icmp ule i64 {emit(f'add i64 {at}, {size}')}, {end}")
    known = emit(f"icmp sge i64 {offset}, {_LINK}")
    both = emit(f"and i1 {inside}, {known}")
    good, out = w.ops.name(), w.ops.name()
    w.line(f"br i1 {both}, label {good}, label {out}, !prof !0")
    w.label(out)
    w.line("ret i64 0")
    w.label(good)
    place = emit(f"inttoptr i64 {at} to ptr")
    value = emit(f"load i{size * 8}, ptr {place}, align 1, !tbaa !{TAGS[PACKET]}")
    if size > 1 and w.module.out.target.byteorder == "little":
        value = emit(f"call i{size * 8} @llvm.bswap.i{size * 8}(i{size * 8} {value})")
    w.write(0, w.ops.zext(value, size * 8, 64))
