"""Fixtures for every room: both kernels, and inputs from outside, which may be absent."""

from __future__ import annotations

import ctypes
import functools
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from bombus.kernel.api import Kernel

os.environ["BOMBUS_CACHE"] = "off"  # tests build what they say that they build
ROOT = Path(__file__).resolve().parent.parent
ORACLE = ROOT.parent / "shared" / "oracle"


@functools.cache
def linux_problem() -> str:
    """Why bpf(2) cannot be used here; "" when it can."""
    if os.uname().sysname != "Linux":
        return "not Linux"
    if os.geteuid() != 0:
        return "bpf(2) needs root"
    from bombus.errors import BombusError
    from bombus.kernel.api import Attr
    from bombus.kernel.linux.kernel import LinuxKernel

    try:
        kernel = LinuxKernel()
        attr = Attr("BPF_MAP_CREATE", map_type=2, key_size=4, value_size=4, max_entries=1)
        kernel.close(kernel.bpf(attr))
        code = bytes.fromhex("b7000000000000009500000000000000")
        kernel.close(kernel.bpf(Attr("BPF_PROG_LOAD", prog_type=1, insn_cnt=2, insns=code, license=b"GPL\0")))
    except BombusError as error:
        return f"bpf(2) is refused: {error}"
    return ""


@functools.cache
def user_problem() -> str:
    """Why the user kernel cannot be made; "" when it can."""
    try:
        import bombus.kernel.user.kernel  # noqa: F401
    except ImportError as error:
        return f"no user kernel: {error}"
    return ""


@pytest.fixture
def hammer() -> Callable[[Callable[[], None]], None]:
    """Runs a module's function in three new processes at once; it has to return in each."""

    def run(work: Callable[[], None]) -> None:
        context = multiprocessing.get_context("spawn")
        children = [context.Process(target=work) for _ in range(3)]
        for child in children:
            child.start()
        try:
            for child in children:
                child.join(timeout=120)
            assert [child.exitcode for child in children] == [0] * 3
        finally:
            for child in children:
                child.kill()

    return run


@pytest.fixture(autouse=True)
def _plain_output() -> Iterator[None]:
    """Commands that a test runs in this process leave their `-j` to nobody."""
    yield
    module = sys.modules.get("bombus.cli.output")
    if module is not None:
        module.reset()


@pytest.fixture(scope="session")
def linux_kernel() -> Kernel:
    """The running kernel; skips where bpf(2) cannot be used."""
    if problem := linux_problem():
        pytest.skip(problem)
    from bombus.kernel.linux.kernel import LinuxKernel

    return LinuxKernel()


@pytest.fixture
def user_kernel() -> Any:
    """A fresh user kernel of the newest version that spec knows well (6.12)."""
    if problem := user_problem():
        pytest.skip(problem)
    from bombus.kernel.user.kernel import UserKernel

    return UserKernel()


@pytest.fixture(params=["user", pytest.param("linux", marks=pytest.mark.linux)])
def kernel(request: pytest.FixtureRequest) -> Iterator[Kernel]:
    """Each of the two kernels: a test that takes this runs on both."""
    made: Kernel = request.getfixturevalue(f"{request.param}_kernel")
    yield made


@pytest.fixture
def bpffs(linux_kernel: Any, tmp_path: Path) -> Iterator[Path]:
    """A bpf file system of our own."""
    libc = ctypes.CDLL(None, use_errno=True)
    place = tmp_path / "bpffs"
    place.mkdir()
    if libc.mount(b"bpf", os.fsencode(place), b"bpf", ctypes.c_ulong(0), b""):
        pytest.skip(f"a bpf file system cannot be mounted: {os.strerror(ctypes.get_errno())}")
    yield place
    libc.umount2(os.fsencode(place), 2)


@pytest.fixture(scope="session")
def oracle() -> Path:
    """The folder of recorded answers of real kernels."""
    if not ORACLE.is_dir():
        pytest.skip("../shared/oracle is not there")
    return ORACLE


@pytest.fixture(scope="session")
def debian() -> Any:
    """`debian(pattern)`: files of Debian packages matching an absolute glob; skips when there are none."""

    def files(pattern: str) -> list[Path]:
        found = sorted(Path("/").glob(pattern.lstrip("/")))
        if not found:
            pytest.skip(f"no {pattern}: its Debian package is not installed")
        return found

    return files


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the fixtures they use, so that `-m "not linux"` is enough to leave them out."""
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        if "linux_kernel" in names and "kernel" not in names:
            item.add_marker("linux")
        if "oracle" in names:
            item.add_marker("oracle")
        if "debian" in names:
            item.add_marker("debian")
