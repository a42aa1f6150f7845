"""Variables as attributes, pins, which programs load: on both kernels."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bombus.errors import KernelError, NeedsKernel, NotSupported, ObjectError, UsageError
from bombus.kernel.api import Attr, Kernel
from bombus.kernel.handles import Map, Program
from bombus.kernel.linux.errors import missing_configs, refusal
from bombus.kernel.user.kernel import UserKernel
from bombus.loader.load import load
from bombus.object.read import open_object
from bombus.spec.version import KernelVersion

ROOT = Path(__file__).resolve().parents[2]
TRAFFIC = open_object(ROOT / "examples" / "traffic.bpf.o")
PACKETS = open_object(ROOT / "tests" / "cli" / "data" / "packets.bpf.o")
FRAME = bytes(12) + b"\x08\x00" + bytes(50)


@pytest.fixture
def bpffs(kernel: Kernel, tmp_path: Path) -> Iterator[str]:
    """A bpf file system of our own."""
    if kernel.name == "user":
        yield "/sys/fs/bpf"
        return
    mounted = subprocess.run(["mount", "-t", "bpf", "bombus-test", str(tmp_path)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no bpf file system can be mounted: {mounted.stderr.decode().strip()}")
    yield str(tmp_path)
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_variables_are_attributes(kernel: Kernel) -> None:
    with load(TRAFFIC, kernel, data={"blocked_port": 99}) as loaded:
        assert loaded.rodata.blocked_port == 99
        with pytest.raises(UsageError, match="read-only"):
            loaded.rodata.blocked_port = 1
        assert loaded.bss.seen == 0
        loaded.programs["traffic"].test_run(FRAME)
        assert loaded.bss.seen == 1
        loaded.bss.seen += 10
        loaded.programs["traffic"].test_run(FRAME)
        assert loaded.bss.seen == 12 == loaded.maps[".bss"][0].seen
        with pytest.raises(UsageError):
            loaded.bss.seen = 1 << 64
        with pytest.raises(UsageError, match="no member"):
            loaded.bss.other = 1
        with pytest.raises(UsageError, match=r"no section '\.data'"):
            assert loaded.data


def test_kernels_that_cannot_share_memory_say_so() -> None:
    obj = replace(TRAFFIC, programs=(), maps=tuple(m for m in TRAFFIC.maps if m.section))
    with load(obj, UserKernel("5.4")) as loaded, pytest.raises(NotSupported, match=r"maps\[name\]\[0\]"):
        assert loaded.bss


def test_pins_by_map(kernel: Kernel, bpffs: str) -> None:
    path = f"{bpffs}/my_flows"
    with load(TRAFFIC, kernel, pins={"flows": path}) as loaded:
        loaded.maps["flows"].raw[bytes(16)] = b"\1" * 16
        number = loaded.maps["flows"].id
    with load(TRAFFIC, kernel, pins={"flows": path}) as loaded:
        assert loaded.maps["flows"].id == number and len(loaded.maps["flows"]) == 1
    with pytest.raises(ObjectError, match="max_entries 1024 instead of 5"):
        load(TRAFFIC, kernel, pins={"flows": path}, max_entries={"flows": 5})
    with pytest.raises(UsageError, match="no map 'none'"):
        load(TRAFFIC, kernel, pins={"none": path})
    with Map.pinned(kernel, path) as again:
        assert again.id == number
    kernel.sites.unpin(path)
    with pytest.raises(KernelError) as caught:
        kernel.sites.unpin(path)
    assert caught.value.errno == errno.ENOENT


def test_everything_of_an_object_is_pinned(kernel: Kernel, bpffs: str) -> None:
    with load(TRAFFIC, kernel) as loaded:
        loaded.pin(bpffs)
        number = loaded.programs["traffic"].id
        with pytest.raises(KernelError) as caught:
            loaded.pin(bpffs)
        assert caught.value.errno == errno.EEXIST
    with Program.pinned(kernel, f"{bpffs}/traffic") as program:
        assert program.id == number
    for name in (*loaded.maps, "traffic"):
        kernel.sites.unpin(f"{bpffs}/{name.replace('.', '_')}")


def test_programs_can_be_left_out(kernel: Kernel) -> None:
    names = [program.name for program in PACKETS.programs]
    with load(PACKETS, kernel, autoload={names[0]: False}) as loaded:
        assert names[0] not in loaded.programs and names[1] in loaded.programs
    optional = tuple(replace(p, autoload=p.name == names[1]) for p in PACKETS.programs)
    with load(replace(PACKETS, programs=optional), kernel) as loaded:
        assert list(loaded.programs) == [names[1]]
    with load(replace(PACKETS, programs=optional), kernel, autoload={names[0]: True}) as loaded:
        assert set(loaded.programs) == set(names[:2])
    for option in ("autoload", "autoattach", "targets", "fields"):
        with pytest.raises(UsageError, match="no program 'x'"):
            load(PACKETS, kernel, **{option: {"x": {}}})


def test_more_fields_reach_the_kernel(kernel: Kernel) -> None:
    with pytest.raises((KernelError, NotSupported)):
        load(TRAFFIC, kernel, fields={"traffic": {"prog_ifindex": 12345}})
    with pytest.raises(UsageError, match="no field"):
        load(TRAFFIC, kernel, fields={"traffic": {"nothing": 1}})


def test_errors_name_missing_configuration() -> None:
    attr = Attr("BPF_LINK_CREATE", prog_fd=3, attach_type=54)  # netkit
    assert missing_configs(attr, {"CONFIG_BPF": "y"}) == ["CONFIG_NETKIT"]
    assert missing_configs(attr, {"CONFIG_NETKIT": "m"}) == [] and missing_configs(attr, {}) == []
    error = refusal(attr, errno.EINVAL, KernelVersion(6, 12), lambda: {"CONFIG_BPF": "y"})
    assert "built without CONFIG_NETKIT" in str(error)
    error = refusal(attr, errno.EINVAL, KernelVersion(6, 1), lambda: {"CONFIG_BPF": "y"})
    assert isinstance(error, NeedsKernel | KernelError)
    lsm = Attr("BPF_PROG_LOAD", prog_type=29, expected_attach_type=27)
    assert "CONFIG_BPF_LSM" in missing_configs(lsm, {"CONFIG_BPF": "y"})
