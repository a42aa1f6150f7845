"""Loading on both kernels: options, errors, and giving everything back."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from bombus.errors import KernelError, LoadError, ObjectError, UsageError
from bombus.isa.insn import decode
from bombus.kernel.api import Attr, Kernel
from bombus.kernel.handles import Map, ids
from bombus.kernel.user.kernel import UserKernel
from bombus.loader.load import load, prepare
from bombus.object.read import open_object

ROOT = Path(__file__).resolve().parents[2]
TRAFFIC = ROOT / "examples" / "traffic.bpf.o"
PACKETS = ROOT / "tests" / "cli" / "data" / "packets.bpf.o"
FRAME = bytes(12) + b"\x08\x00" + bytes(50)


def test_maps_have_the_types_of_the_object(kernel: Kernel) -> None:
    with load(open_object(TRAFFIC), kernel) as loaded:
        assert set(loaded.maps) == {"protocols", "flows", "events", "traffic.rodata", "traffic.bss"}
        assert loaded.maps[".bss"] is loaded.maps["traffic.bss"]
        assert loaded.maps[".rodata"][0]["blocked_port"] == 23
        loaded.maps["flows"][{"saddr": 1, "dport": 53}] = {"packets": 2, "bytes": 3}
        ((key, value),) = loaded.maps["flows"].items()
        assert (key.saddr, key.dport, value.packets, value.bytes) == (1, 53, 2, 3)
        assert loaded.programs["traffic"].test_run(FRAME).retval == 0
        assert loaded.maps[".bss"][0].seen == 1


def test_variables_can_be_set(kernel: Kernel) -> None:
    with load(open_object(TRAFFIC), kernel, data={"blocked_port": 80, "seen": 1 << 40}) as loaded:
        assert loaded.maps[".rodata"][0]["blocked_port"] == 80
        loaded.programs["traffic"].test_run(FRAME)
        assert loaded.maps[".bss"][0].seen == (1 << 40) + 1
    with load(open_object(TRAFFIC), kernel, data={".bss": b"\7" + bytes(7)}) as loaded:
        assert loaded.maps[".bss"][0].seen == 7


def test_read_only_data_is_frozen(kernel: Kernel) -> None:
    with load(open_object(TRAFFIC), kernel) as loaded, pytest.raises(KernelError) as caught:
        loaded.maps[".rodata"].raw[bytes(4)] = bytes(loaded.maps[".rodata"].value_size)
    assert caught.value.errno == 1  # EPERM


def test_sizes_and_maps_can_be_given(kernel: Kernel) -> None:
    with Map.create(kernel, "lru_hash", 16, 16, 1024) as own:
        with load(open_object(TRAFFIC), kernel, reuse={"flows": own}, max_entries={"protocols": 7}) as loaded:
            assert loaded.maps["protocols"].max_entries == 7
            loaded.maps["flows"].raw[bytes(16)] = bytes(16)
        assert len(own) == 1, "a map that was given stays open"


def test_static_values_of_maps(kernel: Kernel) -> None:
    with load(open_object(PACKETS), kernel, programs=["jump", "tail_pass"]) as loaded:
        assert loaded.maps["parity"][0].id == loaded.maps["even"].id
        assert loaded.maps["parity"][1].id == loaded.maps["odd"].id
        assert loaded.maps["jumps"][1].id == loaded.programs["tail_pass"].id
        assert [loaded.programs["jump"].test_run(bytes(n)).retval for n in (60, 200)] == [1, 2]
        assert loaded.maps[".bss"][0].calls == 1000


def test_everything_is_given_back(kernel: Kernel) -> None:
    def count() -> dict[str, int]:
        return {kind: sum(1 for _ in ids(kernel, kind)) for kind in ("map", "prog", "btf")}

    if kernel.name == "linux":
        pytest.skip("others load on the running kernel meanwhile; descriptors are counted below")
    before = count()
    with load(open_object(PACKETS), kernel):
        assert count()["map"] > before["map"]
    assert count() == before
    with pytest.raises(UsageError):
        load(open_object(PACKETS), kernel, data={"nothing": 1})
    with pytest.raises(KernelError):
        load(open_object(PACKETS), kernel, max_entries={"lengths": 0, "by_protocol": 0})
    assert count() == before


def test_descriptors_are_given_back_on_linux(linux_kernel: Any) -> None:
    fds = Path("/proc/self/fd")

    def count() -> int:
        return len(list(fds.iterdir()))

    with load(open_object(PACKETS), linux_kernel):  # opens what stays open: the trace instance, say
        pass
    before = count()
    for _ in range(3):
        with load(open_object(PACKETS), linux_kernel):
            assert count() > before
        with pytest.raises(KernelError):
            load(open_object(PACKETS), linux_kernel, max_entries={"by_protocol": 0})
    assert count() == before


def test_a_refused_program_brings_the_log(kernel: Kernel) -> None:
    obj = open_object(PACKETS)
    bad = next(p for p in obj.programs if p.name == "reshape")
    from dataclasses import replace

    # A return value that is never written: the first instruction becomes exit.
    exit_ = bad.function.insns[-1]
    broken = replace(bad.function, insns=(exit_, *bad.function.insns[1:]))
    program = replace(bad, function=broken)
    functions = obj.functions | {bad.function.name: broken}
    changed = replace(obj, programs=(program,), functions=functions)
    with pytest.raises(LoadError) as caught:
        load(changed, kernel)
    assert caught.value.errno == 22 and caught.value.log
    assert "reshape" in "".join(caught.value.__notes__)


def test_pinned_by_name_and_found_again() -> None:
    from dataclasses import replace

    obj = open_object(TRAFFIC)
    pinned = tuple(replace(spec, pinning=1) if spec.name == "flows" else spec for spec in obj.maps)
    obj = replace(obj, maps=pinned)
    kernel = UserKernel()
    with load(obj, kernel) as loaded:
        loaded.maps["flows"].raw[bytes(16)] = b"\1" * 16
        number = loaded.maps["flows"].id
    with load(obj, kernel) as loaded:
        assert loaded.maps["flows"].id == number and len(loaded.maps["flows"]) == 1
    with load(obj, kernel, pin_root="") as loaded:
        assert loaded.maps["flows"].id != number
    with pytest.raises(ObjectError, match="is another one"):
        load(obj, kernel, max_entries={"flows": 5})


@pytest.mark.parametrize("version", ["4.18", "5.4", "5.15", "6.1", "6.12", "6.18"])
def test_old_kernels_get_what_they_know(version: str) -> None:
    kernel = UserKernel(version)
    if version == "4.18":  # no global data before 5.2
        with pytest.raises(KernelError):
            load(open_object(TRAFFIC), kernel)
        return
    if version == "5.4":
        with pytest.raises(KernelError, match=r"needs Linux 5\.8"):  # the ring buffer
            load(open_object(TRAFFIC), kernel)
        return
    with load(open_object(TRAFFIC), kernel) as loaded:
        assert loaded.programs["traffic"].test_run(FRAME).retval == 0


def test_prepare_needs_no_kernel_objects() -> None:
    kernel = UserKernel()
    found = prepare(open_object(PACKETS), kernel)
    assert set(found) >= {"classify", "reshape"} and not kernel.fds.numbers()


def test_unknown_names(kernel: Kernel) -> None:
    with pytest.raises(UsageError, match="no program 'x'"):
        load(open_object(TRAFFIC), kernel, programs=["x"])


def test_the_other_byte_order_is_refused() -> None:
    from dataclasses import replace

    with pytest.raises(ObjectError, match="big-endian; kernels here are little-endian"):
        load(replace(open_object(TRAFFIC), byteorder="big"), UserKernel())


def test_pinned_in_a_file_system_of_ones_own(linux_kernel: Any, tmp_path: Path) -> None:
    from dataclasses import replace

    mounted = subprocess.run(["mount", "-t", "bpf", "bombus-test", str(tmp_path)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no bpf file system can be mounted: {mounted.stderr.decode().strip()}")
    try:
        obj = open_object(TRAFFIC)
        obj = replace(obj, maps=tuple(replace(m, pinning=1) if m.name == "flows" else m for m in obj.maps))
        with load(obj, linux_kernel, pin_root=str(tmp_path)) as loaded:
            loaded.maps["flows"].raw[bytes(16)] = b"\1" * 16
            number = loaded.maps["flows"].id
        assert (tmp_path / "flows").exists()
        with load(obj, linux_kernel, pin_root=str(tmp_path)) as loaded:
            assert loaded.maps["flows"].id == number and len(loaded.maps["flows"]) == 1
        with pytest.raises(ObjectError, match="is another one"):
            load(obj, linux_kernel, pin_root=str(tmp_path), max_entries={"flows": 5})
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_old_kernels_have_one_probe_read() -> None:
    seen: list[list[int]] = []

    class Watched(UserKernel):
        def bpf(self, attr: Attr) -> int:
            if attr.command.name == "BPF_PROG_LOAD" and attr.get("insn_cnt") > 10:  # not those that probe
                seen.append([i.imm for i in decode(bytes(attr.buffers["insns"])) if i.opcode == 0x85])
            return super().bpf(attr)

    obj = open_object(ROOT / "tests" / "object" / "data" / "features.bpf.o")
    config = {"CONFIG_HZ": "250", "CONFIG_BPF_SYSCALL": "y"}
    for version in ("5.4", "5.5"):
        kernel = Watched(version, verify="off", kconfig=config, kallsyms={"bpf_prog_alloc": 1})
        load(obj, kernel, programs=["probe"], btf=obj.btf).close()
    old, new = seen[0], seen[-1]
    assert 113 in new and old == [{113: 4}.get(number, number) for number in new]
