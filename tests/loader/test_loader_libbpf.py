"""Everything that our loader hands to bpf(2) is what C libbpf hands to it: instructions, maps, BTF, infos."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from libbpf_record import Loading, build_recorder, libbpf, ours

from bombus.elf.read import find_embedded
from bombus.errors import BombusError
from bombus.object.read import open_object

pytestmark = [pytest.mark.linux, pytest.mark.debian]
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory, linux_kernel: Any) -> Path:
    built = build_recorder(tmp_path_factory.mktemp("record"))
    if built is None:
        pytest.skip("gcc or libbpf-dev is missing")
    return built


def compare(recorder: Path, path: Path) -> tuple[int, int]:
    """(programs that both load alike, programs that both refuse). AssertionError for the first difference."""
    theirs = libbpf(recorder, path)
    if isinstance(theirs, str):  # not even opened: an input of the static linker, say
        with pytest.raises(BombusError):
            open_object(path)
        return 0, 0
    mine = ours(open_object(path))
    assert list(theirs) == list(mine), path
    loaded = 0
    for name, expected in theirs.items():
        found: Loading = mine[name]
        assert (found.program is None) == (expected.program is None), (path, name, expected.refused, found.refused)
        if expected.program is None:
            continue
        assert found.insns == expected.insns, (path, name)
        assert found.program == expected.program, (path, name)
        assert found.maps == expected.maps, (path, name)
        assert found.btf == expected.btf, (path, name)
        loaded += 1
    return loaded, len(theirs) - loaded


def embedded(files: list[Path], directory: Path) -> Iterator[Path]:
    for file in files:
        data = file.read_bytes()
        for number, (at, elf) in enumerate(find_embedded(data)):
            path = directory / f"{file.name}.{number}.bpf.o"
            path.write_bytes(data[at : at + elf.size])
            yield path


# struct_ops links, arenas, tcx, netkit and UNIX address sections, and poison in calls of absent functions came after
# libbpf 1.1.
LATER = (
    "arena_ops.bpf.o", "ops.bpf.o", "register.bpf.o", "iters.bpf.o", "externs.bpf.o", "attach.bpf.o", "unixes.bpf.o",
)  # fmt: skip


def test_our_own_objects(recorder: Path) -> None:
    for path in (*HERE.parent.parent.glob("examples/*.bpf.o"), *HERE.parent.glob("*/data/**/*.bpf.o")):
        if path.name not in LATER and path.name != "attachers.bpf.o":  # its targets are in another object
            compare(recorder, path)


def test_objects_of_xdp_tools(recorder: Path, debian: Any) -> None:
    files = debian("/usr/lib/*/bpf/*.o") + debian("/usr/libexec/xdp-tools/*.o")
    assert sum(compare(recorder, path)[0] for path in files) >= 20


@pytest.mark.parametrize("part", range(6))
def test_objects_inside_libbpf_tools(recorder: Path, tmp_path: Path, debian: Any, part: int) -> None:
    tools = [path for path in debian("/usr/sbin/*") if path.is_file() and b"libbpf" in path.read_bytes()]
    totals = [compare(recorder, path) for path in embedded(tools[part::6], tmp_path)]
    assert sum(loaded for loaded, _ in totals) >= 40
    # Both refuse tracepoints that this kernel's BTF lacks, and stack maps whose size the tools set.
    assert sum(refused for _, refused in totals) <= 17


@pytest.mark.parametrize("clang", ["clang-14", "clang-16", "clang-19", "clang-22"])
def test_what_other_compilers_make(recorder: Path, tmp_path: Path, clang: str) -> None:
    if shutil.which(clang) is None:
        pytest.skip(f"{clang} is not installed")
    root = HERE.parent.parent
    sources = [root / "examples/traffic.bpf.c", root / "tests/cli/data/packets.bpf.c"]
    done = 0
    for source in sources:
        for cpu in ("v1", "v2", "v3", "v4"):
            target = tmp_path / f"{source.name[:-2]}.{cpu}.o"
            include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
            command = [clang, "-target", "bpf", f"-mcpu={cpu}", "-O2", "-g", include, "-c", source, "-o", target]
            if subprocess.run(command, capture_output=True, check=False).returncode:
                assert cpu == "v4", "only old compilers lack v4"
                continue
            loaded, refused = compare(recorder, target)
            assert loaded and not refused
            done += 1
    assert done >= 6
