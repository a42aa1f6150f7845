"""Operations per second of CPU time of the map API: python bench/map_api.py [COUNT]

On Linux, and on the user kernel with Python bodies and with native ones.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from bombus.errors import BombusError
from bombus.kernel.api import Kernel
from bombus.kernel.handles import Map

_TIMES = 20  # numpy arrays


def rate(count: int, call: Callable[[], object]) -> float:
    start = time.process_time()  # the kernel's time counts too
    call()
    return count / (time.process_time() - start)


def repeat(call: Callable[[], object]) -> None:
    for _ in range(_TIMES):
        call()


def measure(kernel: Kernel, count: int) -> dict[str, float]:
    found: dict[str, float] = {}
    keys = range(count)
    for kind in ("hash", "array"):
        item = Map.create(kernel, kind, 4, 8, count)
        raw, key, value = item.raw, bytes(4), bytes(8)

        def store(item: Map = item) -> None:
            for i in keys:
                item[i] = i

        def look(item: Map = item) -> None:
            for i in keys:
                item[i]

        def look_raw(lookup: Callable[[bytes], bytes] = raw.lookup, key: bytes = key) -> None:
            for _ in keys:
                lookup(key)

        def store_raw(
            update: Callable[[bytes, bytes], None] = raw.update, key: bytes = key, value: bytes = value
        ) -> None:
            for _ in keys:
                update(key, value)

        found[f"{kind} set"] = rate(count, store)
        found[f"{kind} get"] = rate(count, look)
        found[f"{kind} raw update"] = rate(count, store_raw)
        found[f"{kind} raw lookup"] = rate(count, look_raw)
        rows = {i: i for i in keys}
        found[f"{kind} update_batch"] = rate(count, partial(item.update_batch, rows))
        found[f"{kind} lookup_batch"] = rate(count, partial(dict, item.items()))
        numbers = np.arange(count, dtype="u4"), np.arange(count, dtype="u8")
        found[f"{kind} update_arrays"] = rate(_TIMES * count, partial(repeat, partial(item.update_arrays, *numbers)))
        found[f"{kind} arrays"] = rate(_TIMES * count, partial(repeat, item.arrays))
        item.close()
    return found


def main() -> None:
    from bombus.kernel.linux.kernel import LinuxKernel
    from bombus.kernel.user.kernel import UserKernel

    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    makers: dict[str, Callable[[], Kernel]] = {
        "linux": LinuxKernel,
        "python": partial(UserKernel, maps="python"),
        "native": partial(UserKernel, maps="native"),
    }
    for label, make in makers.items():
        try:
            rows = measure(make(), count)
        except BombusError as error:
            print(f"{label}: {error}")
            continue
        for name, number in rows.items():
            print(f"{label:6} {name:20} {number:12,.0f} /s")


if __name__ == "__main__":
    main()
