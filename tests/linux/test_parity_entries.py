"""Redirects to all of a devmap, programs of map entries, neighbours and routes: the same on both kernels."""

from __future__ import annotations

import struct
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from test_parity import XDP_PASS, Result, both, frame, maps

from bombus.kernel.handles import Program
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.load import load
from bombus.object.read import open_object

pytestmark = pytest.mark.linux
OBJECT = open_object(Path(__file__).parent / "data" / "entries.bpf.o")


@pytest.mark.parametrize("mode", ["native", "skb"])
def test_entries_of_maps(linux_kernel: LinuxKernel, mode: str) -> None:
    def scenario(side: Any) -> Result:
        found: Result = {}
        with ExitStack() as stack:
            places = {"other": side.index("vd"), "came": side.index("vb"), "first": side.index("vc")}
            item = stack.enter_context(load(OBJECT, side.kernel, data=places))
            programs = item.programs
            # To vb itself, to vc with a program, to vd without; those of the hash in one order only: two of them.
            for key, name, program in ((1, "vc", "leaves"), (2, "vd", ""), (4, "vb", "leaves_too")):
                put(item.maps["ports"], key, side.index(name), programs[program].fd if program else 0)
            put(item.maps["hashed"], 300, side.index("vc"), programs["leaves"].fd)
            put(item.maps["hashed"], 7, side.index("vb"), 0)
            put(item.maps["cpus"], 0, 64, programs["arrives"].fd)
            if mode == "native":  # the ends that frames go to must take frames of XDP
                for name in ("va", "vc", "vd"):
                    stack.enter_context(Program.load(side.kernel, "xdp", XDP_PASS).attach_xdp(name, mode=mode))
            stack.enter_context(programs["sender"].attach_xdp("vb", mode=mode))
            for way in range(10):
                for action in range(7):
                    if action == 4 and way != 6:
                        continue  # entries of devmaps do not redirect
                    sent = frame(way | action << 4)
                    found[f"{way}/{action}"] = by_cpu(side, sent) if way == 6 else side.exchange(sent)
            return found | maps(item)

    both(scenario)


def by_cpu(side: Any, sent: bytes) -> list[tuple[str, str]]:
    """What becomes of a frame that a thread of another CPU takes: a second frame, which is longer, comes after it."""
    after, nothing = frame(6, 80), frame(0).replace(b"\x88\xb5", b"\x88\xb6", 1)
    found = [*side.exchange(sent), *side.exchange(after)]
    for _ in range(1000):
        if any(len(packet) == 2 * len(after) for _name, packet in found):
            break
        found += side.exchange(nothing)
    return sorted((n, p) for n, p in found if len(p) != 2 * len(after) and p[24:28] != "88b6")


def put(item: Any, key: int, number: int, fd: int) -> None:
    item.raw.update(key.to_bytes(4, "little"), struct.pack("<II", number, fd))
