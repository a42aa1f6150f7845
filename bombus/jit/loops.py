"""Text of the loops that run programs (see `batch`): over contexts, over records of packets.

All loops have one form: something is made ready for the i-th run, bpf_main is called, its result goes somewhere.
"""

from __future__ import annotations

from typing import Final

from bombus.jit import abi

# name -> offset of a u64 of `struct batch`.
_NAMES = (
    "main", "ctx", "shortest", "longest", "frame", "top", "budget", "cut", "verdict", "length", "base", "records",
    "verdicts", "count", "done", "stride", "ifindex", "wire", "template", "mac", "pull", "end_given", "also",
)  # fmt: skip
BATCH: Final = {name: 8 * number for number, name in enumerate(_NAMES)}
TALLIES: Final = 8  # verdicts below the last are counted, and with the last the verdict `also`; others are reported
TALLY_OFFSET: Final = 8 * len(_NAMES)
BATCH_BYTES: Final = TALLY_OFFSET + 16 * TALLIES

# What a loop returns.
ALL: Final = 0  # everything was run
ODD_PACKET: Final = 1  # record `done` is shorter or longer than said: it was not run
ODD_VERDICT: Final = 2  # the packet before record `done`, of `length` bytes, gave `verdict`, which has no tally
STOPPED: Final = 3  # run->status says why

_AHEAD: Final = 16  # records whose packets are on their way from memory
SKB_BYTES: Final = 192  # struct __sk_buff


def get(name: str, kind: str = "i64") -> str:
    return f"""  %{name}.p = getelementptr i8, ptr %b, i64 {BATCH[name]}
  %{name} = load {kind}, ptr %{name}.p, align 8
"""


def _loop(name: str, *, members: str, body: str, after: str, ends: str = "", context: str = "ctx") -> str:
    """members: of `struct batch` that are used. body: before the call, whose context is %{context}. after: what becomes
    of %r0 (%v: its lower half); it ends by going to %next. ends: more blocks."""
    of_run = "".join(
        f"  %run.{field} = getelementptr i8, ptr %run, i64 {abi.RUN[field][0]}\n"
        for field in ("frame", "top", "budget")
    )
    kinds = {"main": "ptr", "records": "ptr", "verdicts": "ptr", "template": "ptr"}
    gets = "".join(get(member, kinds.get(member, "i64")) for member in [
        "main", "ctx", "frame", "top", "budget", "count", "done", *members.split()])  # fmt: skip
    return f"""
define i64 @{name}(ptr %run, ptr %b) nounwind {{
{gets}{of_run}  %md = inttoptr i64 %ctx to ptr
  br label %head
head:
  %i = phi i64 [ %done, %0 ], [ %j, %next ]
  %more = icmp ult i64 %i, %count
  br i1 %more, label %body, label %all
body:
{body}  store i64 %frame, ptr %run.frame, align 8
  store i64 %top, ptr %run.top, align 8
  store i64 %budget, ptr %run.budget, align 8
  %r0 = call i64 %main(ptr %run, i64 %{context}, i32 0)
  %status = load i32, ptr %run, align 8
  %v = trunc i64 %r0 to i32
  %bad = icmp ne i32 %status, 0
  br i1 %bad, label %stopped, label %ran
ran:
{after}next:
  %j = add i64 %i, 1
  br label %head
all:
  store i64 %i, ptr %done.p, align 8
  ret i64 {ALL}
stopped:
  store i64 %i, ptr %done.p, align 8
  ret i64 {STOPPED}
{ends}}}
"""


# ------------------------------------------------------------------------------------------------ what is run

# %data, %len: where the bytes of record i are, and how many.
_RECORD: Final = f"""  %later = add i64 %i, {_AHEAD}
  %last = sub i64 %count, 1
  %far = call i64 @llvm.umin.i64(i64 %later, i64 %last)
  %fp = getelementptr [2 x i32], ptr %records, i64 %far
  %foff = load i32, ptr %fp, align 4
  %fwide = zext i32 %foff to i64
  %fdata = add i64 %base, %fwide
  %fplace = inttoptr i64 %fdata to ptr
  %fplace2 = getelementptr i8, ptr %fplace, i64 48
  call void @llvm.prefetch.p0(ptr %fplace, i32 0, i32 3, i32 1)
  call void @llvm.prefetch.p0(ptr %fplace2, i32 0, i32 3, i32 1)
  %rp = getelementptr [2 x i32], ptr %records, i64 %i
  %off32 = load i32, ptr %rp, align 4
  %lp = getelementptr i8, ptr %rp, i64 4
  %lraw = load i32, ptr %lp, align 4
  %off = zext i32 %off32 to i64
  %len = zext i32 %lraw to i64
  %data = add i64 %base, %off
  %packet = inttoptr i64 %data to ptr
  %short = icmp ult i64 %len, %shortest
  %long = icmp ugt i64 %len, %longest
  %odd = or i1 %short, %long
  br i1 %odd, label %oddpacket, label %usual
usual:
"""
_ODD: Final = f"""oddpacket:
  store i64 %i, ptr %done.p, align 8
  ret i64 {ODD_PACKET}
"""


def _put(number: int, value: str, place: int) -> str:
    """Store a u32 member of the context."""
    return f"""  %md{number} = getelementptr i8, ptr %md, i64 {place}
  store i32 {value}, ptr %md{number}, align 4
"""


def _word(number: int, value: str) -> str:
    """Store one of the words behind the context of a socket buffer (`vm.env.Env.packet_words`)."""
    return f"""  %w{number} = getelementptr i8, ptr %md, i64 {SKB_BYTES + 8 * number}
  store i64 {value}, ptr %w{number}, align 8
"""


# struct xdp_md (Linux 6.12 include/uapi/linux/bpf.h): data, data_end, data_meta, ingress_ifindex, ...
_XDP: Final = f"""  %data32 = trunc i64 %data to i32
  %dend = add i32 %data32, %lraw
  %if = trunc i64 %ifindex to i32
{_put(0, "%data32", 0)}{_put(1, "%dend", 4)}{_put(2, "%data32", 8)}{_put(3, "%if", 12)}{_put(4, "0", 16)}\
{_put(5, "0", 20)}"""

# struct __sk_buff: the template, and what the packet decides: as hooks/skb.py does it after Linux 6.12
# net/ethernet/eth.c eth_type_trans. `pull`: 14 where the program does not see the Ethernet header. end_given: all ones
# where it has data_end and data_meta.
_SKB: Final = f"""  call void @llvm.memcpy.p0.p0.i64(ptr align 8 %md, ptr align 8 %template, i64 {SKB_BYTES}, i1 false)
  %typep = getelementptr i8, ptr %packet, i64 12
  %rawtype = load i16, ptr %typep, align 1
  %type = call i16 @llvm.bswap.i16(i16 %rawtype)
  %payloadp = getelementptr i8, ptr %packet, i64 14
  %hasword = icmp ugt i64 %len, 15
  %wordp = select i1 %hasword, ptr %payloadp, ptr %packet
  %word = load i16, ptr %wordp, align 1
  %ones = icmp eq i16 %word, -1
  %novell = and i1 %ones, %hasword
  %dsap = select i1 %novell, i32 {0x0001 << 8}, i32 {0x0004 << 8}
  %is2 = icmp uge i16 %type, 1536
  %wide = zext i16 %rawtype to i32
  %protocol = select i1 %is2, i32 %wide, i32 %dsap
  %is4 = icmp eq i16 %type, {0x0800}
  %is6 = icmp eq i16 %type, {0x86DD - 0x10000}
  %least4 = select i1 %is4, i64 34, i64 14
  %least = select i1 %is6, i64 54, i64 %least4
  %headless = icmp ult i64 %len, %least
  br i1 %headless, label %oddpacket, label %headed
headed:
  %macraw = load i64, ptr %packet, align 1
  %target = and i64 %macraw, {(1 << 48) - 1}
  %forus = icmp eq i64 %target, %mac
  %all48 = icmp eq i64 %target, {(1 << 48) - 1}
  %group = and i64 %target, 1
  %isgroup = icmp ne i64 %group, 0
  %cast = select i1 %all48, i32 1, i32 2
  %other = select i1 %isgroup, i32 %cast, i32 3
  %kind = select i1 %forus, i32 0, i32 %other
  %start = add i64 %data, %pull
  %start32 = trunc i64 %start to i32
  %seen = sub i64 %len, %pull
  %seen32 = trunc i64 %seen to i32
  %dend = add i32 %start32, %seen32
  %mask = trunc i64 %end_given to i32
  %dend.given = and i32 %dend, %mask
  %meta = and i32 %start32, %mask
  %first = add i64 %data, 14
  %behind = add i64 %data, %len
{_put(0, "%seen32", 0)}{_put(1, "%kind", 4)}{_put(2, "%protocol", 16)}{_put(3, "%start32", 76)}\
{_put(4, "%dend.given", 80)}{_put(5, "%meta", 140)}\
{_word(0, "%start")}{_word(1, "%behind")}{_word(2, "%data")}{_word(3, "%first")}"""

_KINDS: Final = {"xdp": (_XDP, "ifindex"), "skb": (_SKB, "template mac pull end_given")}

# ------------------------------------------------------------------------------------------------ where results go

_TO_VERDICTS: Final = """  %vp = getelementptr i32, ptr %verdicts, i64 %i
  store i32 %v, ptr %vp, align 4
  br label %next
"""
# Tallies, and packets that the capture cut: `wire` bytes before the packet is its length on the wire.
_TO_TALLIES: Final = f"""  %back = sub i64 0, %wire
  %wp = getelementptr i8, ptr %packet, i64 %back
  %wlen = load i32, ptr %wp, align 1
  %was = icmp ugt i32 %wlen, %lraw
  %cutting = zext i1 %was to i64
  %cut.now = load i64, ptr %cut.p, align 8
  %cut.new = add i64 %cut.now, %cutting
  store i64 %cut.new, ptr %cut.p, align 8
  %v64 = zext i32 %v to i64
  %small = icmp ult i32 %v, {TALLIES - 1}
  %isalso = icmp eq i64 %v64, %also
  %which = select i1 %small, i64 %v64, i64 {TALLIES - 1}
  %known = or i1 %small, %isalso
  br i1 %known, label %tally, label %oddverdict
tally:
  %tp = getelementptr [2 x i64], ptr %t, i64 %which
  %n = load i64, ptr %tp, align 8
  %n1 = add i64 %n, 1
  store i64 %n1, ptr %tp, align 8
  %sp = getelementptr i8, ptr %tp, i64 8
  %s = load i64, ptr %sp, align 8
  %s1 = add i64 %s, %len
  store i64 %s1, ptr %sp, align 8
  br label %next
"""
_ODD_VERDICT: Final = f"""oddverdict:
  %vd.p = getelementptr i8, ptr %b, i64 {BATCH["verdict"]}
  %ln.p = getelementptr i8, ptr %b, i64 {BATCH["length"]}
  %after = add i64 %i, 1
  store i64 %v64, ptr %vd.p, align 8
  store i64 %len, ptr %ln.p, align 8
  store i64 %after, ptr %done.p, align 8
  ret i64 {ODD_VERDICT}
"""


def _records(kind: str) -> str:
    """The two loops over packets of a kind: {kind}_records gives each verdict, {kind}_tally counts them."""
    context, members = _KINDS[kind]
    members += " base records shortest longest"
    tally = f"  %t = getelementptr i8, ptr %b, i64 {TALLY_OFFSET}\n"
    return _loop(
        f"{kind}_records", members=f"{members} verdicts", body=_RECORD + context, after=_TO_VERDICTS, ends=_ODD
    ) + _loop(
        f"{kind}_tally", members=f"{members} wire cut also", body=_RECORD + tally + context, after=_TO_TALLIES,
        ends=_ODD + _ODD_VERDICT,
    )  # fmt: skip


TEXT: Final = "".join([
    _records("xdp"), _records("skb"),
    _loop("contexts", members="base stride verdicts", context="one", body="""  %off = mul i64 %i, %stride
  %one = add i64 %base, %off
""", after="""  %vp = getelementptr i64, ptr %verdicts, i64 %i
  store i64 %r0, ptr %vp, align 8
  br label %next
"""),
    _loop("repeat", members="verdict", body="", after="""  store i64 %r0, ptr %verdict.p, align 8
  br label %next
"""),
    """
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
declare i64 @llvm.umin.i64(i64, i64)
declare i16 @llvm.bswap.i16(i16)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
""",
])  # fmt: skip
LOOPS: Final = ("xdp_records", "xdp_tally", "skb_records", "skb_tally", "contexts", "repeat")
