"""Names of native code for `perf`: /tmp/perf-PID.map, when $BOMBUS_PERF_MAP is set.

Format: linux tools/perf/Documentation/jit-interface.txt: start, size, name; numbers in hexadecimal without prefix.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from bombus.jit import abi
from bombus.jit.link import Linked


def path() -> Path:
    return Path(f"/tmp/perf-{os.getpid()}.map")


def names(label: str, linked: Linked) -> Iterator[tuple[str, int, int]]:
    """Name, address and bytes of each function: bpf_prog_TAG_NAME for main, others behind a dot."""
    for symbol, (address, size) in linked.functions.items():
        yield label if symbol == abi.MAIN else f"{label}.{symbol}", address, size


def note(label: str, linked: Linked) -> None:
    """Add a program's functions under the kernel's names, bpf_prog_TAG_NAME, if that is wanted."""
    if not os.environ.get("BOMBUS_PERF_MAP"):
        return
    lines = [f"{address:x} {size:x} {name}\n" for name, address, size in names(label, linked)]
    # O_NOFOLLOW: the folder is everybody's.
    handle = os.open(path(), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "a") as file:
        file.write("".join(lines))
