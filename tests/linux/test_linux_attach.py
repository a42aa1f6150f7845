"""Links on targets of our own: a cgroup that we made, and the loopback of a network namespace that we made."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bombus.errors import KernelError, UsageError
from bombus.kernel.handles import Link, Program
from bombus.kernel.linux.kernel import LinuxKernel

pytestmark = pytest.mark.linux
RETURN_1 = bytes.fromhex("b7000000010000009500000000000000")
RETURN_2 = bytes.fromhex("b7000000020000009500000000000000")
CLONE_NEWNET = 0x4000_0000
SKB_MODE = 2  # XDP_FLAGS_SKB_MODE
LOOPBACK = 1


@pytest.fixture
def cgroup() -> Iterator[int]:
    """A descriptor of an empty cgroup."""
    root = next((r for r in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
                 if (r / "cgroup.controllers").exists()), None)  # fmt: skip
    if root is None:
        pytest.skip("no cgroup v2 file system")
    path = root / f"bombus-test-{os.getpid()}"
    try:
        path.mkdir()
    except OSError as error:
        pytest.skip(f"cannot make a cgroup: {error}")
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)
    path.rmdir()


def test_cgroup_link(linux_kernel: LinuxKernel, cgroup: int) -> None:
    first = Program.load(linux_kernel, "cgroup_skb", RETURN_1, attach_type="BPF_CGROUP_INET_EGRESS")
    second = Program.load(linux_kernel, "cgroup_skb", RETURN_1, attach_type="BPF_CGROUP_INET_EGRESS")
    with Link.create(linux_kernel, first, "BPF_CGROUP_INET_EGRESS", target_fd=cgroup) as link:
        assert link.type == "cgroup" and link.prog_id == first.id
        assert link.info().cgroup_cgroup_id == os.fstat(cgroup).st_ino
        link.update(second, old=first)
        assert link.prog_id == second.id
        with pytest.raises(KernelError) as caught:
            link.update(first, old=first)
        assert caught.value.errno == errno.EPERM
        with Link.from_id(linux_kernel, link.id) as again:
            assert again.prog_id == second.id
        link.detach()
        assert link.info().cgroup_cgroup_id == 0
    with pytest.raises(UsageError):
        Link.create(linux_kernel, first, "BPF_CGROUP_INET_EGRESS", target_fd=cgroup, ifindex=1)
    with pytest.raises(UsageError):
        Link.create(linux_kernel, first, "BPF_NO_SUCH_HOOK", target_fd=cgroup)


def xdp_in_namespace(kernel: LinuxKernel) -> str:
    """What went wrong, in a child process whose network namespace goes with it. "" for nothing."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        return "skip: unshare(CLONE_NEWNET): " + os.strerror(ctypes.get_errno())
    first, second = Program.load(kernel, "xdp", RETURN_2), Program.load(kernel, "xdp", RETURN_1)
    with Link.create(kernel, first, "BPF_XDP", ifindex=LOOPBACK, flags=SKB_MODE) as link:
        if (link.type, link.prog_id, link.info().xdp_ifindex) != ("xdp", first.id, LOOPBACK):
            return f"info: {link.info()}"
        try:
            Link.create(kernel, second, "BPF_XDP", ifindex=LOOPBACK, flags=SKB_MODE)
        except KernelError as error:
            if error.errno != errno.EBUSY:
                return f"second link: {error}"
        else:
            return "two links on one interface"
        link.update(second)
        if link.prog_id != second.id:
            return "update did nothing"
    Link.create(kernel, first, "BPF_XDP", ifindex=LOOPBACK, flags=SKB_MODE).close()
    return ""


def test_xdp_link_in_own_namespace(linux_kernel: LinuxKernel) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            try:
                text = xdp_in_namespace(linux_kernel)
            except BaseException as error:
                text = repr(error)
            os.write(writer, text.encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)  # all of the text is in the pipe then
    text = os.read(reader, 1 << 16).decode()
    os.close(reader)
    if text.startswith("skip: "):
        pytest.skip(text[6:])
    assert text == ""
