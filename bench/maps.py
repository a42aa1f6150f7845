"""Map operations a second, one bpf(2) call each and program side: user kernel and Linux.

    bench/maps.py [--seconds S]

`update`, `lookup`: through `Kernel.bpf` with a fresh Attr, as handles do. `batch`: elements a second of
BPF_MAP_LOOKUP_BATCH, 1000 at a time. `program`: `Map.lookup` as helpers call it (user kernel only).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from bombus.errors import KernelError
from bombus.kernel.api import Attr, Kernel
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.maps.ringbuf import RingBufMap

ENTRIES = 10_000
TYPES = {"hash": 1, "array": 2, "percpu_hash": 5, "percpu_array": 6, "lru_hash": 9, "lpm_trie": 11, "queue": 22,
         "bloom_filter": 30}  # fmt: skip


def rate(work: Callable[[int], object], seconds: float) -> float:
    """Calls a second of `work(i)`."""
    done, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        for i in range(done, done + 500):
            work(i)
        done += 500
    return done / spent


def measure(kernel: Kernel, name: str, seconds: float) -> dict[str, float]:
    keyless = name in ("queue", "bloom_filter")
    key_size = 0 if keyless else 8 if name == "lpm_trie" else 4
    value_size = 8 * (kernel.possible_cpus if name.startswith("percpu") else 1)
    fd = kernel.bpf(
        Attr("BPF_MAP_CREATE", map_type=TYPES[name], key_size=key_size, value_size=8, max_entries=ENTRIES,
             map_flags=1 if name == "lpm_trie" else 0)
    )  # fmt: skip
    prefix = (32).to_bytes(4, "little") if name == "lpm_trie" else b""
    keys = [prefix + (i % ENTRIES).to_bytes(4, "little") for i in range(ENTRIES)]
    value = bytearray(value_size)

    def call(command: str, i: int, flags: int = 0) -> None:
        key: int | bytes = 0 if keyless else keys[i % ENTRIES]
        kernel.bpf(Attr(command, map_fd=fd, key=key, value=value, flags=flags))

    flags = 2 if name == "queue" else 0
    found = {
        "update": rate(lambda i: call("BPF_MAP_UPDATE_ELEM", i, flags), seconds),
        "lookup": rate(lambda i: call("BPF_MAP_LOOKUP_ELEM", i % 400), seconds),
    }
    if name in ("hash", "array", "percpu_hash", "lru_hash"):
        for i in range(ENTRIES):
            call("BPF_MAP_UPDATE_ELEM", i)
        out, values, position = bytearray(4000), bytearray(1000 * value_size), bytearray(8)
        start = time.perf_counter()
        total = 0
        while time.perf_counter() - start < seconds:
            previous: bytes | None = None
            while True:
                attr = Attr("BPF_MAP_LOOKUP_BATCH", map_fd=fd, keys=out, values=values, in_batch=previous,
                            out_batch=position, count=1000)  # fmt: skip
                try:
                    kernel.bpf(attr)
                except KernelError:
                    total += attr.get("count")
                    break
                total += attr.get("count")
                previous = bytes(position)
        found["batch"] = total / (time.perf_counter() - start)
    if isinstance(kernel, UserKernel) and not keyless:
        item = kernel.map_by_fd("bench", fd)
        found["program"] = rate(lambda i: item.lookup(keys[i % ENTRIES]), seconds)
    kernel.close(fd)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.5)
    seconds = parser.parse_args().seconds
    linux: Kernel | None = None
    try:
        linux = LinuxKernel()
        linux.close(linux.bpf(Attr("BPF_MAP_CREATE", map_type=2, key_size=4, value_size=4, max_entries=1)))
    except KernelError as error:
        linux = None
        print(f"Linux is left out: {error}")
    user = UserKernel(cpus=linux.possible_cpus if linux else 2)
    for name in TYPES:
        for kernel in (user, linux):
            if kernel is not None:
                figures = measure(kernel, name, seconds)
                text = "  ".join(f"{what} {value / 1000:7.0f}k/s" for what, value in figures.items())
                print(f"{name:13} {kernel.name:6} {text}", flush=True)
    fd = user.bpf(Attr("BPF_MAP_CREATE", map_type=27, max_entries=1 << 20))
    ring = user.map_by_fd("bench", fd)
    assert isinstance(ring, RingBufMap)
    consumer = user.mmap(fd, 4096).cast("Q")

    def output(i: int) -> None:
        ring.output(b"x" * 64)
        consumer[0] = ring.query(3)

    print(f"{'ringbuf':13} user   output of 64 bytes {rate(output, seconds) / 1000:.0f}k/s")


if __name__ == "__main__":
    main()
