"""Mutated BTF through everything that reads it: nothing but BombusError may come out, in bounded time and memory.

    python fuzz/fuzz_btf.py [SECONDS] [SEED] [FILE...]

Seeds are small hand-made blobs of every kind and the .BTF/.BTF.ext of FILEs (ELF objects or raw BTF). A failure
prints the input as hex and stops with status 1. Mutations: bit flips, words set to extreme values, records swapped,
cut and doubled; half of them keep the header consistent so that they reach past the parser.
"""

from __future__ import annotations

import json
import random
import resource
import struct
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from bombus.btf import dump_c, dump_raw
from bombus.btf.build import Builder
from bombus.btf.core import Resolver, patch
from bombus.btf.data import formatted, layout_of, to_bytes, to_python
from bombus.btf.dedup import dedup
from bombus.btf.ext import BtfExt, CoreRelo
from bombus.btf.minimize import Needed
from bombus.btf.parse import Btf
from bombus.btf.types import (
    INT_SIGNED,
    Array,
    Const,
    DataSec,
    DeclTag,
    Enum,
    Enum64,
    Enumerator,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Member,
    Param,
    Ptr,
    Restrict,
    SecVar,
    Struct,
    Typedef,
    TypeTag,
    Union,
    Var,
    Volatile,
)
from bombus.errors import BombusError, BtfError
from bombus.isa.insn import Insn

SLOW = 5.0  # seconds that one input may take
MEMORY = 2 << 30
EXTREMES = (0, 1, 2, 3, 4, 7, 8, 0x7F, 0xFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def seeds() -> list[bytes]:
    builder = Builder()
    builder.extend(
        [
            Int("int", 4, INT_SIGNED), Ptr(4), Array(1, 1, 3),
            Struct("s", 24, (Member("a", 1, 0), Member("", 5, 32), Member("p", 2, 64), Member("arr", 3, 96))),
            Union("", 4, (Member("x", 1, 0, 3), Member("y", 1, 0, 0)), kind_flag=True),
            Enum("e", 4, (Enumerator("A", -1), Enumerator("B", 7)), signed=True),
            Enum64("e64", 8, (Enumerator("BIG", 1 << 63),)), Fwd("f", union=True), Typedef("t", 10), Volatile(11),
            Const(12), Restrict(13), TypeTag("user", 4), FuncProto(1, (Param("a", 2), Param("", 0))), Func("fn", 14, 1),
            Var("v", 4, 1), DataSec(".data", 24, (SecVar(16, 0, 24),)), Float("double", 8), DeclTag("note", 4, 1),
            Struct("s", 24, (Member("a", 1, 0), Member("", 5, 32), Member("p", 2, 64), Member("arr", 3, 96))),
            Struct("s___v2", 8, (Member("a", 1, 0), Member("n", 2, 32))), Array(4, 1, 5),
            Struct("deep", 120, (Member("list", 22, 0),)), Ptr(14), Typedef("cb", 24), Enum("fwd", 4),
        ]
    )  # fmt: skip
    for access in ("0", "0:0", "0:1:0", "0:3:2", "0:0:4:1"):
        builder.add_string(access)
    return [builder.to_bytes("little"), builder.to_bytes("big")]


def from_file(path: str) -> tuple[list[bytes], list[bytes]]:
    data = Path(path).read_bytes()
    if not data.startswith(b"\x7fELF"):
        return [data], []
    (offset,) = struct.unpack_from("<Q", data, 40)
    size, count, names_index = struct.unpack_from("<3H", data, 58)
    rows = [struct.unpack_from("<2I4Q", data, offset + i * size) for i in range(count)]
    names = data[rows[names_index][4] :]
    found = {names[row[0] : names.index(0, row[0])]: data[row[4] : row[4] + row[5]] for row in rows}
    return [found[b".BTF"]] if b".BTF" in found else [], [found[b".BTF.ext"]] if b".BTF.ext" in found else []


def mutate(rng: random.Random, seed: bytes, others: list[bytes]) -> bytes:
    data = bytearray(seed)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8, 30))):
        if not data:
            break
        at = rng.randrange(len(data))
        match rng.randrange(8):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1 | 2:
                at &= ~3
                data[at : at + 4] = struct.pack("<I", rng.choice(EXTREMES))
            case 3:
                at &= ~3
                data[at : at + 4] = struct.pack("<I", rng.randrange(64))
            case 4:
                del data[at : at + rng.choice((1, 4, 8, 12, 40))]
            case 5:
                length = rng.choice((4, 12, 24, 60))
                data[at:at] = data[at : at + length]
            case 6:
                other = rng.choice(others)
                start = rng.randrange(len(other)) & ~3
                data[at & ~3 : (at & ~3) + 24] = other[start : start + 24]
            case 7:
                at = min(at & ~3, max(len(data) - 12, 0))
                kind = rng.randrange(20)
                data[at + 4 : at + 8] = struct.pack("<I", kind << 24 | rng.choice((0, 1, 2, 5, 0xFFFF)))
    if rng.random() < 0.6:
        fix_header(data, seed)
    return bytes(data)


def fix_header(data: bytearray, seed: bytes) -> None:
    """Make lengths fit again: strings keep their place at the end, types take what is between."""
    if len(seed) < 24 or len(data) < 24:
        return
    mark = "<" if seed[:2] == b"\x9f\xeb" else ">"
    data[:24] = seed[:24]
    strings = min(struct.unpack_from(mark + "I", seed, 20)[0], len(data) - 24)
    types = (len(data) - 24 - strings) & ~3
    struct.pack_into(mark + "4I", data, 8, 0, types, types, len(data) - 24 - types)
    data[-1:] = b"\0"


def exercise(rng: random.Random, data: bytes, base: Btf, counts: Counter[str]) -> None:
    """Run one blob through all readers; only BombusError is swallowed."""

    def attempt(name: str, run: Callable[[], object]) -> None:
        try:
            run()
            counts[name] += 1
        except BombusError:
            counts[name + " refused"] += 1

    try:
        btf = Btf.parse(data, base if rng.random() < 0.15 else None)
        counts["parse"] += 1
    except BtfError:
        counts["parse refused"] += 1
        return
    attempt("validate", btf.validate)
    attempt("raw dump", lambda: sum(len(piece) for piece in dump_raw.dump(btf)))
    attempt("rows", lambda: json.dumps(list(dump_raw.rows(btf))))
    attempt("C dump", lambda: sum(len(piece) for piece in dump_c.dump(btf)))
    attempt("dedup", lambda: dedup(btf).builder.to_bytes())
    attempt("write", lambda: Btf.parse(Builder.from_btf(btf).to_bytes(), btf.base))
    ids = [rng.randrange(len(btf) + 2) for _ in range(12)]
    for type_id in ids:
        attempt("size", lambda i=type_id: btf.size_of(i))  # type: ignore[misc]
        attempt("align", lambda i=type_id: btf.align_of(i))  # type: ignore[misc]
        attempt("member", lambda i=type_id: btf.member(i, "a"))  # type: ignore[misc]
        attempt("data", lambda i=type_id: values(btf, i, rng))  # type: ignore[misc]
        attempt("find", lambda i=type_id: btf.flavours(btf.name(i)))  # type: ignore[misc]
    attempt("core", lambda: core(rng, btf, base, ids))
    attempt("core target", lambda: core(rng, base, btf, ids))


def values(btf: Btf, type_id: int, rng: random.Random) -> None:
    layout = layout_of(btf, type_id)
    if layout.size > 1 << 20 or layout.cost > 1 << 16:
        return
    data = rng.randbytes(layout.size)
    value = to_python(layout, data)
    json.dumps(formatted(layout, data))
    to_bytes(layout, value)


def core(rng: random.Random, local: Btf, target: Btf, ids: list[int]) -> None:
    resolver = Resolver(local, [target])
    offsets = [0, rng.randrange(local.strings_end + 4)]
    for text in ("0", "0:0", "0:1:0", "0:3:2"):
        found = local.string_offset(text)
        if found is not None:
            offsets.append(found)
    needed = Needed(target)
    for _ in range(24):
        relo = CoreRelo(0, rng.choice(ids), rng.choice(offsets), rng.randrange(14))
        try:
            value = resolver.resolve(relo)
            str(value.local)
            str(value.target)
            if value.target is not None:
                needed.add_spec(value.target)
            insns = [rng.choice((Insn(0xB7, 1), Insn(0x61, 1, 2), Insn(0x18, 1), Insn(0x95))), Insn(0)]
            patch(insns, 0, value)
        except BombusError:
            pass
    needed.build().to_bytes()


def ext(data: bytes, counts: Counter[str]) -> None:
    try:
        again = BtfExt.parse(data)
        again.to_bytes()
        counts["ext"] += 1
    except BtfError:
        counts["ext refused"] += 1


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    rng = random.Random(seed)
    corpus, exts = seeds(), []
    base = Btf.parse(corpus[0])
    for path in sys.argv[3:]:
        blobs, more = from_file(path)
        corpus += blobs
        exts += more
    counts: Counter[str] = Counter()
    worst = 0.0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        # Small seeds are quick and rich; large ones come seldom.
        source = rng.choice(corpus[:2]) if rng.random() < 0.7 else rng.choice(corpus)
        data = mutate(rng, source, corpus)
        started = time.monotonic()
        try:
            exercise(rng, data, base, counts)
            if exts and rng.random() < 0.5:
                data = mutate(rng, rng.choice(exts), exts)
                ext(data, counts)
        except Exception:
            traceback.print_exc()
            print(f"seed {seed}, input {data.hex()}")
            return 1
        took = time.monotonic() - started
        worst = max(worst, took)
        if took > SLOW:
            print(f"seed {seed}: {took:.1f} s for input {data.hex()}")
            return 1
        counts["inputs"] += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"seed {seed}: {counts['inputs']} inputs, slowest {worst:.2f} s, peak memory {peak} MiB")
    for name, number in sorted(counts.items()):
        print(f"  {name:24} {number}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
