"""`bombus prog dump` and `bombus btf dump` beside bpftool."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

bpftool = pytest.mark.skipif(shutil.which("bpftool") is None, reason="bpftool is not installed")


def theirs(*args: str) -> str:
    return subprocess.run(["bpftool", *args], capture_output=True, text=True, check=True).stdout


@bpftool
@pytest.mark.debian
@pytest.mark.linux
@pytest.mark.parametrize("flags", [(), ("opcodes",), ("linum",)])
def test_xlated_is_bpftools(
    packets: Path, linux_kernel: Any, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bombus import load
    from bombus.cli import xlated
    from bombus.spec.version import KernelVersion

    # bpftool has the printer of the kernel that it was built with; here, that of 6.1.
    ours = xlated.disassemble
    monkeypatch.setattr(xlated, "disassemble", lambda *a, **k: ours(*a, **(k | {"kernel": KernelVersion(6, 1)})))
    with load(packets, linux_kernel) as loaded:
        for program in loaded.programs.values():
            command = ("prog", "dump", "xlated", "id", str(program.id), *flags)
            assert "\n".join(xlated.as_text(program, set(flags))) + "\n" == theirs(*command)
            assert xlated.as_rows(program, set(flags)) == json.loads(theirs("-j", *command))


def test_xlated_of_the_user_kernel_names_maps_by_id(bombus: Callable[..., Any], traffic: Path) -> None:
    done = bombus("prog", "dump", "xlated", traffic)
    assert done.code == 0
    assert "int traffic(struct xdp_md * ctx):\n; void *data = " in done.out
    assert "(18) r1 = map[id:1]\n" in done.out and "(85) call bpf_map_lookup_elem#1\n" in done.out
    assert "void send(const struct event * event):" in done.out


def test_xlated_to_a_file(bombus: Callable[..., Any], traffic: Path, tmp_path: Path) -> None:
    target = tmp_path / "code"
    assert bombus("prog", "dump", "xlated", traffic, "file", target).code == 0
    rows = bombus("-j", "prog", "dump", "xlated", traffic, "opcodes").json()["traffic"]
    first = rows[0]["opcodes"]
    assert target.read_bytes()[0] == int(first["code"], 16) and len(target.read_bytes()) % 8 == 0


def test_asm_shows_relocations(bombus: Callable[..., Any], traffic: Path) -> None:
    done = bombus("prog", "dump", "asm", traffic)
    assert "Disassembly of section xdp:" in done.out and "<traffic>:" in done.out
    assert "map flows" in done.out and "data traffic.bss" in done.out and "call send" in done.out
    (row,) = (r for r in bombus("-j", "prog", "dump", "asm", traffic).json() if r["name"] == "send")
    assert row["insns"][1]["relocations"] == ["map events"]


@bpftool
@pytest.mark.debian
@pytest.mark.parametrize("form", ["raw", "c"])
def test_btf_dump_is_bpftools(bombus: Callable[..., Any], traffic: Path, packets: Path, form: str) -> None:
    for path in (traffic, packets):
        expected = theirs("btf", "dump", "file", str(path), "format", form)
        assert bombus("btf", "dump", path, "format", form).out == expected
    if form == "raw":
        expected = theirs("-j", "btf", "dump", "file", str(packets))
        assert bombus("-j", "btf", "dump", packets).json() == json.loads(expected)


@bpftool
@pytest.mark.debian
def test_btf_dump_of_the_running_kernel(bombus: Callable[..., Any]) -> None:
    if not Path("/sys/kernel/btf/vmlinux").exists():
        pytest.skip("the kernel shows no BTF")
    expected = theirs("btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "c")
    assert bombus("btf", "dump", "vmlinux", "format", "c").out == expected


def test_split_btf_needs_its_base(bombus: Callable[..., Any], tmp_path: Path) -> None:
    from bombus.btf.build import Builder
    from bombus.btf.parse import Btf
    from bombus.btf.types import Int, Ptr

    base = Builder()
    base.add(Int("int", 4, 1))
    (tmp_path / "base").write_bytes(base.to_bytes())
    split = Builder(Btf.parse(base.to_bytes()))
    split.add(Ptr(1))
    (tmp_path / "split").write_bytes(split.to_bytes())
    done = bombus("btf", "dump", tmp_path / "split", "-B", tmp_path / "base")
    assert done.out == "[2] PTR '(anon)' type_id=1\n"


@pytest.mark.parametrize(
    "args, text",
    [
        (("prog", "dump", "xlated", "{obj}", "visible"), "got 'visible'"),
        (("prog", "dump", "xlated", "{obj}", "file"), "which one"),
        (("prog", "dump", "xlated", "{obj}", "file", "x", "linum"), "does not go with"),
        (("prog", "dump", "asm", "{obj}", "--prog", "x"), "no program 'x'"),
        (("btf", "dump", "{obj}", "format"), "a value is missing"),
        (("btf", "dump", "{obj}", "format", "json"), "unrecognized format"),
        (("btf", "dump", "{obj}", "format", "c", "root_id", "99999"), "no type 99999"),
        (("btf", "dump", "{obj}", "root_id", "1"), "for format c"),
        (("-j", "btf", "dump", "{obj}", "format", "c"), "format c is text"),
        (("btf", "dump", "/nonexistent"), "No such file"),
        (("btf", "dump", "/dev/null"), "bad BTF"),
    ],
)
def test_refusals(bombus: Callable[..., Any], traffic: Path, args: tuple[str, ...], text: str) -> None:
    done = bombus(*(arg.format(obj=traffic) for arg in args))
    assert done.code in (1, 2) and text in done.err + done.out
