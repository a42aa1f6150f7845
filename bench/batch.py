"""Packets a second: a filter like `tcp port 80` over a capture of a million packets, in memory and as a whole command.

    python bench/batch.py [--json] [--rounds N] [--packets N]

In memory: the capture is mapped and was read before; its packets are found and run by native loops on one core (CPU
time), as an XDP program and as a tc program; for packets of 60 bytes and for a mix up to 1,200 (443 MB a million).
Whole command: wall time and CPU time of `bombus run --pcap` beside `tcpdump -r FILE -w /dev/null` with the same filter,
runs in turn, and their ratios; the first run of bombus, with an empty cache, verifies and compiles. Modules are
compiled to .pyc before. Needs clang; tcpdump where installed. Medians.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bombus.capture import open_capture
from bombus.kernel.user.kernel import UserKernel
from bombus.loader.load import load
from bombus.object.read import read_object
from bombus.replay import replay

SOURCE = """
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32;
struct xdp_md { u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex; };
struct __sk_buff { u32 skip[19], data, data_end; };
static __attribute__((always_inline)) int tcp80(u8 *p, u8 *end)
{
	if (p + 34 > end) return 0;
	if (*(u16 *)(p + 12) != 0x0008 || p[23] != 6) return 0;
	if (*(u16 *)(p + 20) & 0xff1f) return 0;
	u8 *t = p + 14 + (p[14] & 15) * 4;
	if (t + 4 > end) return 0;
	return *(u16 *)t == 0x5000 || *(u16 *)(t + 2) == 0x5000;
}
__attribute__((section("xdp"), used)) int xdp_tcp80(struct xdp_md *ctx)
{
	return tcp80((u8 *)(long)ctx->data, (u8 *)(long)ctx->data_end) ? 2 : 1;
}
__attribute__((section("tc"), used)) int tc_tcp80(struct __sk_buff *ctx)
{
	return tcp80((u8 *)(long)ctx->data, (u8 *)(long)ctx->data_end) ? 0 : 2;
}
char _license[] __attribute__((section("license"), used)) = "GPL";
"""
FILTER = "tcp port 80"


def capture(path: Path, count: int, sizes: tuple[int, ...]) -> None:
    rng = random.Random(1)
    with path.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for number in range(count):
            size = rng.choice(sizes)
            protocol = 6 if rng.random() < 0.8 else 17
            port = 80 if rng.random() < 0.2 else rng.randrange(1024, 65536)
            data = struct.pack(
                ">12xHBBHHHBBHIIHHIIBBHHH", 0x800, 0x45, 0, size - 14, number & 0xFFFF, 0, 64, protocol, 0,
                rng.getrandbits(32), rng.getrandbits(32), rng.randrange(1024, 65536), port, 0, 0, 0x50, 16, 1000, 0, 0,
            ).ljust(size, b"\0")  # fmt: skip
            out.write(struct.pack("<IIII", 1_700_000_000 + number // 1000, number % 1000, size, size) + data)


def in_memory(obj: bytes, name: str, path: Path, rounds: int) -> tuple[float, int]:
    """Nanoseconds a packet, packets that match."""
    matches = {"xdp_tcp80": "XDP_PASS", "tc_tcp80": "TC_ACT_OK"}[name]
    with load(read_object(obj), UserKernel("6.12", engine="native"), programs=[name]) as loaded:
        source = open_capture(path)
        start = source.position
        times = []
        for _ in range(rounds + 1):
            source.position = start
            before = time.process_time()
            outcome = replay(loaded, name, source)
            times.append((time.process_time() - before) * 1e9 / outcome.ran)
        found = next(tally for verdict, tally in outcome.verdicts.items() if verdict.name == matches)
    return statistics.median(times[1:]), found.packets


def whole(command: list[str], env: dict[str, str]) -> tuple[float, float]:
    """CPU and wall time of a process, seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--packets", type=int, default=1_000_000)
    arguments = parser.parse_args()
    clang = next((found for n in ("clang-22", "clang-19", "clang") if (found := shutil.which(n))), None)
    if clang is None:
        sys.exit("bench/batch.py needs clang")
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        source, obj = Path(folder, "filter.c"), Path(folder, "filter.o")
        source.write_text(SOURCE)
        subprocess.run([clang, "-target", "bpf", "-O2", "-g", "-mcpu=v3", "-c", str(source), "-o", str(obj)],
                       check=True)  # fmt: skip
        for label, sizes in (("60 bytes", (60,)), ("60 to 1,200 bytes", (60, 60, 90, 200, 576, 800, 1200))):
            path = Path(folder, "in.pcap")
            capture(path, arguments.packets, sizes)
            for name in ("xdp_tcp80", "tc_tcp80"):
                ns, matches = in_memory(obj.read_bytes(), name, path, arguments.rounds)
                result[f"{name}, {label}"] = {"ns": round(ns, 1), "million/s": round(1e3 / ns, 1), "matches": matches}
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        bombus = [sys.executable, "-m", "bombus", "run", str(obj)]
        bombus += ["--prog", "xdp_tcp80", "--pcap", str(path), "--engine", "native"]
        commands = {"bombus run --pcap": bombus}
        tcpdump = shutil.which("tcpdump")
        if tcpdump:
            commands["tcpdump"] = [tcpdump, "-r", str(path), "-w", "/dev/null", FILTER]
        whole(bombus, env | {"BOMBUS_CACHE": f"{folder}/warm-up"})  # writes .pyc files
        env["BOMBUS_CACHE"] = f"{folder}/cache"
        first = whole(bombus, env)
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(arguments.rounds + 1):
            for name, command in commands.items():
                runs[name].append(whole(command, env))
        medians = {name: [statistics.median(column) for column in zip(*times[1:], strict=True)]
                   for name, times in runs.items()}  # fmt: skip
        rows = {"bombus run --pcap, first run": list(first), **medians}
        for name, (cpu, wall) in rows.items():
            result[name] = {"cpu s": round(cpu, 3), "wall s": round(wall, 3), "MB": path.stat().st_size // 1_000_000}
            if "tcpdump" in medians:
                result[name]["of tcpdump's wall"] = round(wall / medians["tcpdump"][1], 2)
    if arguments.json:
        print(json.dumps(result, indent=1))
        return
    for name, row in result.items():
        print(f"{name:<32}", "  ".join(f"{value:>10} {unit}" for unit, value in row.items()))


if __name__ == "__main__":
    main()
