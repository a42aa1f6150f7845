"""The minimal BTF equals bpftool's, and objects relocate against it as against the whole."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from btf_inputs import debian_objects, sections, vmlinux, vmlinux_bytes

from bombus.btf import dump_raw
from bombus.btf.core import Resolver
from bombus.btf.ext import BtfExt
from bombus.btf.minimize import minimize
from bombus.btf.parse import Btf
from bombus.errors import RelocationError

BPFTOOL = shutil.which("bpftool") or next((p for p in ("/usr/sbin/bpftool",) if os.path.exists(p)), None)
VERSION = "6.12.117+deb12"


def parsed(name: str) -> tuple[Btf, BtfExt] | None:
    parts = sections(debian_objects()[name])
    if ".BTF" not in parts or ".BTF.ext" not in parts:
        return None
    return Btf.parse(parts[".BTF"]), BtfExt.parse(parts[".BTF.ext"])


def text(btf: Btf) -> str:
    return "".join(f"{piece}\n" for piece in dump_raw.dump(btf))


@pytest.mark.debian
@pytest.mark.oracle
@pytest.mark.skipif(BPFTOOL is None, reason="bpftool is not installed")
def test_as_bpftool(tmp_path: Path) -> None:
    assert BPFTOOL is not None
    (tmp_path / "vmlinux").write_bytes(vmlinux_bytes(VERSION))
    groups = [[name] for name in debian_objects() if parsed(name)]
    groups.append([name for group in groups[:12] for name in group])
    compared = 0
    for names in groups:
        files = []
        for number, name in enumerate(names):
            files.append(tmp_path / f"{number}.o")
            files[-1].write_bytes(debian_objects()[name])
        out = tmp_path / "min.btf"
        command: list[str | Path] = [BPFTOOL, "gen", "min_core_btf", tmp_path / "vmlinux", out, *files]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        objects = [parts for name in names if (parts := parsed(name))]
        if done.returncode:
            with pytest.raises(RelocationError):
                minimize(vmlinux(VERSION), objects)
            continue
        dumped = subprocess.run([BPFTOOL, "btf", "dump", "file", out], capture_output=True, check=True)
        assert text(minimize(vmlinux(VERSION), objects).build()) == dumped.stdout.decode(), names
        compared += 1
    assert compared >= 10


@pytest.mark.debian
@pytest.mark.oracle
def test_same_values_as_the_whole() -> None:
    checked = 0
    for name in debian_objects():
        parts = parsed(name)
        if parts is None:
            continue
        local, ext = parts
        small = minimize(vmlinux(VERSION), [parts]).build()
        small.validate()
        for section in ext.core_relo:
            whole, part = Resolver(local, [vmlinux(VERSION)]), Resolver(local, [small])
            for relo in section.records:
                a, b = whole.resolve(relo), part.resolve(relo)
                if relo.kind == 7:
                    continue  # type ids of the target differ
                assert (a.new, a.poison, a.bad_resize) == (b.new, b.poison, b.bad_resize), (name, relo)
                checked += 1
    assert checked > 100
