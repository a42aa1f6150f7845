"""Many runs of one program in one native call, for what needs nothing else between two runs.

The loops are the same for all programs: they get the program's `bpf_main` as a pointer. The GIL is not held while they
run. `struct batch` (BATCH) says what to do and counts what was done.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Any, Final

from bombus.jit import abi
from bombus.jit import cache as objects
from bombus.jit.compile import COMPILER
from bombus.jit.link import Linked, link
from bombus.jit.lower import Lowered, Options
from bombus.jit.target import host

# name -> offset of a u64. `at`, `end`, `ctx`, `verdicts`, `records`: addresses. tallies: packets and bytes by verdict.
_NAMES = (
    "main", "ctx", "at", "end", "header", "shortest", "longest", "frame", "top", "budget", "cut", "verdict", "length",
    "base", "records", "verdicts", "count", "done", "stride", "ifindex",
)  # fmt: skip
BATCH: Final = {name: 8 * number for number, name in enumerate(_NAMES)}
TALLIES: Final = 8  # verdicts below are counted, others are reported one by one
TALLY_OFFSET: Final = 8 * len(_NAMES)
BATCH_BYTES: Final = TALLY_OFFSET + 16 * TALLIES

# What a loop returns.
ALL: Final = 0  # everything was run
ODD_PACKET: Final = 1  # the record at `at` is shorter or longer than said: it was not run
ODD_VERDICT: Final = 2  # the last packet, of `length` bytes, gave `verdict`, which has no tally
STOPPED: Final = 3  # run->status says why


def _get(name: str, into: str, kind: str = "i64") -> str:
    return f"""  %{into}.p = getelementptr i8, ptr %b, i64 {BATCH[name]}
  %{into} = load {kind}, ptr %{into}.p, align 8"""


def _begin() -> str:
    lines = [_get(name, name) for name in ("ctx", "frame", "top", "budget", "ifindex")]
    lines.append(_get("main", "main", "ptr"))
    for name in ("frame", "top", "budget"):
        lines.append(f"  %run.{name} = getelementptr i8, ptr %run, i64 {abi.RUN[name][0]}")
    lines.append("  %md = inttoptr i64 %ctx to ptr")
    for number in range(1, 6):
        lines.append(f"  %md{number} = getelementptr i8, ptr %md, i64 {4 * number}")
    lines.append("  %if = trunc i64 %ifindex to i32")
    return "\n".join(lines)


_FRESH = """  store i64 %frame, ptr %run.frame, align 8
  store i64 %top, ptr %run.top, align 8
  store i64 %budget, ptr %run.budget, align 8"""

# struct xdp_md of a packet at %data with %len bytes; r0 as u32 in %v; goes to %stopped when the run was stopped.
_XDP = f"""  %data32 = trunc i64 %data to i32
  %len32 = trunc i64 %len to i32
  %dend = add i32 %data32, %len32
  store i32 %data32, ptr %md, align 4
  store i32 %dend, ptr %md1, align 4
  store i32 %data32, ptr %md2, align 4
  store i32 %if, ptr %md3, align 4
  store i32 0, ptr %md4, align 4
  store i32 0, ptr %md5, align 4
{_FRESH}
  %r0 = call i64 %main(ptr %run, i64 %ctx, i32 0)
  %status = load i32, ptr %run, align 8
  %v = trunc i64 %r0 to i32
  %bad = icmp ne i32 %status, 0
  br i1 %bad, label %stopped, label %ran"""

_TEXT = f"""
define i64 @xdp_records(ptr %run, ptr %b) nounwind {{
{_begin()}
{_get("base", "base")}
{_get("records", "records", "ptr")}
{_get("verdicts", "verdicts", "ptr")}
{_get("count", "count")}
{_get("done", "done")}
  br label %head
head:
  %i = phi i64 [ %done, %0 ], [ %j, %ran ]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %body, label %all
body:
  %rp = getelementptr [2 x i32], ptr %records, i64 %i
  %off32 = load i32, ptr %rp, align 4
  %lp = getelementptr i8, ptr %rp, i64 4
  %lraw = load i32, ptr %lp, align 4
  %off = zext i32 %off32 to i64
  %len = zext i32 %lraw to i64
  %data = add i64 %base, %off
{_XDP}
ran:
  %vp = getelementptr i32, ptr %verdicts, i64 %i
  store i32 %v, ptr %vp, align 4
  %j = add i64 %i, 1
  br label %head
all:
  store i64 %i, ptr %done.p, align 8
  ret i64 {ALL}
stopped:
  store i64 %i, ptr %done.p, align 8
  ret i64 {STOPPED}
}}

define i64 @contexts(ptr %run, ptr %b) nounwind {{
{_begin()}
{_get("base", "base")}
{_get("stride", "stride")}
{_get("verdicts", "verdicts", "ptr")}
{_get("count", "count")}
{_get("done", "done")}
  br label %head
head:
  %i = phi i64 [ %done, %0 ], [ %j, %ran ]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %body, label %all
body:
  %off = mul i64 %i, %stride
  %one = add i64 %base, %off
{_FRESH}
  %r0 = call i64 %main(ptr %run, i64 %one, i32 0)
  %status = load i32, ptr %run, align 8
  %bad = icmp ne i32 %status, 0
  br i1 %bad, label %stopped, label %ran
ran:
  %vp = getelementptr i64, ptr %verdicts, i64 %i
  store i64 %r0, ptr %vp, align 8
  %j = add i64 %i, 1
  br label %head
all:
  store i64 %i, ptr %done.p, align 8
  ret i64 {ALL}
stopped:
  store i64 %i, ptr %done.p, align 8
  ret i64 {STOPPED}
}}

define i64 @repeat(ptr %run, ptr %b) nounwind {{
{_begin()}
{_get("count", "count")}
  br label %head
head:
  %i = phi i64 [ 0, %0 ], [ %j, %ran ]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %body, label %all
body:
{_FRESH}
  %r0 = call i64 %main(ptr %run, i64 %ctx, i32 0)
  %status = load i32, ptr %run, align 8
  %bad = icmp ne i32 %status, 0
  br i1 %bad, label %stopped, label %ran
ran:
  %vp = getelementptr i8, ptr %b, i64 {BATCH["verdict"]}
  store i64 %r0, ptr %vp, align 8
  %j = add i64 %i, 1
  br label %head
all:
  ret i64 {ALL}
stopped:
  ret i64 {STOPPED}
}}

define i64 @xdp_pcap(ptr %run, ptr %b) nounwind {{
{_begin()}
{_get("at", "at")}
{_get("end", "end")}
{_get("header", "header")}
{_get("shortest", "shortest")}
{_get("longest", "longest")}
{_get("cut", "cut")}
  %t = getelementptr i8, ptr %b, i64 {TALLY_OFFSET}
  %vd.p = getelementptr i8, ptr %b, i64 {BATCH["verdict"]}
  %ln.p = getelementptr i8, ptr %b, i64 {BATCH["length"]}
  br label %head
head:
  %here = phi i64 [ %at, %0 ], [ %next, %tally ]
  %cuts = phi i64 [ %cut, %0 ], [ %cuts1, %tally ]
  %left = sub i64 %end, %here
  %room = icmp uge i64 %left, %header
  br i1 %room, label %record, label %all
record:
  %hp = inttoptr i64 %here to ptr
  %lp = getelementptr i8, ptr %hp, i64 8
  %lraw = load i32, ptr %lp, align 1
  %wp = getelementptr i8, ptr %hp, i64 12
  %wire = load i32, ptr %wp, align 1
  %len = zext i32 %lraw to i64
  %data = add i64 %here, %header
  %next = add i64 %data, %len
  %need = add i64 %header, %len
  %whole = icmp ule i64 %need, %left
  br i1 %whole, label %check, label %all
check:
  %far = inttoptr i64 %next to ptr
  call void @llvm.prefetch.p0(ptr %far, i32 0, i32 3, i32 1)
  %short = icmp ult i64 %len, %shortest
  %long = icmp ugt i64 %len, %longest
  %odd = or i1 %short, %long
  br i1 %odd, label %oddpacket, label %body
body:
{_XDP}
ran:
  %was = icmp ugt i32 %wire, %lraw
  %more = zext i1 %was to i64
  %cuts1 = add i64 %cuts, %more
  %v64 = zext i32 %v to i64
  %known = icmp ult i32 %v, {TALLIES}
  br i1 %known, label %tally, label %oddverdict
tally:
  %tp = getelementptr [2 x i64], ptr %t, i64 %v64
  %n = load i64, ptr %tp, align 8
  %n1 = add i64 %n, 1
  store i64 %n1, ptr %tp, align 8
  %sp = getelementptr i8, ptr %tp, i64 8
  %s = load i64, ptr %sp, align 8
  %s1 = add i64 %s, %len
  store i64 %s1, ptr %sp, align 8
  br label %head
all:
  store i64 %here, ptr %at.p, align 8
  store i64 %cuts, ptr %cut.p, align 8
  ret i64 {ALL}
oddpacket:
  store i64 %here, ptr %at.p, align 8
  store i64 %cuts, ptr %cut.p, align 8
  ret i64 {ODD_PACKET}
oddverdict:
  store i64 %next, ptr %at.p, align 8
  store i64 %cuts1, ptr %cut.p, align 8
  store i64 %v64, ptr %vd.p, align 8
  store i64 %len, ptr %ln.p, align 8
  ret i64 {ODD_VERDICT}
stopped:
  store i64 %here, ptr %at.p, align 8
  store i64 %cuts, ptr %cut.p, align 8
  ret i64 {STOPPED}
}}

declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
"""

_NOTHING: Final[dict[str, int]] = {}
_LOOP = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p)
LOOPS: Final = ("xdp_records", "contexts", "repeat", "xdp_pcap")


_lock = threading.Lock()
_loops: dict[str, Any] = {}
_placed: list[Linked] = []


def _linked() -> Linked:
    options = Options()
    key = objects.text_key(_TEXT, host())
    found = objects.load(key, (), host(), options)
    if found is None:
        found = Lowered(host(), options), COMPILER.compile(_TEXT, host(), level=2)
        objects.store(key, *found)
    return link(found[1], _NOTHING.__getitem__)


def loop(name: str) -> Any:
    """A loop (one of LOOPS) as a function of the addresses of a `struct run` and a `struct batch`."""
    found = _loops.get(name)
    if found is None:
        with _lock:  # code that another thread placed a moment later must not take the place of code that runs
            if not _placed:
                _placed.append(_linked())
            found = _loops.setdefault(name, _LOOP(_placed[0].symbols[name]))
    return found


class Batch:
    """A `struct batch` for one program."""

    __slots__ = ("address", "buffer", "words")

    def __init__(self, **members: int) -> None:
        self.buffer = ctypes.create_string_buffer(BATCH_BYTES + 8)
        self.address = ctypes.addressof(self.buffer)
        self.words = memoryview(self.buffer).cast("B")[:BATCH_BYTES].cast("Q")
        for name, value in members.items():
            self[name] = value

    def __getitem__(self, name: str) -> int:
        return self.words[BATCH[name] // 8]

    def __setitem__(self, name: str, value: int) -> None:
        self.words[BATCH[name] // 8] = value

    def tallies(self) -> list[tuple[int, int]]:
        """Packets and bytes of each verdict below TALLIES."""
        first = TALLY_OFFSET // 8
        return [(self.words[first + 2 * v], self.words[first + 2 * v + 1]) for v in range(TALLIES)]
