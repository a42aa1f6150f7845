"""In the guest: arguments of system calls and kernel functions, as programs in Python name them."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.load import load
from bombus.object.read import open_object

HERE = Path(__file__).parent


def test_arguments_of_system_calls() -> None:
    obj = open_object(HERE / "typed.o")
    with load(obj, LinuxKernel(), data={"pid": os.getpid()}) as loaded:
        links = [loaded.programs[name].attach() for name in ("reads", "read", "maps", "inner")]
        path = HERE / "typed.o"
        file = os.open(path, os.O_RDONLY)
        data = os.pread(file, 7, 3)
        with mmap.mmap(file, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ):
            pass
        for link in links:
            link.close()
        os.close(file)
        seen = {int(key): int(loaded.maps["seen"][key]) for key in loaded.maps["seen"]}
    assert data == path.read_bytes()[3:10]
    assert (seen[0], seen[2], seen[3], seen[20]) == (file, 7, 3, 7)
    assert seen[1] == seen[30] > 4096
    assert seen[31] == 7
    assert (seen[11], seen[12], seen[14]) == (mmap.PROT_READ, mmap.MAP_PRIVATE, 0)
    assert seen[10] == 4096
