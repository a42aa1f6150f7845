"""Local specs, candidates and matches equal those that libbpf tells about while it makes a minimal BTF."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from btf_inputs import VMLINUX, debian_objects, sections, vmlinux, vmlinux_bytes

from bombus.btf.core import Resolver
from bombus.btf.ext import BtfExt
from bombus.btf.parse import Btf
from bombus.errors import RelocationError

BPFTOOL = shutil.which("bpftool") or next((p for p in ("/usr/sbin/bpftool",) if os.path.exists(p)), None)
LINE = re.compile(r"libbpf: prog '.*': relo #\d+: (.*)")
# A spec with an offset takes libbpf 256 bytes at most in its buffer.
CUT = 250


def told_by_libbpf(vmlinux_path: Path, image: bytes, tmp_path: Path) -> list[tuple[str, str]] | None:
    """(local spec, first matching target spec or "") per relocation; None when libbpf refuses the object."""
    assert BPFTOOL is not None
    (tmp_path / "x.o").write_bytes(image)
    command: list[str | Path] = [BPFTOOL, "-d", "gen", "min_core_btf", vmlinux_path, tmp_path / "out", tmp_path / "x.o"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False, text=True)
    if done.returncode:
        return None
    told: list[tuple[str, str]] = []
    for line in (done.stdout + done.stderr).splitlines():
        found = LINE.match(line)
        if not found:
            continue
        text = found[1]
        if text.startswith("<"):
            told.append((text, ""))
        elif text.startswith("matching candidate") and not told[-1][1]:
            told[-1] = (told[-1][0], text.split(" ", 3)[3])
    return told


@pytest.mark.debian
@pytest.mark.oracle
@pytest.mark.skipif(BPFTOOL is None, reason="bpftool is not installed")
@pytest.mark.parametrize("version", VMLINUX)
def test_specs(version: str, tmp_path: Path) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(vmlinux_bytes(version))
    compared = 0
    for name, image in debian_objects().items():
        parts = sections(image)
        if ".BTF" not in parts or ".BTF.ext" not in parts:
            continue
        told = told_by_libbpf(path, image, tmp_path)
        relos = [relo for section in BtfExt.parse(parts[".BTF.ext"]).core_relo for relo in section.records]
        resolver = Resolver(Btf.parse(parts[".BTF"]), [vmlinux(version)])
        if told is None:
            with pytest.raises(RelocationError):
                for relo in relos:
                    resolver.resolve(relo)
            continue
        values = [resolver.resolve(relo) for relo in relos]
        mine = [(str(value.local), str(value.target) if value.target else "") for value in values]
        assert [(a[:CUT], b[:CUT]) for a, b in mine] == [(a[:CUT], b[:CUT]) for a, b in told], name
        compared += len(mine)
    assert compared > 500
