"""A child process with a network namespace of its own: what it does there goes with it."""

from __future__ import annotations

import ctypes
import errno
import functools
import gc
import json
import os
import subprocess
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bombus.errors import KernelError
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.load import load
from bombus.object.read import open_object

CLONE_NEWNET, CLONE_NEWNS = 0x4000_0000, 0x0002_0000
MS_REC, MS_PRIVATE = 1 << 14, 1 << 18
SKIP = "skip: "
VALUE = "value: "
ITERS = Path(__file__).parent / "data" / "iters.bpf.o"


class Refused(Exception):
    """The kernel refuses here; not a failure of ours."""


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def with_trampolines(scenario: Callable[[Any], Any]) -> Any:
    """Run it on Linux. Refused where this kernel was built without trampolines."""
    kernel = LinuxKernel()
    try:
        return scenario(kernel)
    except KernelError as error:
        if error.errno in (1, 95, 524) and kernel.kconfig().get("CONFIG_FPROBE") != "y":
            raise Refused(str(error)) from None
        raise


@functools.cache
def map_walks_problem() -> str:
    """Why Linux has no iterators over the elements of maps; "" when it has. Some hosts refuse those alone."""
    try:
        load(open_object(ITERS), LinuxKernel(), programs=["elements"]).close()
    except KernelError as error:
        if error.errno != errno.EPERM:
            raise
        return "iterators over the elements of maps: EPERM, while other iterators load"
    return ""


def mount_bpffs(path: str) -> None:
    """A bpf file system of this mount namespace, which must be the child's own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"bpf", path.encode(), b"bpf", 0, None):
        raise Refused(f"mounting a bpf file system: {os.strerror(ctypes.get_errno())}")


def in_namespace(function: Callable[[], Any], *, net: bool = True, mounts: bool = False) -> Any:
    """Run a function in a child; its failure is ours, and Refused skips with the reason. Returns its value (JSON).

    net, mounts: in a network, a mount namespace of its own.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        gc.freeze()  # what the parent has is not the child's to collect, and much where many tests ran before
        try:
            text = ""
            try:
                if net and ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
                    raise Refused(f"unshare(CLONE_NEWNET): {os.strerror(ctypes.get_errno())}")
                if mounts:
                    libc = ctypes.CDLL(None, use_errno=True)
                    if libc.unshare(CLONE_NEWNS) or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None):
                        raise Refused(f"a mount namespace: {os.strerror(ctypes.get_errno())}")
                if net:
                    run("ip", "link", "set", "lo", "up")
                text = VALUE + json.dumps(function())
            except Refused as error:
                text = SKIP + str(error)
            except BaseException:
                text = traceback.format_exc()
            data = text.encode()
            while data:
                data = data[os.write(writer, data) :]
        finally:
            os._exit(0)
    os.close(writer)
    data = b""
    while chunk := os.read(reader, 1 << 16):
        data += chunk
    os.close(reader)
    os.waitpid(child, 0)
    text = data.decode()
    if text.startswith(SKIP):
        pytest.skip(f"the kernel refuses here: {text[len(SKIP):]}")
    assert text.startswith(VALUE), text or "the child died"
    return json.loads(text[len(VALUE) :])


def veth(name: str = "va", peer: str = "vb") -> None:
    """A pair of interfaces in this namespace, up."""
    run("ip", "link", "add", name, "type", "veth", "peer", "name", peer)
    for one in (name, peer):
        run("ip", "link", "set", one, "up")


def cgroup_root() -> Path | None:
    roots = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
    return next((root for root in roots if (root / "cgroup.controllers").exists()), None)


@contextmanager
def own_cgroup(name: str = "") -> Iterator[Path]:
    """A new cgroup, removed afterwards. Processes that were put in go back to the root first."""
    root = cgroup_root()
    if root is None:
        raise Refused("no cgroup v2 file system")
    path = root / f"bombus-test-{os.getpid()}{name}"
    try:
        path.mkdir()
    except OSError as error:
        raise Refused(f"a cgroup cannot be made: {error}") from None
    try:
        yield path
    finally:
        for pid in (path / "cgroup.procs").read_text().split():
            (root / "cgroup.procs").write_text(pid)
        for inner in [p for p in path.iterdir() if p.is_dir()]:
            inner.rmdir()
        path.rmdir()


def join(path: Path) -> None:
    (path / "cgroup.procs").write_text(str(os.getpid()))
