"""Random bytes as attributes of every command of the user kernel: only KernelError and NotSupported, no leaks.

    fuzz/fuzz_maps_attrs.py [--calls N] [--seed S]

Pointers in the attributes lead to a buffer of this process, to address 0 and to nowhere.
"""

from __future__ import annotations

import argparse
import ctypes
import mmap
import os
import random
import resource
import time
from collections import Counter

from bombus.errors import KernelError, NotSupported
from bombus.kernel.api import Attr, address_of
from bombus.kernel.user.fds import FIRST_FD
from bombus.kernel.user.kernel import UserKernel
from bombus.spec.commands import COMMANDS, Command
from bombus.spec.maptypes import MAP_TYPES

VERSIONS = ("3.18", "4.9", "5.4", "5.15", "6.1", "6.12", "6.18")
MAX_OPEN = 64


def hostile_attr(rng: random.Random, row: Command, memory: memoryview) -> Attr:
    """Attributes with fields that are right, near right, or noise."""
    attr = Attr(row)
    start = address_of(memory)
    quiet = rng.choice((0.3, 0.8, 0.95, 1.0))
    if row.name == "BPF_MAP_CREATE" and rng.random() < 0.7:
        kind = rng.choice(MAP_TYPES)
        attr.set("map_type", kind.id)
        attr.set("key_size", kind.key.only[0] if kind.key.only else 8)
        attr.set("value_size", kind.value.only[0] if kind.value.only else 8)
        attr.set("max_entries", kind.entries.only[0] if kind.entries.only else 4096)
        attr.set("map_flags", kind.flags_needed)
        attr.set("inner_map_fd", FIRST_FD if "of_maps" in kind.short else 0)
    elif rng.random() < 0.7:
        for field in row.fields:  # the usual call: descriptors and pointers that are right
            if field.kind == "ptr":
                attr.set(field.name, start + rng.choice((0, 256)))
            elif field.name in ("map_fd", "prog_fd", "bpf_fd"):
                attr.set(field.name, FIRST_FD + rng.randrange(MAX_OPEN))
            elif field.name in ("count", "info_len", "map_id", "btf_size"):
                attr.set(field.name, rng.randrange(128))
    for field in row.fields:
        roll = rng.random()
        if roll < quiet:
            continue
        if field.kind == "ptr":
            value = rng.choice((start, start + rng.randrange(64), 0, 8, 1 << 47, rng.getrandbits(64)))
        elif field.kind == "fd":
            value = rng.choice((FIRST_FD, FIRST_FD + rng.randrange(MAX_OPEN), 0, 3, rng.getrandbits(32)))
        elif field.name == "map_type":
            value = rng.choice(MAP_TYPES).id if roll < 0.95 else rng.getrandbits(32)
        elif roll < 0.8:
            value = rng.choice((0, 1, 2, 4, 8, 16, 64, 4096, 65535))
        else:
            value = rng.getrandbits(8 * field.size)
        if field.kind == "name":
            attr.raw[field.offset : field.offset + 16] = rng.choice((b"ok", b"", rng.randbytes(16))).ljust(16, b"\0")
        else:
            attr.raw[field.offset : field.offset + field.size] = (value & (1 << 8 * field.size) - 1).to_bytes(
                field.size, "little"
            )
    roll = rng.random()
    if roll < 0.05:
        attr.raw += rng.randbytes(rng.randrange(64))
    elif roll < 0.1:
        del attr.raw[rng.randrange(len(attr.raw) + 1) :]
    return attr


def guarded(size: int) -> memoryview:
    """Memory with nothing behind it: hostile counts run into EFAULT there, not into our own heap."""
    area = mmap.mmap(-1, size + mmap.PAGESIZE)
    view = memoryview(area)
    end = ctypes.addressof(ctypes.c_char.from_buffer(view)) + size
    if ctypes.CDLL(None).mprotect(ctypes.c_void_p(end), mmap.PAGESIZE, 0):
        raise SystemExit("mprotect failed")
    return view[:size]


def fuzz(calls: int, seed: int) -> Counter[str]:
    """Raises whatever other exception a command raises; AssertionError for leaks."""
    rng = random.Random(seed)
    found: Counter[str] = Counter()
    memory = guarded(1 << 16)
    per_kernel = 2000
    began = time.monotonic()
    for start in range(0, calls, per_kernel):
        if start and not start % 100_000:
            print(f"{start} calls in {time.monotonic() - began:.0f} s", flush=True)
        kernel = UserKernel(rng.choice(VERSIONS), cpus=rng.choice((1, 2, 5)))
        regions = len(kernel.memory._regions)
        for _ in range(min(per_kernel, calls - start)):
            row = COMMANDS[0] if rng.random() < 0.1 else rng.choice(COMMANDS)
            memory[:256] = rng.randbytes(256) if rng.random() < 0.5 else bytes(256)
            try:
                kernel.bpf(hostile_attr(rng, row, memory))
                found[f"{row.name} ok"] += 1
            except KernelError as error:
                found[f"errno {error.errno}"] += 1
            except NotSupported:
                found["not supported"] += 1
            if len(kernel.fds) > MAX_OPEN:
                for fd in kernel.fds.numbers()[MAX_OPEN // 2 :]:
                    kernel.close(fd)
        for fd in kernel.fds.numbers():
            kernel.close(fd)
        for path in list(kernel.bpffs.pinned):
            kernel.bpffs.unlink(path)
        left = {kind: len(ids) for kind, ids in kernel.ids.items() if len(ids)}
        assert not left, f"objects left: {left}"
        assert len(kernel.memory._regions) <= regions + 8, f"regions left: {kernel.memory._regions[-3:]}"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    fds, start = len(os.listdir("/proc/self/fd")), time.monotonic()
    found = fuzz(options.calls, options.seed)
    for name, count in sorted(found.items()):
        print(f"{count:9} {name}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"{options.calls} calls in {time.monotonic() - start:.1f} s, peak {peak} MiB, "
          f"{len(os.listdir('/proc/self/fd')) - fds} descriptors of the process left")  # fmt: skip


if __name__ == "__main__":
    main()
