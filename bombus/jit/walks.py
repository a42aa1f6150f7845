"""Helpers that call a function of the program for each thing that a map holds, as loops.

The map's code gives one thing after the other (`MapCode.calls` of these helpers): u64 each(base, state, cpu) with the
state of the walk, which is zeros at first; 0 ends it. Some have s64 begin(base, state, flags), whose errors are
answers, and u64 finish(base, state), which says what r0 is.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from bombus.jit import abi
from bombus.jit.writer import Writer
from bombus.vm.run import FRAME_STRIDE

if TYPE_CHECKING:
    from bombus.vm.env import MapCode

LOOP: Final = 181  # bpf_loop
FOR_EACH: Final = 164  # bpf_for_each_map_elem
DRAIN: Final = 209  # bpf_user_ringbuf_drain
WALKS: Final = (FOR_EACH, DRAIN)
OWN: Final = "o"  # in `MapCode.calls`: what the callback gets is memory of the map
WHOLE: Final = "b"  # there are begin and finish
STATE_BYTES: Final = 48  # of runtime.maps.table.Walk, and of userring.Drain
KEY_AT: Final = 24  # in Walk: the address of the key


def walk(w: Writer, code: MapCode, helper: int, function: int) -> None:
    """bpf_for_each_map_elem: the callback gets map, key, value and what the caller gives; r0 is how often it was
    called. bpf_user_ringbuf_drain: it gets a dynptr and what the caller gives. Linux 6.12 kernel/bpf/hashtab.c:
    bpf_for_each_hash_elem, arraymap.c: bpf_for_each_array_elem, ringbuf.c: bpf_user_ringbuf_drain."""
    emit = w.ops.emit
    w.module.call(function)
    each, params = code.calls[helper]
    room = each.removesuffix("each")
    handle, context, flags = w.read(1), w.read(3), w.read(4)
    base = emit(f"ptrtoint ptr @{w.module.memory(w.here)} to i64")
    number = emit(f"load i32, ptr {w.field('cpu')}, align 4")
    cpu = emit(f"zext i32 {number} to i64")
    state = w.room(STATE_BYTES)
    at = emit(f"ptrtoint ptr {state} to i64")
    frame = "0" if w.module.native_frames else emit(f"add i64 %frame, {FRAME_STRIDE}")
    begin, head, body, after, end, done = (w.ops.name() for _ in range(6))
    w.line(f"call void @llvm.memset.p0.i64(ptr align 8 {state}, i8 0, i64 {STATE_BYTES}, i1 false)")
    if params == WHOLE:
        problem = emit(f"call i64 @{room}begin(i64 {base}, i64 {at}, i64 {flags})")
    else:
        problem = emit(f"select i1 {emit(f'icmp eq i64 {flags}, 0')}, i64 0, i64 {-errno.EINVAL}")
    w.line(f"br label {begin}")
    w.label(begin)
    w.line(f"br i1 {emit(f'icmp eq i64 {problem}, 0')}, label {head}, label {done}")
    w.label(head)
    count, more = w.ops.name(), w.ops.name()
    w.line(f"{count} = phi i64 [ 0, {begin} ], [ {more}, {after} ]")
    thing = emit(f"call i64 @{each}(i64 {base}, i64 {at}, i64 {cpu})")
    w.line(f"br i1 {emit(f'icmp eq i64 {thing}, 0')}, label {end}, label {body}")
    w.label(body)
    if helper == FOR_EACH:
        key = emit(f"load i64, ptr {emit(f'getelementptr i8, ptr {state}, i64 {KEY_AT}')}, align 8")
        args = f"i64 {handle}, i64 {key}, i64 {thing}, i64 {context}, i64 0"
    else:
        args = f"i64 {thing}, i64 {context}, i64 0, i64 0, i64 0"
    result = emit(f"call i64 @f{function}(ptr %run, i64 {frame}, {args})")
    if w.module.stops(function):
        _leave_if_stopped(w, f"{room}finish(i64 {base}, i64 {at})" if params == WHOLE else "")
    w.line(f"br label {after}")
    w.label(after)
    w.line(f"{more} = add i64 {count}, 1")
    w.line(f"br i1 {emit(f'icmp ne i64 {result}, 0')}, label {end}, label {head}")
    w.label(end)
    rounds = emit(f"phi i64 [ {count}, {head} ], [ {more}, {after} ]")
    if params == WHOLE:
        rounds = emit(f"call i64 @{room}finish(i64 {base}, i64 {at})")
    w.line(f"br label {done}")
    w.label(done)
    answer = emit(f"phi i64 [ {problem}, {begin} ], [ {rounds}, {end} ]")
    w.forget()
    w.write(0, answer)


def _leave_if_stopped(w: Writer, finish: str) -> None:
    if not finish:
        w.leave_if_stopped()
        return
    status = w.ops.emit("load i32, ptr %run, align 8")
    stopped = w.ops.emit(f"icmp ne i32 {status}, {abi.RETURNED}")
    out, on = w.ops.name(), w.ops.name()
    w.line(f"br i1 {stopped}, label {out}, label {on}, !prof !1")
    w.label(out)
    w.ops.emit(f"call i64 @{finish}")
    w.line("ret i64 0")
    w.label(on)
