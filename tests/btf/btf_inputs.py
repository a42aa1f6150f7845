"""Where BTF tests find their inputs."""

from __future__ import annotations

import base64
import gzip
import json
from functools import cache
from pathlib import Path

import pytest

from bombus.btf.parse import Btf

ORACLE = Path(__file__).resolve().parents[2].parent / "shared" / "oracle"
VMLINUX = ("6.1.0-56", "6.12.117+deb12", "6.18")
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
