"""A refused call says why, as far as that can be found out here: each cause is made, in a child of its own."""

from __future__ import annotations

import ctypes
import errno
import os
import pickle
import resource
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sandbox import Refused, in_namespace, join, own_cgroup

from bombus.errors import BombusError, KernelError, LoadError, NeedsKernel
from bombus.isa import build as b
from bombus.isa.insn import encode
from bombus.kernel.api import Attr, Kernel
from bombus.kernel.handles import Map, Program
from bombus.kernel.linux import process
from bombus.kernel.linux.errors import permission_hint, refusal
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.load import load
from bombus.object.read import open_object
from bombus.spec.helpers import HELPER
from bombus.spec.version import KernelVersion

RETURN_2 = bytes.fromhex("b7000000020000009500000000000000")
CLONE_NEWUSER = 0x1000_0000
EMPTY = encode([b.exit_()])  # R0 is never set


def hint(what: Callable[[], Any]) -> str:
    try:
        what()
    except KernelError as error:
        return f"{errno.errorcode[error.errno or 0]} {error.hint}"
    return "done"


def test_a_refused_program_is_explained(kernel: Kernel) -> None:
    with pytest.raises(LoadError) as caught:
        Program.load(kernel, "xdp", EMPTY)
    found = caught.value.explanation
    assert found.message == "R0 !read_ok" and found.register == 0 and found.insn == 0 and found.fix
    assert caught.value.explanation is found
    assert "R0 !read_ok" in caught.value.log


def test_a_refusal_without_a_log_is_not_explained(kernel: Kernel) -> None:
    with pytest.raises(LoadError) as caught:
        Program.load(kernel, "xdp", RETURN_2, license="", prog_flags=1 << 31)
    assert caught.value.explanation is None and not caught.value.log


def test_an_error_travels_without_its_program(kernel: Kernel) -> None:
    with pytest.raises(LoadError) as caught:
        Program.load(kernel, "xdp", EMPTY)
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.log == caught.value.log and again.explanation is None


def test_an_objects_refusal_has_its_source_line(kernel: Kernel, bad_object: Path) -> None:
    with pytest.raises(LoadError) as caught:
        load(open_object(bad_object), kernel)
    source = caught.value.explanation.source
    assert source.file == "refused.bpf.c" and "*value" in source.text and source.number == 21
    assert "null" in caught.value.explanation.meaning.lower()


@pytest.fixture
def bad_object() -> Path:
    return Path(__file__).parent / "data" / "refused.bpf.o"


def test_helpers_that_came_later() -> None:
    """As kernels before and since 6.10 word it."""
    row = HELPER["ktime_get_tai_ns"]  # 6.1
    for text in (f"invalid func unknown#{row.id}", f"unknown func bpf_{row.name}#{row.id}",
                 f"program of this type cannot use helper bpf_{row.name}#{row.id}"):  # fmt: skip
        log = bytearray(text.encode() + bytes(64))
        attr = Attr("BPF_PROG_LOAD", prog_type=6, log_buf=log, log_size=len(log))
        error = refusal(attr, errno.EINVAL, KernelVersion(5, 15))
        assert isinstance(error, NeedsKernel) and error.since == "6.1" and row.name in error.feature, text
        assert error.log == text
        assert isinstance(refusal(attr, errno.EINVAL, KernelVersion(6, 12)), LoadError)


def test_memlock_before_memory_cgroups(monkeypatch: pytest.MonkeyPatch) -> None:
    attr = Attr("BPF_MAP_CREATE", map_type=1, key_size=4, value_size=4, max_entries=1 << 20)
    monkeypatch.setattr(process, "missing_capabilities", lambda names: [])
    monkeypatch.setattr(process, "memlock", lambda: 65536)
    assert "RLIMIT_MEMLOCK, here 65536 bytes" in permission_hint(attr, KernelVersion(5, 10))
    assert "MEMLOCK" not in permission_hint(attr, KernelVersion(5, 11))
    monkeypatch.setattr(process, "memlock", lambda: None)
    assert "MEMLOCK" not in permission_hint(attr, KernelVersion(5, 10))


def test_memlock_is_raised_by_old_kernels_caller() -> None:
    def child() -> list[Any]:
        soft, hard = 65536, resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (soft, hard))
        return [process.memlock(), process.lift_memlock(), process.memlock() != soft]

    before = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    assert in_namespace(child, net=False) == [65536, before[1] != 65536, before[1] != 65536]


def test_lockdown(monkeypatch: pytest.MonkeyPatch) -> None:
    attr = Attr("BPF_PROG_LOAD", prog_type=2)
    monkeypatch.setattr(process, "missing_capabilities", lambda names: [])
    monkeypatch.setattr(process, "lockdown", lambda: "confidentiality")
    assert "locked down (confidentiality)" in permission_hint(attr)
    log = bytearray(b"program of this type cannot use helper bpf_probe_read_kernel#113" + bytes(32))
    attr = Attr("BPF_PROG_LOAD", prog_type=2, log_buf=log, log_size=len(log))
    assert "locked down" in refusal(attr, errno.EINVAL, KernelVersion(6, 12)).hint


@pytest.mark.linux
def test_capabilities_one_by_one(linux_kernel: LinuxKernel) -> None:
    """Each capability that is missing is named, and only that."""

    def child() -> list[str]:
        found = []
        for kept in ((), ("CAP_BPF",), ("CAP_NET_ADMIN",), ("CAP_BPF", "CAP_NET_ADMIN")):
            drop_to(kept)
            found.append(hint(lambda: Program.load(linux_kernel, "xdp", RETURN_2)))
        return found

    assert in_namespace(child, net=False) == [
        "EPERM this process lacks CAP_BPF and CAP_NET_ADMIN (or CAP_SYS_ADMIN)",
        "EPERM this process lacks CAP_NET_ADMIN (or CAP_SYS_ADMIN)",
        "EPERM this process lacks CAP_BPF (or CAP_SYS_ADMIN)",
        "done",
    ]


def drop_to(names: tuple[str, ...]) -> None:
    """The effective set of this thread is `names`; what is permitted stays. capset(2), version 3."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, data) == 0
    mask = sum(1 << process.CAPABILITIES[name] for name in names)
    data[0], data[3] = mask & 0xFFFF_FFFF, mask >> 32
    assert libc.capset(header, data) == 0


@pytest.mark.linux
def test_a_user_namespace(linux_kernel: LinuxKernel) -> None:
    def child() -> list[str]:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER):
            raise Refused(f"unshare(CLONE_NEWUSER): {os.strerror(ctypes.get_errno())}")
        calls = (
            lambda: Program.load(linux_kernel, "xdp", RETURN_2),
            lambda: Map.create(linux_kernel, "hash", 4, 4, 4),
        )
        return [hint(call) for call in calls]

    assert not process.in_user_namespace()
    for text in in_namespace(child, net=False):
        assert text.startswith("EPERM its capabilities are those of a user namespace"), text


@pytest.mark.linux
def test_seccomp(linux_kernel: LinuxKernel) -> None:
    """A filter that answers EPERM or ENOSYS for bpf(2), as those of containers do."""

    def child(number: int) -> str:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(38, 1, 0, 0, 0):  # PR_SET_NO_NEW_PRIVS
            raise Refused("prctl(PR_SET_NO_NEW_PRIVS)")
        from bombus.kernel.linux.syscall import numbers

        # Load the number of the call; is it bpf? Then the errno, else allow.
        rows = (
            (0x20, 0, 0, 0), (0x15, 0, 1, numbers().bpf), (0x06, 0, 0, 0x0005_0000 | number), (0x06, 0, 0, 0x7FFF_0000),
        )  # fmt: skip
        code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *row) for row in rows))
        program = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", len(rows), ctypes.addressof(code)))
        if libc.prctl(22, 2, program, 0, 0):  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
            raise Refused(f"prctl(PR_SET_SECCOMP): {os.strerror(ctypes.get_errno())}")
        return hint(lambda: Map.create(linux_kernel, "hash", 4, 4, 4))

    assert "a seccomp filter is installed" in in_namespace(lambda: child(errno.EPERM), net=False)
    assert "a seccomp filter forbids it" in in_namespace(lambda: child(errno.ENOSYS), net=False)


@pytest.mark.linux
def test_memory_of_a_cgroup(linux_kernel: LinuxKernel) -> None:
    def child() -> str:
        with memory_cgroup() as (path, limit):
            join(path)
            limit.write_text(str(32 << 20))
            return hint(lambda: Map.create(linux_kernel, "hash", 4, 4096, 1 << 16)).replace(path.name, "OURS")

    text = in_namespace(child, net=False)
    assert text.startswith("ENOMEM BPF memory counts for the memory cgroup of who asks")
    assert f"may have {32 << 20} bytes" in text and "OURS" in text


@contextmanager
def memory_cgroup() -> Iterator[tuple[Path, Path]]:
    """A cgroup of our own, of either version, and the file with its limit of memory."""
    root = Path("/sys/fs/cgroup/memory")
    if not root.is_dir():
        with own_cgroup() as path:
            if not (path / "memory.max").exists():
                raise Refused("no memory controller")
            yield path, path / "memory.max"
        return
    lines = (line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines())
    before = next(path for _, controllers, path in lines if controllers == "memory")
    path = root / f"bombus-test-{os.getpid()}"
    try:
        path.mkdir()
    except OSError as error:
        raise Refused(f"a cgroup cannot be made: {error}") from None
    try:
        yield path, path / "memory.limit_in_bytes"
    finally:
        join(Path(f"{root}{before}"))
        path.rmdir()


@pytest.mark.linux
def test_too_many_files(linux_kernel: LinuxKernel) -> None:
    def child() -> str:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        held = []

        def until_full() -> None:
            while True:
                held.append(Map.create(linux_kernel, "array", 4, 4, 1))

        text = hint(until_full)
        held.clear()
        return text

    assert in_namespace(child, net=False) == "EMFILE this process may have 64 files open (ulimit -n)"


@pytest.mark.linux
def test_configuration_that_is_off(linux_kernel: LinuxKernel) -> None:
    """What the running kernel says that it was built without."""
    known = linux_kernel.kconfig()
    if not known:
        pytest.skip("the kernel shows no configuration")
    from bombus.spec.configs import PROG_CONFIGS

    off = [(name, config) for name, configs in PROG_CONFIGS.items() for config in configs if config not in known]
    seen = 0
    for name, config in off:
        try:
            Program.load(linux_kernel, name, RETURN_2).close()
        except BombusError as error:
            if isinstance(error, KernelError) and not error.log:
                assert config in str(error), (name, str(error))
                seen += 1
    if not seen:
        pytest.skip(f"nothing to ask: {off or 'all is on'}")


def test_the_command_explains(capfd: pytest.CaptureFixture[str], bad_object: Path) -> None:
    from bombus.cli import output
    from bombus.cli.main import main

    output.reset()
    assert main(["trace", "--kernel", "user", str(bad_object)]) == 1
    err = capfd.readouterr().err
    assert "refused.bpf.c:21" in err and "try" in err and "Traceback" not in err
