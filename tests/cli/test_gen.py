"""`bombus gen`: files come out, errors are one line and exit code 1."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bombus.cli.main import main
from bombus.object.read import open_object

DATA = Path(__file__).parents[1] / "object" / "data" / "link"


def test_object(tmp_path: Path) -> None:
    out = tmp_path / "out.o"
    assert main(["gen", "object", str(out), str(DATA / "one.bpf.o"), str(DATA / "two.bpf.o")]) == 0
    assert {p.name for p in open_object(out).programs} == {"first", "second"}


def test_object_conflict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.o"
    assert main(["gen", "object", str(out), str(DATA / "one.bpf.o"), str(DATA / "twice_defined.bpf.o")]) == 1
    assert "symbol 'total'" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.debian
def test_min_core_btf_is_bpftools(bombus: Callable[..., Any], tmp_path: Path, debian: Any) -> None:
    """The same bytes for the objects inside libbpf-tools, and the same relocations against them."""
    from bombus.elf.read import find_embedded
    from bombus.errors import BombusError
    from bombus.kernel.user.kernel import UserKernel
    from bombus.loader.load import prepare
    from bombus.object.read import open_object

    vmlinux = Path("/sys/kernel/btf/vmlinux")
    if shutil.which("bpftool") is None or not vmlinux.exists():
        pytest.skip("bpftool is not installed, or the kernel shows no BTF")
    tools = [path for path in debian("/usr/sbin/*") if path.is_file() and b"libbpf" in path.read_bytes()]
    whole = vmlinux.read_bytes()
    compared = 0
    for tool in tools[::5]:
        data = tool.read_bytes()
        for at, elf in find_embedded(data):
            path = tmp_path / f"{tool.name}.o"
            path.write_bytes(data[at : at + elf.size])
            ours, theirs = tmp_path / "ours", tmp_path / "theirs"
            command = ["bpftool", "gen", "min_core_btf", vmlinux, theirs, path]
            if subprocess.run(command, capture_output=True, check=False).returncode:
                continue
            assert bombus("gen", "min_core_btf", vmlinux, ours, path).code == 0
            assert ours.read_bytes() == theirs.read_bytes(), tool
            obj = open_object(path)
            try:
                full = prepare(obj, UserKernel(), btf=whole)
            except BombusError:
                continue
            assert prepare(obj, UserKernel(), btf=ours.read_bytes()) == full, tool
            compared += 1
    assert compared >= 5


def test_skeleton(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    obj = str(Path(__file__).parents[2] / "examples" / "traffic.bpf.o")
    target = tmp_path / "skel.py"
    assert main(["gen", "skeleton", obj, "--name", "flow_counter", "-o", str(target)]) == 0
    assert "class FlowCounter(skeleton.Skeleton):" in target.read_text()
    assert main(["gen", "skeleton", obj, "name", "flow_counter"]) == 0
    assert capsys.readouterr().out == target.read_text()
    assert main(["gen", "subskeleton", obj]) == 0
    assert "OBJECT" not in capsys.readouterr().out
    for wrong, message in (
        (["name"], "expected 'name NAME'"), (["--name", "1x"], "no name for a class"),
        (["--type", "struct nothing"], "no type 'struct nothing'"),
    ):  # fmt: skip
        assert main(["gen", "skeleton", obj, *wrong]) != 0
        assert message in capsys.readouterr().err
