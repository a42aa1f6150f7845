"""Helpers that call a function of the program for each thing that a map holds, as loops.

The map's code gives one thing after the other (`MapCode.calls` of these helpers): u64 f(base, state, cpu) with the
state of the walk, which is zeros at first; 0 ends it.
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
WALKS: Final = (FOR_EACH,)
STATE_BYTES: Final = 40  # runtime.maps.table.Walk
KEY_AT: Final = 24  # in it: the address of the key


def walk(w: Writer, code: MapCode, helper: int, function: int) -> None:
    """The callback gets map, key, value and what the caller gives; r0 is how often it was called.
    Linux 6.12 kernel/bpf/hashtab.c: bpf_for_each_hash_elem, arraymap.c: bpf_for_each_array_elem."""
    emit = w.ops.emit
    w.module.call(function)
    handle, context, flags = w.read(1), w.read(3), w.read(4)
    base = emit(f"ptrtoint ptr @{abi.map_symbol(w.here)} to i64")
    number = emit(f"load i32, ptr {w.field('cpu')}, align 4")
    cpu = emit(f"zext i32 {number} to i64")
    state = w.room(STATE_BYTES)
    frame = "0" if w.module.native_frames else emit(f"add i64 %frame, {FRAME_STRIDE}")
    check, begin, head, body, after, done = (w.ops.name() for _ in range(6))
    w.line(f"br label {check}")
    w.label(check)
    w.line(f"br i1 {emit(f'icmp eq i64 {flags}, 0')}, label {begin}, label {done}")
    w.label(begin)
    w.line(f"call void @llvm.memset.p0.i64(ptr align 8 {state}, i8 0, i64 {STATE_BYTES}, i1 false)")
    at = emit(f"ptrtoint ptr {state} to i64")
    key_at = emit(f"getelementptr i8, ptr {state}, i64 {KEY_AT}")
    w.line(f"br label {head}")
    w.label(head)
    count, more = w.ops.name(), w.ops.name()
    w.line(f"{count} = phi i64 [ 0, {begin} ], [ {more}, {after} ]")
    value = emit(f"call i64 @{code.calls[helper][0]}(i64 {base}, i64 {at}, i64 {cpu})")
    w.line(f"br i1 {emit(f'icmp eq i64 {value}, 0')}, label {done}, label {body}")
    w.label(body)
    key = emit(f"load i64, ptr {key_at}, align 8")
    args = f"i64 {handle}, i64 {key}, i64 {value}, i64 {context}, i64 0"
    result = emit(f"call i64 @f{function}(ptr %run, i64 {frame}, {args})")
    if w.module.stops(function):
        w.leave_if_stopped()
    w.line(f"br label {after}")
    w.label(after)
    w.line(f"{more} = add i64 {count}, 1")
    w.line(f"br i1 {emit(f'icmp ne i64 {result}, 0')}, label {done}, label {head}")
    w.label(done)
    refused = -errno.EINVAL & 0xFFFF_FFFF_FFFF_FFFF
    rounds = emit(f"phi i64 [ {refused}, {check} ], [ {count}, {head} ], [ {more}, {after} ]")
    w.forget()
    w.write(0, rounds)
