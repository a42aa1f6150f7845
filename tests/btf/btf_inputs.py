"""Where BTF tests find their inputs."""

from __future__ import annotations

import base64
import gzip
import json
import struct
from functools import cache
from pathlib import Path

import pytest

from bombus.btf.parse import Btf

ORACLE = Path(__file__).resolve().parents[2].parent / "shared" / "oracle"
VMLINUX = ("6.1.0-56", "6.12.117+deb12", "6.18")
BPF_ELF = b"\x7fELF\x02\x01\x01\x00"
RUNNING = Path("/sys/kernel/btf/vmlinux")


@cache
def vmlinux_bytes(version: str) -> bytes:
    path = ORACLE / "btf" / f"vmlinux-{version}.btf.gz"
    if not path.exists():
        pytest.skip("the oracle folder is not here")
    return gzip.decompress(path.read_bytes())


@cache
def vmlinux(version: str) -> Btf:
    return Btf.parse(vmlinux_bytes(version))


@cache
def blobs(version: str = "6.12") -> list[bytes]:
    """BTF of BPF objects as libbpf loaded them."""
    path = ORACLE / f"btfs-{version}.jsonl.gz"
    if not path.exists():
        pytest.skip("the oracle folder is not here")
    with gzip.open(path, "rt") as lines:
        return [base64.b64decode(json.loads(line)["data"]) for line in lines]


def sections(image: bytes) -> dict[str, bytes]:
    """Section contents of a little-endian 64-bit ELF by name (just enough for tests)."""
    (offset,) = struct.unpack_from("<Q", image, 40)
    size, count, names_index = struct.unpack_from("<3H", image, 58)
    rows = [struct.unpack_from("<2I4Q", image, offset + i * size) for i in range(count)]
    names = image[rows[names_index][4] :]
    found: dict[str, bytes] = {}
    for name, kind, _, _, start, length in rows:
        text = names[name : names.index(0, name)].decode()
        found[text] = b"" if kind == 8 else image[start : start + length]
    return found


@cache
def debian_objects() -> dict[str, bytes]:
    """BPF objects of Debian packages: libxdp1 and xdp-tools as files, libbpf-tools inside its tools."""
    found = {path.name: path.read_bytes() for path in sorted(Path("/usr/lib").glob("*/bpf/*.o"))}
    for tool in sorted(Path("/usr/sbin").glob("*")):
        if tool.is_symlink() or not tool.is_file() or not 20_000 < tool.stat().st_size < 4_000_000:
            continue
        data = tool.read_bytes()
        at = data.find(BPF_ELF)
        while at >= 0:
            if data[at + 18 : at + 20] == b"\xf7\x00":
                (table,) = struct.unpack_from("<Q", data, at + 40)
                size, count = struct.unpack_from("<2H", data, at + 58)
                found[f"{tool.name}@{at:#x}"] = data[at : at + table + size * count]
            at = data.find(BPF_ELF, at + 1)
    if not found:
        pytest.skip("no Debian package with BPF objects is installed")
    return found
