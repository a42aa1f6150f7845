"""What executables for wasm32 ask their host for, as LLVM IR; elsewhere `start` makes the same of system calls.

Facts: WASI preview 1 (wasi_snapshot_preview1: fd_read, fd_write, clock_time_get, proc_exit).
"""

from __future__ import annotations

from typing import Final

from bombus.runtime.maps.helpers import REALTIME, TAI

MODULE: Final = "wasi_snapshot_preview1"
_REALTIME, _MONOTONIC = 0, 1


def _import(result: str, name: str, params: str) -> str:
    where = f'"wasm-import-module"="{MODULE}" "wasm-import-name"="{name}"'
    return f"declare {result} @wasi_{name}({params}) nounwind {where}"


def _transfer(name: str, fd: int) -> list[str]:
    """Bytes moved; -1 after an error."""
    return [
        _import("i32", f"fd_{name}", "i32, ptr, i32, ptr"),
        f"""define internal i64 @bombus_{name}(i64 %address, i64 %size) nounwind noinline {{
  %vector = alloca [2 x i32], align 4
  %moved = alloca i32, align 4
  %a = trunc i64 %address to i32
  %n = trunc i64 %size to i32
  store i32 %a, ptr %vector, align 4
  %second = getelementptr i32, ptr %vector, i32 1
  store i32 %n, ptr %second, align 4
  %error = call i32 @wasi_fd_{name}(i32 {fd}, ptr %vector, i32 1, ptr %moved)
  %count = load i32, ptr %moved, align 4
  %wide = zext i32 %count to i64
  %good = icmp eq i32 %error, 0
  %r = select i1 %good, i64 %wide, i64 -1
  ret i64 %r
}}""",
    ]


def clock_text() -> list[str]:
    """clock_gettime: there are two clocks, one for those of Linux that can be set (CLOCK_TAI is CLOCK_REALTIME unless
    somebody set the offset) and one for the others."""
    return [
        _import("i32", "clock_time_get", "i32, i64, ptr"),
        f"""define internal i32 @clock_gettime(i32 %clock, i64 %place) nounwind {{
  %now = alloca i64, align 8
  store i64 0, ptr %now, align 8
  %real = icmp eq i32 %clock, {REALTIME}
  %tai = icmp eq i32 %clock, {TAI}
  %set = or i1 %real, %tai
  %which = select i1 %set, i32 {_REALTIME}, i32 {_MONOTONIC}
  %error = call i32 @wasi_clock_time_get(i32 %which, i64 1, ptr %now)
  %all = load i64, ptr %now, align 8
  %seconds = udiv i64 %all, 1000000000
  %rest = urem i64 %all, 1000000000
  %at = inttoptr i64 %place to ptr
  store i64 %seconds, ptr %at, align 8
  %second = getelementptr i64, ptr %at, i32 1
  store i64 %rest, ptr %second, align 8
  ret i32 %error
}}""",
    ]


def system_text() -> list[str]:
    """bombus_read, bombus_write and bombus_exit."""
    return [
        *_transfer("read", 0),
        *_transfer("write", 1),
        _import("void", "proc_exit", "i32"),
        """define internal void @bombus_exit(i32 %code) noreturn nounwind {
  call void @wasi_proc_exit(i32 %code)
  unreachable
}""",
    ]
