"""Names of native code for `perf`: /tmp/perf-PID.map, when $BOMBUS_PERF_MAP is set.

Format: linux tools/perf/Documentation/jit-interface.txt: start, size, name; numbers in hexadecimal without prefix.
"""

from __future__ import annotations

import os
from pathlib import Path

from bombus.jit import abi
from bombus.jit.link import Linked


def path() -> Path:
    return Path(f"/tmp/perf-{os.getpid()}.map")


def note(label: str, linked: Linked) -> None:
    """Add a program's functions under the kernel's names, bpf_prog_TAG_NAME, if that is wanted."""
    if not os.environ.get("BOMBUS_PERF_MAP"):
        return
    lines = []
    for symbol, (address, size) in linked.functions.items():
        name = label if symbol == abi.MAIN else f"{label}.{symbol}"
        lines.append(f"{address:x} {size:x} {name}\n")
    # O_NOFOLLOW: the folder is everybody's.
    handle = os.open(path(), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "a") as file:
        file.write("".join(lines))
