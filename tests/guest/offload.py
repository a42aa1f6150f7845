"""In the guest: programs and maps that a network device has itself; netdevsim is such a device in software."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from test_sections import made

from bombus.errors import KernelError
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.load import load
from bombus.object.model import MapSpec

BUS = Path("/sys/bus/netdevsim")


def device() -> str:
    if not (BUS / "devices/netdevsim1").exists():
        (BUS / "new_device").write_text("1 1")
    (name,) = os.listdir(BUS / "devices/netdevsim1/net")
    return name


def test_an_offloaded_program() -> None:
    kernel, name = LinuxKernel(), device()
    index = kernel.sites.ifindex(name)
    hash_ = MapSpec("numbers", 1, 4, 8, 2)
    with load(replace(made("xdp"), maps=(hash_,)), kernel, device=name) as item:
        program, numbers = item.programs["it"], item.maps["numbers"]
        assert (program.info().ifindex, numbers.info().ifindex) == (index, index)
        numbers[1] = 77
        assert dict(numbers) == {1: 77}
        with program.attach_xdp(name, mode="offload") as link:
            assert link.type == "xdp" and kernel.sites.xdp_query(index).ids == {"offload": program.id}
        assert kernel.sites.xdp_query(index).ids == {}
        with pytest.raises(KernelError):
            program.attach_xdp(name, mode="skb")  # it is the device's
    with load(made("tc"), kernel, device=index) as item:
        assert item.programs["it"].info().ifindex == index


def test_what_a_device_does_not_take() -> None:
    kernel, name = LinuxKernel(), device()
    for obj, where in ((made("xdp"), "lo"), (replace(made("xdp"), maps=(MapSpec("m", 6, 4, 8, 2),)), name)):
        with pytest.raises(KernelError) as caught:
            load(obj, kernel, device=where)
        assert "offload" in str(caught.value)
