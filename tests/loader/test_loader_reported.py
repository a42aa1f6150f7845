"""What the kernel says of loaded objects is the same after our loader as after bpftool's (libbpf)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bombus.elf.read import find_embedded
from bombus.errors import BombusError
from bombus.isa.opcodes import LD_IMM64
from bombus.kernel.handles import Btf, Map, Program
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.load import load
from bombus.object.read import open_object
from bombus.spec.maptypes import BPF_F_MMAPABLE

pytestmark = [pytest.mark.linux, pytest.mark.debian]
MAP_FIELDS = ("type", "key_size", "value_size", "max_entries", "map_flags", "name", "btf_key_type_id",
              "btf_value_type_id", "map_extra")  # fmt: skip
PROG_FIELDS = ("type", "tag", "name", "gpl_compatible", "xlated_prog_len", "nr_map_ids", "nr_func_info", "nr_line_info",
               "verified_insns", "attach_btf_id", "attach_btf_obj_id")  # fmt: skip
Report = dict[str, Any]


@pytest.fixture(scope="module")
def bpffs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if shutil.which("bpftool") is None:
        pytest.skip("bpftool is not installed")
    path = tmp_path_factory.mktemp("bpffs")
    done = subprocess.run(["mount", "-t", "bpf", "bombus-reported", str(path)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no bpf file system can be mounted: {done.stderr.decode().strip()}")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def report(kernel: LinuxKernel, program: Program) -> Report:
    """Members of bpf_prog_info, instructions with map ids blanked, maps, BTF, records."""
    info = program.info()
    found: Report = {name: info[name] for name in PROG_FIELDS}
    numbers = program.map_ids()
    insns = program.instructions()
    found["insns"] = [insn._replace(imm=0) if insn.opcode == LD_IMM64 and insn.src else insn for insn in insns]
    maps = []
    for number in numbers:
        with Map.from_id(kernel, number) as item:
            described = item.info()
            row = {name: described[name] for name in MAP_FIELDS}
            row["frozen"] = frozen(kernel, item)
            if "." in row["name"]:
                # The libbpf inside bpftool 7.1 shares all data; 1.1 and later only what is visible from outside.
                row["map_flags"] &= ~BPF_F_MMAPABLE
            maps.append(row)
    found["maps"] = maps
    found["func_info"], found["line_info"] = program.func_info(), program.line_info()
    if info["btf_id"]:
        with Btf.from_id(kernel, info["btf_id"]) as btf:
            found["btf"] = btf.raw()
    return found


def frozen(kernel: LinuxKernel, item: Map) -> bool:
    text = Path(f"/proc/self/fdinfo/{item.fd}").read_text()
    return "frozen:\t1" in text


def theirs(kernel: LinuxKernel, path: Path, pins: Path) -> dict[str, Report] | None:
    """By program's name; None when libbpf does not load the object here."""
    place = pins / "theirs"
    try:
        # bpftool pins maps that ask for it by name in its own default place: a file system that only it sees.
        script = 'mount -t bpf theirs /sys/fs/bpf && exec bpftool prog loadall "$@"'
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, "sh", path, place], capture_output=True, check=False
        )
        if done.returncode:
            return None
        found = {}
        for pin in sorted(place.iterdir()):
            with Program.pinned(kernel, pin) as program:
                found[pin.name] = report(kernel, program)
        return found
    finally:
        shutil.rmtree(place, ignore_errors=True)


def compare(kernel: LinuxKernel, path: Path, pins: Path) -> bool:
    expected = theirs(kernel, path, pins)
    obj = open_object(path)
    if expected is None:
        return False
    with load(obj, kernel, pin_root="") as loaded:
        mine = {name: report(kernel, program) for name, program in loaded.programs.items()}
    assert set(mine) == set(expected), path
    for name, row in expected.items():
        for key, value in row.items():
            assert mine[name][key] == value, (path, name, key)
    return True


def test_libxdp_and_xdp_tools(linux_kernel: LinuxKernel, bpffs: Path, tmp_path: Path, debian: Any) -> None:
    files = debian("/usr/lib/*/bpf/*.o")
    count = sum(compare(linux_kernel, path, bpffs) for path in files)
    assert count >= 14
    inside = list(embedded(debian("/usr/sbin/xdp*"), tmp_path))
    assert sum(compare(linux_kernel, path, bpffs) for path in inside) >= 20


def embedded(files: list[Path], directory: Path) -> Iterator[Path]:
    for file in files:
        data = file.read_bytes()
        for number, (at, elf) in enumerate(find_embedded(data)):
            path = directory / f"{file.name}.{number}.bpf.o"
            path.write_bytes(data[at : at + elf.size])
            yield path


@pytest.mark.parametrize("part", range(4))
def test_libbpf_tools(linux_kernel: LinuxKernel, bpffs: Path, tmp_path: Path, debian: Any, part: int) -> None:
    files = [path for path in debian("/usr/sbin/*") if path.is_file() and not path.name.startswith("xdp")]
    tools = [path for path in files if b"libbpf" in path.read_bytes()]
    count = sum(compare(linux_kernel, path, bpffs) for path in embedded(tools[part::4], tmp_path))
    assert count >= 5


def test_what_libbpf_refuses_is_named(linux_kernel: LinuxKernel, tmp_path: Path, debian: Any) -> None:
    """Objects that do not load here fail with an error of ours that says why."""
    tools = [p for p in debian("/usr/sbin/*") if p.is_file() and b"libbpf" in p.read_bytes()]
    loaded = refused = 0
    for path in list(embedded(tools, tmp_path))[::6]:
        try:
            load(open_object(path), linux_kernel, pin_root="").close()
            loaded += 1
        except BombusError as error:
            assert str(error)
            refused += 1
    assert loaded and refused

