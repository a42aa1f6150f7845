"""Mutated captures: nothing but CaptureError, bounded time, no packet longer than the file.

    fuzz/fuzz_capture.py [--inputs N] [--seed S] [FILE...]

Begins with generated files of every form (and FILEs), then flips, cuts, repeats and overwrites.
"""

from __future__ import annotations

import argparse
import random
import struct
import time
from pathlib import Path

from bombus.capture.files import read_capture
from bombus.capture.link import to_ethernet
from bombus.errors import CaptureError, NotSupported

WORDS = (0, 1, 4, 12, 28, 32, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xA1B2C3D4, 0x0A0D0D0A, 0x1A2B3C4D, 6, 3, 2, 5)
LIMIT = 2.0  # seconds for one input
MAX_PACKETS = 1 << 20


def block(end: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack(end + "II", kind, len(body) + 12) + body + struct.pack(end + "I", len(body) + 12)


def seeds() -> list[bytes]:
    found = []
    payloads = [bytes(range(n)) for n in (0, 1, 14, 60, 200)]
    for end in "<>":
        for magic in (0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34):
            out = struct.pack(end + "IHHiIII", magic, 2, 4, 0, 0, 65535, 1)
            for data in payloads:
                out += struct.pack(end + "IIII", 1, 2, len(data), len(data))
                out += bytes(8 if magic == 0xA1B2CD34 else 0) + data
            found.append(out)
        section = block(end, 0x0A0D0D0A, struct.pack(end + "IHHq", 0x1A2B3C4D, 1, 0, -1))
        options = struct.pack(end + "HHB3xHHq", 9, 1, 9, 14, 8, 5) + bytes(4)
        interface = block(end, 1, struct.pack(end + "HHI", 1, 0, 100) + options)
        rest = b""
        for data in payloads:
            rest += block(end, 6, struct.pack(end + "IIIII", 0, 1, 2, len(data), len(data)) + data)
            rest += block(end, 3, struct.pack(end + "I", len(data)) + data[:100])
            rest += block(end, 2, struct.pack(end + "HHIIII", 0, 0, 1, 2, len(data), len(data)) + data)
        found.append(section + interface + rest + block(end, 5, bytes(12)) + section + interface + rest)
    return found


def mutate(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not out:
            break
        at = rng.randrange(len(out))
        match rng.randrange(6):
            case 0:
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                at &= ~3
                out[at : at + 4] = struct.pack(rng.choice("<>") + "I", rng.choice(WORDS))
            case 2:
                del out[at : at + rng.randrange(1, 64)]
            case 3:
                out[at:at] = rng.randbytes(rng.randrange(1, 64))
            case 4:
                del out[at:]
            case _:
                size = rng.randrange(1, 256)
                out[at:at] = out[max(0, at - size) : at]
    return bytes(out)


def check(data: bytes) -> str:
    """What became of one input. AssertionError for what must not be."""
    start = time.perf_counter()
    packets = 0
    try:
        reader = read_capture(data)
        for packet in reader:
            packets += 1
            assert len(packet.data) <= len(data) and packets <= MAX_PACKETS
            try:
                to_ethernet(packet.linktype)(packet.data)
            except (CaptureError, NotSupported):
                continue
        outcome = "cut" if reader.truncated else "whole"
    except CaptureError:
        outcome = "refused"
    assert time.perf_counter() - start < LIMIT, f"slow: {time.perf_counter() - start:.1f} s"
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("files", nargs="*", type=Path)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    pool = seeds() + [path.read_bytes()[:65536] for path in args.files]
    counts: dict[str, int] = {}
    for number in range(args.inputs):
        data = mutate(rng, rng.choice(pool))
        try:
            outcome = check(data)
        except Exception as error:
            Path("capture.crash").write_bytes(data)
            raise SystemExit(f"input {number}: {type(error).__name__}: {error} (kept in capture.crash)") from error
        counts[outcome] = counts.get(outcome, 0) + 1
        if outcome != "refused" and len(pool) < 2000 and rng.random() < 0.01:
            pool.append(data[:65536])
        if not (number + 1) % 10_000:
            print(f"{number + 1} inputs: {counts}", flush=True)


if __name__ == "__main__":
    main()
