"""Generated modules at work, on both kernels."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from skeletons import ROOT, imported

from bombus.errors import KernelError, ObjectError, UsageError
from bombus.kernel.api import Kernel
from bombus.kernel.user.kernel import UserKernel
from bombus.loader.load import load
from bombus.object.read import read_object
from bombus.skeleton.generate import skeleton

TCP = bytes.fromhex(
    "0200000000020200000000aa0800"
    "450000280000000040060000c0000201c0000202"
    "1234005000000000000000005002000000000000"
)


def test_whole_life(traffic: ModuleType, kernel: Kernel) -> None:
    with traffic.Traffic.open(kernel) as skel:
        assert skel.rodata.blocked_port == 23
        skel.rodata.blocked_port = 443
        skel.bss.seen = 1000
        skel.maps.flows.max_entries = 99
        skel.load()
        run = skel.progs.traffic.test_run(TCP)
        assert (run.retval, run.verdict, run.data) == (2, "XDP_PASS", TCP)
        assert skel.bss.seen == 1001
        skel.bss.seen += 5
        skel.progs.traffic.test_run(TCP)
        assert skel.bss.seen == 1007
        assert skel.rodata.blocked_port == 443
        assert skel.maps.flows.max_entries == 99
        flow = traffic.Flow(
            saddr=0x010200C0, daddr=0x020200C0, sport=0x3412, dport=0x5000, protocol=6,
        )  # fmt: skip
        assert dict(skel.maps.flows) == {flow: traffic.Counters(packets=2, bytes=2 * len(TCP))}
        (event,) = skel.maps.events.read(traffic.Event)
        assert event.flow == flow
        assert event.reason is traffic.Reason.REASON_NEW
        assert event.number == 1001
        assert skel.maps.events.read(traffic.Event) == []
        skel.progs.traffic.test_run(TCP[:34] + b"\x99\x99" + TCP[36:])
        assert next(skel.maps.events.stream(traffic.Event)).flow.sport == 0x9999
        each = skel.maps.protocols[6]
        assert len(each) == kernel.possible_cpus
        assert sum(one.packets for one in each) == 3


def test_config_reaches_the_program(traffic: ModuleType, kernel: Kernel) -> None:
    blocked = TCP[:36] + (23).to_bytes(2, "big") + TCP[38:]
    for port, verdict in ((23, "XDP_DROP"), (24, "XDP_PASS")):
        with traffic.Traffic.open(kernel) as skel:
            skel.rodata.blocked_port = port
            skel.load()
            assert skel.progs.traffic.test_run(blocked).verdict == verdict


def test_values_of_maps_are_copies_that_can_be_stored(traffic: ModuleType, kernel: Kernel) -> None:
    with traffic.Traffic.open_and_load(kernel) as skel:
        key = traffic.Flow(saddr=1, pad=[1, 2, 3])
        skel.maps.flows[key] = traffic.Counters(5, 6)
        found = skel.maps.flows[key]
        found.packets += 1
        assert skel.maps.flows[key].packets == 5
        skel.maps.flows[key] = found
        assert skel.maps.flows[key] == traffic.Counters(6, 6)
        assert traffic.Flow(saddr=1) not in skel.maps.flows
        with pytest.raises(KeyError):
            skel.maps.flows[traffic.Flow()]
        with pytest.raises(KeyError):
            del skel.maps.flows[traffic.Flow()]
        with pytest.raises(KernelError):
            skel.maps.flows.store(key, found, flags=1)  # BPF_NOEXIST
        assert skel.maps.flows.take(key) == found
        assert len(skel.maps.flows) == 0
        assert skel.maps.flows.store_all({traffic.Flow(saddr=n): traffic.Counters(n) for n in range(9)}) == 9
        assert {k.saddr: v.packets for k, v in skel.maps.flows.pairs()} == {n: n for n in range(9)}
        skel.maps.flows.clear()
        assert list(skel.maps.flows) == []


def test_every_kind_of_map_and_member(shapes: ModuleType, kernel: Kernel) -> None:
    packet = bytes(60)
    with shapes.Shapes.open(kernel) as skel:
        skel.rodata.step = -7
        skel.bss.last.kind = 5
        skel.load()
        assert skel.data.total == 5
        assert skel.progs.measure.test_run(packet).verdict == "XDP_PASS"
        expected = shapes.Shape(
            version=3, kind=5, flag=1, negative=-7, row=[shapes.Inner(), shapes.Inner(number=-2)],
            word=shapes.Word(halves=[1, 2]),
        )  # fmt: skip
        assert skel.bss.last == expected
        assert skel.maps.shapes[1] == expected
        assert skel.maps.shapes[1].asdict() == {
            "version": 3, "kind": 5, "flag": 1, "inner": {"number": 0, "bytes": [0, 0, 0]},
            "row": [{"number": 0, "bytes": [0, 0, 0]}, {"number": -2, "bytes": [0, 0, 0]}],
            "word": {"whole": 0x200000001, "halves": [1, 2]}, "negative": -7,
        }  # fmt: skip
        assert skel.maps.events.read(shapes.Shape) == [expected]
        skel.bss.last.row[0].bytes = [1, 2]  # a view: reaches the program's memory
        assert bytes(skel.bss.last.row[0].bytes) == b"\1\2\0"
        skel.progs.measure.test_run(packet)
        assert list(skel.maps.shapes[1].row[0].bytes) == [1, 2, 0]
        assert skel.data.total == 7
        assert skel.maps.slots[2] == len(packet)
        assert dict(skel.maps.slots) == {0: 0, 1: 0, 2: len(packet), 3: 0}
        assert sum(skel.maps.cpus[0]) == 2
        skel.maps.cpu_hash[3] = list(range(kernel.possible_cpus))
        assert skel.maps.cpu_hash[3] == list(range(kernel.possible_cpus))
        with pytest.raises(UsageError, match="CPUs"):
            skel.maps.cpu_hash[3] = [1] * (kernel.possible_cpus + 1)
        skel.maps.queue.push(8)
        skel.maps.queue.push(9)
        assert (skel.maps.queue.peek(), skel.maps.queue.pop(), skel.maps.queue.pop()) == (8, 8, 9)
        with pytest.raises(IndexError):
            skel.maps.queue.pop()
        skel.maps.seen.add(77)
        assert 77 in skel.maps.seen
        assert dict(skel.maps.stacks) == {}
        skel.maps.jumps[0] = skel.progs.after
        assert skel.progs.measure.test_run(packet).verdict == "XDP_TX"
        skel.maps.jumps[0] = None
        assert skel.progs.measure.test_run(packet).verdict == "XDP_PASS"


def test_memory_that_cannot_be_mapped(folder: Path) -> None:
    """Data sections of kernels before 5.5: read and written through the map."""
    build = pytest.importorskip("bombus.compiler.build")
    pytest.importorskip("llvmlite")
    data = build.build_file(str(ROOT / "examples/bpf/xdp_globals.py"))
    path = folder / "globals_skel.py"
    path.write_text(skeleton(read_object(data, name="globals"), data))
    for version, mapped in (("5.4", False), ("5.8", True)):
        with imported(path).Globals.open(f"user:{version}") as skel:
            skel.rodata.limit = 60
            skel.load()
            assert isinstance(skel.bss._data, memoryview) is mapped
            assert skel.progs.count.test_run(bytes(100)).verdict == "XDP_DROP"
            assert (skel.bss.totals.packets, skel.data.start, skel.data.on) == (1, 1003, False)
            skel.bss.totals.packets = 500
            skel.data.negative = -100
            assert skel.progs.count.test_run(bytes(60)).verdict == "XDP_PASS"
            assert (skel.bss.totals.packets, skel.bss.totals.bytes, skel.data.negative) == (501, 160, -101)
            with pytest.raises(UsageError, match="read-only"):
                skel.rodata.limit = 1


def test_before_and_after(traffic: ModuleType) -> None:
    skel = traffic.Traffic.open("user")
    for wrong in (
        lambda: skel.maps.flows[traffic.Flow()], lambda: skel.progs.traffic.test_run(TCP), lambda: skel.attach(),
        lambda: skel.maps.events.read(traffic.Event),
    ):  # fmt: skip
        with pytest.raises(UsageError, match="load"):
            wrong()
    skel.load()
    for late in (
        lambda: skel.load(), lambda: setattr(skel.maps.flows, "max_entries", 3),
        lambda: setattr(skel.progs.traffic, "autoload", False), lambda: skel.maps.flows.reuse(skel.maps.flows.handle),
    ):  # fmt: skip
        with pytest.raises(UsageError):
            late()
    with pytest.raises(UsageError, match="blocked_port: this value is read-only"):
        skel.rodata.blocked_port = 1
    skel.close()
    skel.close()
    for gone in (lambda: skel.bss.seen, lambda: skel.maps.flows.handle, lambda: skel.progs.traffic.handle, skel.load):
        with pytest.raises(UsageError):
            gone()


def test_nothing_but_members(traffic: ModuleType) -> None:
    flow = traffic.Flow()
    with pytest.raises(AttributeError):
        flow.sadr = 1
    with pytest.raises(UsageError, match=r"Flow.sport: 65536 does not fit 16 unsigned bits"):
        flow.sport = 65536
    with pytest.raises(UsageError, match="a number is wanted"):
        flow.sport = 1.5
    with pytest.raises(UsageError, match="4 elements for an array of 3"):
        flow.pad = [1, 2, 3, 4]
    with pytest.raises(IndexError):
        flow.pad[3]
    with pytest.raises(UsageError, match="too few"):
        traffic.Flow.from_bytes(bytes(15))
    assert traffic.Reason(7).name == "7"


def test_programs_that_are_not_loaded(shapes: ModuleType) -> None:
    with shapes.Shapes.open("user") as skel:
        skel.progs.after.autoload = False
        skel.load()
        assert list(skel.loaded.programs) == ["measure"]
        with pytest.raises(UsageError, match="was not loaded"):
            skel.progs.after.test_run(bytes(14))


def test_shared_maps(traffic: ModuleType, kernel: Kernel) -> None:
    with traffic.Traffic.open_and_load(kernel) as first, traffic.Traffic.open(kernel) as second:
        second.maps.flows.reuse(first.maps.flows.handle)
        second.load()
        second.progs.traffic.test_run(TCP)
        assert len(first.maps.flows) == 1
        second.close()
        assert len(first.maps.flows) == 1


def test_over_what_is_loaded(folder: Path, kernel: Kernel) -> None:
    data = (ROOT / "examples/traffic.bpf.o").read_bytes()
    path = folder / "sub_skel.py"
    path.write_text(skeleton(read_object(data, name="traffic"), data, name="sub", embed=False))
    sub = imported(path)
    assert len(path.read_text()) < 5000
    with load(read_object(data, name="traffic"), kernel) as loaded:
        with sub.Sub.over(loaded) as skel:
            skel.progs.traffic.test_run(TCP)
            assert skel.bss.seen == 1
        assert loaded.programs["traffic"].test_run(TCP).retval == 2


def test_object_beside(folder: Path, tmp_path: Path) -> None:
    data = (ROOT / "examples/traffic.bpf.o").read_bytes()
    path = tmp_path / "beside_skel.py"
    path.write_text(skeleton(read_object(data, name="traffic"), data, path="traffic.o"))
    module = imported(path)
    with pytest.raises(OSError):
        module.Traffic.open("user")
    (tmp_path / "traffic.o").write_bytes(data + b"\0")
    with pytest.raises(ObjectError, match="not the object"):
        module.Traffic.open("user")
    (tmp_path / "traffic.o").write_bytes(data)
    with module.Traffic.open_and_load("user") as skel:
        assert skel.progs.traffic.test_run(TCP).retval == 2


GETPPID = 110  # x86-64


def test_attached_on_linux(folder: Path, linux_kernel: Kernel) -> None:
    """What programs count of this process alone, while they are attached."""
    pytest.importorskip("llvmlite")
    module = imported(folder / "enter_skel.py")
    with module.Enter.open(linux_kernel) as skel:
        skel.rodata.pid = os.getpid()
        skel.load()
        skel.progs.parent.autoattach = False
        skel.attach()
        assert skel.links.enter is not None
        assert skel.links.parent is None
        for _ in range(50):
            os.getppid()
        assert skel.maps.counts[GETPPID] == 50
        assert skel.bss.total >= 50
        assert skel.bss.others == 0
        skel.links.parent = skel.progs.parent.attach()
        for _ in range(7):
            os.getppid()
        assert skel.bss.others == 7
        skel.detach()
        assert skel.links.enter is None
        before = (skel.maps.counts[GETPPID], skel.bss.others)
        for _ in range(9):
            os.getppid()
        assert (skel.maps.counts[GETPPID], skel.bss.others) == before
        with skel.progs.parent.attach():
            os.getppid()
        os.getppid()
        assert skel.bss.others == 8


def test_struct_ops_values() -> None:
    path = ROOT / "tests/object/data/arena_ops.bpf.o"
    data = path.read_bytes()
    text = skeleton(read_object(data, name="arena_ops"), data)
    names: dict[str, Any] = {"__name__": "arena_ops_skel"}
    exec(compile(text, "arena_ops_skel.py", "exec"), names)
    skel = names["ArenaOps"].open("user")
    assert skel.struct_ops.one.name
    skel.struct_ops.one.flags = 3
    assert bytes(skel.struct_ops.one)[32:36] == b"\3\0\0\0"


def test_targets() -> None:
    """Programs at functions of another skeleton's program."""
    kernel = UserKernel("6.12")
    made: dict[str, Any] = {}
    for name in ("targets", "attachers"):
        data = (ROOT / f"tests/linux/data/{name}.bpf.o").read_bytes()
        names: dict[str, Any] = {"__name__": f"{name}_skel"}
        exec(compile(skeleton(read_object(data, name=name), data), f"{name}_skel.py", "exec"), names)
        made[name] = names[name.title()].open(kernel)
        for program in vars(made[name].progs).values():
            program.autoload = False
    target, other = made["targets"], made["attachers"]
    target.progs.entry.autoload = True
    target.load()
    wanted = other.progs.new_multiply, other.progs.after_multiply
    for program, named in zip(wanted, ("", "multiply"), strict=True):
        program.autoload = True
        program.set_target(target.progs.entry if named else target.progs.entry.handle, named)
    other.data.answer = 5
    other.load()
    with target, other:
        plain = target.progs.entry.test_run(bytes(64)).retval
        with wanted[0].attach():
            assert target.progs.entry.test_run(bytes(64)).retval == plain + 5 - 3
        with wanted[1].attach():
            assert target.progs.entry.test_run(bytes(64)).retval == plain and other.bss.count == 1
        with pytest.raises(UsageError, match="set the target before"):
            wanted[0].set_target(target.progs.entry)


def test_kconfig(linux_kernel: Kernel) -> None:
    """Values of .kconfig are where the loader puts them."""
    data = (ROOT / "tests/object/data/features.bpf.o").read_bytes()
    names: dict[str, Any] = {"__name__": "features_skel"}
    exec(compile(skeleton(read_object(data, name="features"), data), "features_skel.py", "exec"), names)
    with names["Features"].open(linux_kernel) as skel:
        for program in vars(skel.progs).values():
            program.autoload = False
        skel.load()
        release = os.uname().release.split("-")[0].split(".")
        major, minor, *rest = (int(part) for part in release)
        assert major << 16 | minor << 8 | min(rest[0] if rest else 0, 255) == skel.kconfig.LINUX_KERNEL_VERSION
        assert skel.kconfig.CONFIG_BPF_SYSCALL is True
        assert skel.kconfig.CONFIG_HZ in (100, 250, 300, 1000)
        with pytest.raises(UsageError, match="read-only"):
            skel.kconfig.CONFIG_HZ = 1
