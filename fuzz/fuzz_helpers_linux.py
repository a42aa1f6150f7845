"""Random programs that call helpers, on the running Linux and on the user kernel: same results, packets and maps.

    fuzz/fuzz_helpers_linux.py [--seconds N] [--seed S]      needs root and bpf(2)

Two sources: the families of tests/kernel_user with fresh seeds, and chains: several random helpers, one after the
other, on one packet, each result noted in a map. A difference is printed with its seed and ends the run with 1.
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "kernel_user"))

import helper_cases as cases
import helper_scenes as scenes
import test_helper_linux
import test_helper_scenes
import test_prog_runs

from bombus.isa import build as b
from bombus.isa.insn import Insn
from bombus.kernel.user.kernel import UserKernel

ZERO = bytes(4)
CTX = [b.mov(1, b.R6)]
PACKETS = (cases.ipv4, cases.ipv6, cases.vlan, cases.arp)


def _stack(register: int) -> list[Insn]:
    return scenes.stack_(register, -128)


SKB: dict[str, Callable[[random.Random], tuple[int | list[Insn], ...]]] = {
    "skb_store_bytes": lambda r: (r.randrange(90), _stack(3), r.randrange(1, 40), r.choice((0, 1, 2, 3))),
    "skb_load_bytes": lambda r: (r.randrange(90), _stack(3), r.randrange(1, 40)),
    "skb_vlan_push": lambda r: (r.choice((0x0081, 0xA888)), r.getrandbits(16)),
    "skb_vlan_pop": lambda r: (),
    "skb_change_tail": lambda r: (r.choice((20, 40, 60, 90, 300)), 0),
    "skb_change_head": lambda r: (r.choice((0, 4, 14, 40)), 0),
    "skb_change_proto": lambda r: (r.choice((0x0008, 0xDD86)), 0),
    "skb_change_type": lambda r: (r.randrange(4),),
    "skb_adjust_room": lambda r: (r.choice((8, 20, -8, -20, 4)), r.randrange(2), r.choice((0, 0, 2, 4, 128, 32))),
    "skb_pull_data": lambda r: (r.choice((0, 20, 60, 200)),),
    "csum_level": lambda r: (r.randrange(4),),
    "csum_update": lambda r: (r.getrandbits(30),),
    "set_hash_invalid": lambda r: (),
    "l3_csum_replace": lambda r: (r.choice((24, 10)), r.getrandbits(16), r.getrandbits(16), r.choice((2, 4))),
    "l4_csum_replace": lambda r: (r.choice((40, 50)), r.getrandbits(16), r.getrandbits(16), r.choice((2, 4, 18, 34))),
}
# With BPF_F_TEST_SKB_CHECKSUM_COMPLETE Linux sums from the network header to the end after the run, and hits a BUG_ON
# (6.18: skb_checksum) where a program cut the packet before that header: only helpers that cannot do so.
SAFE = ("skb_store_bytes", "skb_load_bytes", "skb_vlan_push", "skb_vlan_pop", "skb_change_type", "skb_pull_data",
        "csum_level", "csum_update", "set_hash_invalid", "l3_csum_replace", "l4_csum_replace")  # fmt: skip
# When Linux runs out of the 64 bytes of headroom it moves a transport header that was never set
# (skb_headers_offset_update), and that is then the shortest length that skb_change_tail grants. Not modelled here.
CLASHES = {"skb_change_head": {"skb_change_tail"}, "skb_change_tail": {"skb_change_head"}}
XDP: dict[str, Callable[[random.Random], tuple[int | list[Insn], ...]]] = {
    "xdp_adjust_head": lambda r: (r.choice((-20, -4, 4, 14, 40, -250)),),
    "xdp_adjust_tail": lambda r: (r.choice((-20, -4, 4, 14, 40, 300)),),
    "xdp_adjust_meta": lambda r: (r.choice((-4, -32, 4, -8, -256)),),
    "xdp_load_bytes": lambda r: (r.randrange(90), _stack(3), r.randrange(1, 40)),
    "xdp_store_bytes": lambda r: (r.randrange(90), _stack(3), r.randrange(1, 40)),
    "xdp_get_buff_len": lambda r: (),
}


def chain(rng: random.Random) -> scenes.Case:
    """A program of up to ten helper calls on one packet. The name lists the calls."""
    kind = rng.choice(("sched_cls", "sched_cls", "xdp"))
    flags = rng.choice((0, 0, 4)) if kind != "xdp" else 0
    menu = XDP if kind == "xdp" else {name: SKB[name] for name in SAFE} if flags else SKB
    body = cases.stack_bytes(rng.randbytes(64), -128)
    calls: list[str] = []
    banned: set[str] = set()
    for step in range(rng.randrange(1, 11)):
        name = rng.choice([name for name in menu if name not in banned])
        banned |= CLASHES.get(name, set())
        args = menu[name](rng)
        calls.append(f"{name}({', '.join(str(arg) if isinstance(arg, int) else 'stack' for arg in args)})")
        body += [*scenes.helper(name, CTX, *args), *scenes.note(step)]
        if kind != "xdp":
            for number, offset in enumerate((0, 4, 16, 20, 24)):
                body += [b.ldx("u32", 1, 6, offset), b.stx("u32", 9, 96 + 20 * step + 4 * number, b.R1)]
    for number in range(8):
        body += [b.ldx("u64", 1, 10, -128 + 8 * number), *scenes.note(52 + number, 1)]
    packet = rng.choice(PACKETS)(rng)

    def scene(stage: scenes.Stage) -> object:
        report = stage.report()
        program = stage.load(scenes.main(body), kind=kind, maps=[report])
        return stage.run(program, packet, flags=flags), report[ZERO]

    return f"{kind} {packet.hex()} flags {flags}: {', '.join(calls)}", scene


def shown(result: object) -> str:
    """Notes as signed words, without the zeros after them."""
    if not isinstance(result, tuple) or not isinstance(result[-1], bytes) or len(result[-1]) % 8:
        return repr(result)
    words = struct.unpack(f"<{len(result[-1]) // 8}q", result[-1])
    return f"{result[:-1]!r} {words[:12]} {result[-1][96:].rstrip(bytes(1)).hex()}"


def differences(seed: int, names: list[str], engine: str, counts: Counter[str]) -> Iterator[str]:
    """One round: a family's cases, or 40 chains."""
    real = cases.linux()
    if real is None:
        raise SystemExit("bpf(2) is refused here")
    ours = UserKernel(real.version, cpus=real.possible_cpus, engine=engine)
    rng = random.Random(seed)
    family = rng.choice([*names, *["chains"] * 20])
    if family in test_helper_linux.FAMILIES:
        for case in test_helper_linux.FAMILIES[family](rng):
            counts[family] += 1
            expected, got = cases.outcome(real, case), cases.outcome(ours, case)
            if expected != got:
                yield f"{family}: {case.name} on {case.data.hex()}\n  Linux {expected}\n  user  {got}"
        return
    pool = {**test_helper_scenes.FAMILIES, **test_prog_runs.FAMILIES}
    played = pool[family](rng) if family in pool else (chain(rng) for _ in range(40))
    for name, scene in played:
        counts[family] += 1
        first, second = scenes.play(real, scene), scenes.play(ours, scene)
        if first != second:
            yield f"{family}: {name}\n  Linux {shown(first)}\n  user  {shown(second)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    names = [*test_helper_linux.FAMILIES, *test_helper_scenes.FAMILIES, *test_prog_runs.FAMILIES]
    counts: Counter[str] = Counter()
    bad = 0
    end = time.monotonic() + given.seconds
    seed = given.seed
    while time.monotonic() < end and bad < 20:
        for text in differences(seed, names, ("fast", "reference")[seed % 2], counts):
            print(f"--seed {seed}: {text}", flush=True)
            bad += 1
        seed += 1
    print(f"{sum(counts.values())} comparisons, {bad} differences: {dict(counts)}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
