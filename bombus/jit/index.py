"""Text of the loops that find the packets of a capture: for each a record of u32 offset and u32 length.

A pcap file is a chain: where a record begins is known when the one before has been read, and each read waits for
memory. `index_chains` follows several chains at once, from places that `index_find` takes for the beginning of a
record; each chain has to end where the next one began, or that was no beginning after all.

Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

from typing import Final

CHAINS: Final = 8
LONGEST: Final = 262_144  # bytes of a packet; records that say more are left to who reads them one by one

# name -> offset of a u64 of `struct chain`: the chain is followed from `at` until it reaches `stop`; bytes from `end`
# on are not there. Records go to `records`, `count` of them so far, with offsets from `base`. header: bytes before the
# packet. interfaces: how many a pcapng section has described. near: the time (s) of a record.
_NAMES = ("at", "stop", "end", "records", "count", "base", "header", "interfaces", "near")
CHAIN: Final = {name: 8 * number for number, name in enumerate(_NAMES)}
CHAIN_BYTES: Final = 8 * len(_NAMES)

# What they return.
REACHED: Final = 0  # `at` is at `stop` or beyond it
LEFT: Final = 1  # what lies at `at` is no whole record, or no usual one

_ENHANCED_PACKET: Final = 6
_SHORTEST: Final = 14  # bytes of a packet, where the beginning of a record is looked for: zeros are none
_SLACK: Final = 7 * 86400  # seconds between two records of one capture


def _get(name: str, kind: str = "i64", chain: int = 0, suffix: str = "") -> str:
    return f"""  %{name}{suffix}.p = getelementptr i8, ptr %c, i64 {CHAIN[name] + chain * CHAIN_BYTES}
  %{name}{suffix} = load {kind}, ptr %{name}{suffix}.p, align 8
"""


def _walk(name: str, *, record: str, members: str = "") -> str:
    """One chain. record: from %here to %data, %lraw and %next; goes to %good or %left."""
    gets = "".join(_get(member, "ptr" if member == "records" else "i64")
                   for member in ("at", "stop", "end", "records", "count", "base", *members.split()))  # fmt: skip
    return f"""
define i64 @{name}(ptr %unused, ptr %c) nounwind {{
{gets}  br label %head
head:
  %here = phi i64 [ %at, %0 ], [ %next, %good ]
  %n = phi i64 [ %count, %0 ], [ %n1, %good ]
  %more = icmp ult i64 %here, %stop
  br i1 %more, label %body, label %reached
body:
  %room = sub i64 %end, %here
  %hp = inttoptr i64 %here to ptr
{record}good:
  %offset = sub i64 %data, %base
  %offset32 = trunc i64 %offset to i32
  %rp = getelementptr [2 x i32], ptr %records, i64 %n
  store i32 %offset32, ptr %rp, align 4
  %lp = getelementptr i8, ptr %rp, i64 4
  store i32 %lraw, ptr %lp, align 4
  %n1 = add i64 %n, 1
  br label %head
reached:
  store i64 %here, ptr %at.p, align 8
  store i64 %n, ptr %count.p, align 8
  ret i64 {REACHED}
left:
  store i64 %here, ptr %at.p, align 8
  store i64 %n, ptr %count.p, align 8
  ret i64 {LEFT}
}}
"""


_PCAP: Final = f"""  %has = icmp uge i64 %room, %header
  br i1 %has, label %headed, label %left
headed:
  %kp = getelementptr i8, ptr %hp, i64 8
  %lraw = load i32, ptr %kp, align 1
  %len = zext i32 %lraw to i64
  %data = add i64 %here, %header
  %next = add i64 %data, %len
  %need = add i64 %header, %len
  %whole = icmp ule i64 %need, %room
  %usual = icmp ule i64 %len, {LONGEST}
  %ok = and i1 %whole, %usual
  br i1 %ok, label %good, label %left
"""

# An enhanced packet block: type, total length, interface, time (2), kept, length, data, ..., total length.
_PCAPNG: Final = f"""  %has = icmp uge i64 %room, 32
  br i1 %has, label %headed, label %left
headed:
  %type = load i32, ptr %hp, align 1
  %tp = getelementptr i8, ptr %hp, i64 4
  %total = load i32, ptr %tp, align 1
  %ip = getelementptr i8, ptr %hp, i64 8
  %interface = load i32, ptr %ip, align 1
  %kp = getelementptr i8, ptr %hp, i64 20
  %lraw = load i32, ptr %kp, align 1
  %len = zext i32 %lraw to i64
  %size = zext i32 %total to i64
  %which = zext i32 %interface to i64
  %data = add i64 %here, 28
  %next = add i64 %here, %size
  %filled = add i64 %len, 32
  %c1 = icmp eq i32 %type, {_ENHANCED_PACKET}
  %c2 = icmp ule i64 %size, %room
  %c3 = icmp ule i64 %filled, %size
  %c4 = icmp ult i64 %which, %interfaces
  %low = and i64 %size, 3
  %c5 = icmp eq i64 %low, 0
  %d1 = and i1 %c1, %c2
  %d2 = and i1 %c3, %c4
  %d3 = and i1 %d1, %d2
  %ok = and i1 %d3, %c5
  br i1 %ok, label %sized, label %left
sized:
  %before = sub i64 %next, 4
  %ep = inttoptr i64 %before to ptr
  %again = load i32, ptr %ep, align 1
  %same = icmp eq i32 %again, %total
  br i1 %same, label %good, label %left
"""


def _chains() -> str:
    """All chains one record each round, until one of them is at its end: the reads of a round wait together. Ends that
    lie LONGEST and more before the end of the bytes need no look at it."""
    numbers = range(CHAINS)
    gets = "".join(_get(member, "ptr" if member == "records" else "i64", chain, str(chain))
                   for chain in numbers for member in ("at", "stop", "records", "count"))  # fmt: skip
    phis = "".join(f"  %h{k} = phi i64 [ %at{k}, %0 ], [ %x{k}, %good ]\n" for k in numbers)
    reads, checks = "", ""
    for k in numbers:
        reads += f"""  %hp{k} = inttoptr i64 %h{k} to ptr
  %kp{k} = getelementptr i8, ptr %hp{k}, i64 8
  %l{k} = load i32, ptr %kp{k}, align 1
"""
        checks += f"""  %len{k} = zext i32 %l{k} to i64
  %d{k} = add i64 %h{k}, %header
  %x{k} = add i64 %d{k}, %len{k}
  %m{k} = icmp ult i64 %h{k}, %stop{k}
  %u{k} = icmp ule i64 %len{k}, {LONGEST}
  %g{k} = and i1 %m{k}, %u{k}
"""
        checks += f"  %a{k} = and i1 %a{k - 1}, %g{k}\n" if k else "  %a0 = and i1 true, %g0\n"
    stores = "".join(f"""  %o{k} = sub i64 %d{k}, %base
  %p{k} = trunc i64 %o{k} to i32
  %r{k} = getelementptr [2 x i32], ptr %records{k}, i64 %n
  store i32 %p{k}, ptr %r{k}, align 4
  %q{k} = getelementptr i8, ptr %r{k}, i64 4
  store i32 %l{k}, ptr %q{k}, align 4
""" for k in numbers)  # fmt: skip
    ends = "".join(f"  store i64 %h{k}, ptr %at{k}.p, align 8\n  store i64 %n, ptr %count{k}.p, align 8\n"
                   for k in numbers)  # fmt: skip
    return f"""
define i64 @index_chains(ptr %unused, ptr %c) nounwind {{
{gets}{_get("base")}{_get("header")}  br label %head
head:
{phis}  %n = phi i64 [ 0, %0 ], [ %n1, %good ]
{reads}{checks}  br i1 %a{CHAINS - 1}, label %good, label %done
good:
{stores}  %n1 = add i64 %n, 1
  br label %head
done:
{ends}  ret i64 {REACHED}
}}
"""


def _find() -> str:
    """Three headers in a row that could be records: `at` of the first, LEFT when there is none before `stop`."""
    look = ""
    for k in range(3):
        place = "%here" if not k else f"%x{k - 1}"
        look += f"""  %hp{k} = inttoptr i64 {place} to ptr
  %sec{k} = load i32, ptr %hp{k}, align 1
  %fp{k} = getelementptr i8, ptr %hp{k}, i64 4
  %frac{k} = load i32, ptr %fp{k}, align 1
  %kp{k} = getelementptr i8, ptr %hp{k}, i64 8
  %l{k} = load i32, ptr %kp{k}, align 1
  %wp{k} = getelementptr i8, ptr %hp{k}, i64 12
  %w{k} = load i32, ptr %wp{k}, align 1
  %s{k} = sub i32 %sec{k}, %from
  %t{k} = icmp ult i32 %s{k}, {2 * _SLACK}
  %f{k} = icmp ult i32 %frac{k}, 1000000000
  %z{k} = sub i32 %l{k}, {_SHORTEST}
  %k{k} = icmp ule i32 %z{k}, {LONGEST - _SHORTEST}
  %v{k} = icmp ule i32 %l{k}, %w{k}
  %y{k} = icmp ult i32 %w{k}, {1 << 24}
  %b{k}a = and i1 %t{k}, %f{k}
  %b{k}b = and i1 %k{k}, %v{k}
  %b{k}c = and i1 %b{k}a, %b{k}b
  %b{k} = and i1 %b{k}c, %y{k}
  br i1 %b{k}, label %is{k}, label %onward
is{k}:
  %len{k} = zext i32 %l{k} to i64
  %d{k} = add i64 {place}, %header
  %x{k} = add i64 %d{k}, %len{k}
"""
    return f"""
define i64 @index_find(ptr %unused, ptr %c) nounwind {{
{_get("at")}{_get("stop")}{_get("header")}{_get("near")}  %near32 = trunc i64 %near to i32
  %from = sub i32 %near32, {_SLACK}
  br label %head
head:
  %here = phi i64 [ %at, %0 ], [ %following, %onward ]
  %more = icmp ult i64 %here, %stop
  br i1 %more, label %body, label %none
body:
{look}  store i64 %here, ptr %at.p, align 8
  ret i64 {REACHED}
onward:
  %following = add i64 %here, 1
  br label %head
none:
  ret i64 {LEFT}
}}
"""


TEXT: Final = "".join([
    _walk("index_pcap", record=_PCAP, members="header"), _walk("index_pcapng", record=_PCAPNG, members="interfaces"),
    _chains(), _find(),
])  # fmt: skip
INDEXERS: Final = ("index_pcap", "index_pcapng", "index_chains", "index_find")
