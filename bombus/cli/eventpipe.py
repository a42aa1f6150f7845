"""`bombus map event_pipe MAP`: records of a perf event array as they come.

Source: Linux 6.1 tools/bpf/bpftool/map_perf_ring.c, behaviour.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

from bombus.cli import live, output
from bombus.cli.mapio import type_name
from bombus.cli.words import Words
from bombus.errors import UsageError

_WAIT = 0.2  # seconds


def event_pipe(words: Words) -> None:
    """MAP [cpu N index M]."""
    from bombus.cli.tracelog import until_signal
    from bombus.kernel.linux.perfpipe import PerfPipe, online_cpus

    with live.item("map", words) as item:
        if type_name(item.info["type"]) != "perf_event_array":
            raise UsageError("map is not a perf event array")
        given: dict[str, int] = {}
        while words:
            word = words.expect("cpu", "index")
            given[word] = words.number(word, bits=31)
        if len(given) == 1:
            raise UsageError("cpu and index must be specified together")
        if given:
            places = [(given["cpu"], given["index"])]
        else:
            places = [(cpu, cpu) for cpu in online_cpus() if cpu < item.info["max_entries"]]
        pipe = PerfPipe(live.kernel(), item.fd, places)
        with until_signal(), contextlib.closing(pipe):
            _copy(pipe)


def _copy(pipe: Any) -> None:
    out = sys.stdout
    first = True
    if output.as_json():
        out.write("[")
    try:
        while True:
            for index, record in pipe.read(_WAIT):
                if output.as_json():
                    out.write(("" if first else ",") + json.dumps(_json(index, record), separators=(",", ":")))
                    first = False
                else:
                    out.write(_text(index, record) + "\n")
            out.flush()
    finally:
        if output.as_json():
            out.write("]\n")
            out.flush()


def _json(index: int, record: Any) -> dict[str, Any]:
    from bombus.kernel.linux.perfpipe import LOST, SAMPLE

    found: dict[str, Any] = {"type": record.type, "cpu": record.cpu, "index": index}
    if record.type == SAMPLE:
        found |= {"timestamp": record.time, "data": list(record.data)}
    elif record.type == LOST:
        found["lost"] = {"id": record.id, "count": record.lost}
    return found


def _text(index: int, record: Any) -> str:
    from bombus.kernel.linux.perfpipe import LOST, SAMPLE

    if record.type == SAMPLE:
        seconds, ns = divmod(record.time, 1_000_000_000)
        head = f"== @{seconds}.{ns:09} CPU: {record.cpu} index: {index} ====="
        return f"{head}\n{live.hex_text(record.data)}"
    if record.type == LOST:
        return f"lost {record.lost} events"
    return f"unknown event type={record.type} size={record.size}"
