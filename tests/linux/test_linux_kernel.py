"""bpf(2) itself: malformed attrs, bad addresses, leaks, forks, and what /proc and /sys tell."""

from __future__ import annotations

import errno
import gc
import mmap
import os
import struct
from pathlib import Path

import pytest

from bombus.btf.parse import Btf as ParsedBtf
from bombus.errors import KernelError, NeedsKernel, UsageError
from bombus.kernel.api import Attr
from bombus.kernel.handles import Btf, Link, Map, Program, RingBuffer, ids
from bombus.kernel.linux.errors import permission_hint, refusal
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.spec.commands import COMMANDS, Command, Field
from bombus.spec.version import KernelVersion

pytestmark = pytest.mark.linux
RETURN_2 = bytes.fromhex("b7000000020000009500000000000000")
RETURN_1 = bytes.fromhex("b7000000010000009500000000000000")


def refused(kernel: LinuxKernel, attr: Attr) -> int:
    with pytest.raises(KernelError) as caught:
        kernel.bpf(attr)
    assert caught.value.call == attr.command.name
    return int(caught.value.errno or 0)


def open_fds() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_long_attr(linux_kernel: LinuxKernel) -> None:
    attr = Attr("BPF_MAP_CREATE", map_type=1, key_size=4, value_size=4, max_entries=1)
    attr.raw += bytes(300)
    linux_kernel.close(linux_kernel.bpf(attr))  # zeros after the end are allowed
    attr.raw[-1] = 1
    assert refused(linux_kernel, attr) == errno.E2BIG
    attr.raw = bytearray(1 << 16)
    assert refused(linux_kernel, attr) == errno.E2BIG


def test_tail_of_a_command(linux_kernel: LinuxKernel) -> None:
    attr = Attr("BPF_MAP_DELETE_ELEM", map_fd=0)
    attr.raw += b"\0" * 40
    attr.raw[40] = 1
    assert refused(linux_kernel, attr) == errno.EINVAL


def test_unknown_command(linux_kernel: LinuxKernel) -> None:
    nothing = Command("BPF_NOTHING", 9999, KernelVersion(3, 18), (Field("x", 0, 4),))
    assert refused(linux_kernel, Attr(nothing)) == errno.EINVAL
    empty = Attr(nothing)
    empty.raw = bytearray()
    with pytest.raises(UsageError):
        linux_kernel.bpf(empty)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.name != "BPF_ENABLE_STATS"], ids=lambda c: c.name)
def test_every_command_with_all_bits_set(linux_kernel: LinuxKernel, command: Command) -> None:
    attr = Attr(command)
    attr.raw[:] = b"\xff" * len(attr.raw)
    assert refused(linux_kernel, attr) in {
        errno.EINVAL, errno.E2BIG, errno.EBADF, errno.EFAULT, errno.ENOENT, errno.EPERM, errno.EACCES, errno.EBADFD,
        errno.ENOMEM,
    }  # fmt: skip


def test_bad_addresses(linux_kernel: LinuxKernel) -> None:
    item = Map.create(linux_kernel, "hash", 4, 4, 4)
    for key, value in ((8, 8), (1 << 63, bytes(4)), (bytes(4), 0xFFFF_8000_0000_0000)):
        assert refused(linux_kernel, Attr("BPF_MAP_UPDATE_ELEM", map_fd=item.fd, key=key, value=value)) == errno.EFAULT
    assert (
        refused(linux_kernel, Attr("BPF_PROG_LOAD", prog_type=6, insn_cnt=2, insns=16, license=b"GPL\0"))
        == errno.EFAULT
    )
    assert (
        refused(linux_kernel, Attr("BPF_PROG_LOAD", prog_type=6, insn_cnt=1 << 31, insns=16, license=b"GPL\0"))
        == errno.E2BIG
    )
    batch = Attr("BPF_MAP_UPDATE_BATCH", map_fd=item.fd, keys=8, values=8, count=0xFFFF_FFFF)
    assert refused(linux_kernel, batch) == errno.EFAULT


def test_descriptors_do_not_leak(linux_kernel: LinuxKernel) -> None:
    def work() -> None:
        with Map.create(linux_kernel, "hash", 4, 4, 4) as item, Program.load(linux_kernel, "xdp", RETURN_2) as program:
            item[1] = 1
            program.test_run(b"a" * 64)
            Map.from_id(linux_kernel, item.id)  # left to the collector
        for wrong in ({"key_size": 0}, {"value_size": 0}):
            with pytest.raises(KernelError):
                Map.create(linux_kernel, "array", **wrong)
        with Map.create(linux_kernel, "ringbuf", 0, 0, 4096) as ring, RingBuffer(ring) as reader:
            reader.read()

    work()
    before = open_fds()
    for _ in range(300):
        work()
    assert open_fds() == before


def test_mappings_go(linux_kernel: LinuxKernel) -> None:
    def mappings() -> int:
        gc.collect()
        return open("/proc/self/maps").read().count("bpf-map")

    before = mappings()
    item = Map.create(linux_kernel, "array", 4, 4, 4, flags=1 << 10)
    views = [item.mmap() for _ in range(10)]
    part = views[0][8:16]
    assert mappings() > before
    del views
    part[0] = 7
    assert item[2] == 0 or item[1] == 7
    del part
    assert mappings() == before
    for length, offset, number in ((0, 0, errno.EINVAL), (1 << 40, 0, errno.EINVAL), (4096, 1, errno.EINVAL)):
        with pytest.raises(KernelError) as caught:
            linux_kernel.mmap(item.fd, length, offset)
        assert caught.value.errno in (number, errno.ENOMEM)
    with pytest.raises(KernelError) as caught:
        linux_kernel.mmap(0x7FFF_FFF0, mmap.PAGESIZE)
    assert caught.value.errno == errno.EBADF


def test_close_and_wait(linux_kernel: LinuxKernel) -> None:
    for fd in (-1, 0x7FFF_FFF0, 1 << 40):
        with pytest.raises(KernelError) as caught:
            linux_kernel.close(fd)
        assert caught.value.errno == errno.EBADF
    with pytest.raises(KernelError):
        linux_kernel.wait([0x7FFF_FFF0], 0)
    assert linux_kernel.wait([], 0.001) == []


def test_fork(linux_kernel: LinuxKernel) -> None:
    item = Map.create(linux_kernel, "hash", 4, 4, 4)
    child = os.fork()
    if child == 0:
        try:
            item[1] = 11
            item.close()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert item[1] == 11


def test_pins(linux_kernel: LinuxKernel, bpffs: Path) -> None:
    path = str(bpffs / "item")
    item = Map.create(linux_kernel, "hash", 4, 4, 4)
    item.pin(path)
    try:
        with pytest.raises(KernelError) as caught:
            item.pin(path)
        assert caught.value.errno == errno.EEXIST
        with Map.pinned(linux_kernel, path) as again:
            again[1] = 5
        assert item[1] == 5
        with pytest.raises(KernelError):
            Program.pinned(linux_kernel, path)
    finally:
        os.unlink(path)
    with pytest.raises(UsageError):
        item.pin("/sys/fs/bpf/a\0b")


def test_machine_facts(linux_kernel: LinuxKernel) -> None:
    assert str(linux_kernel.version) == ".".join(os.uname().release.split("-")[0].split(".")[:3]).removesuffix(".0")
    assert linux_kernel.possible_cpus >= len(os.sched_getaffinity(0))
    btf = ParsedBtf.parse(linux_kernel.vmlinux_btf())
    assert btf.find("task_struct") is not None
    config = linux_kernel.kconfig()
    assert not config or config["CONFIG_BPF_SYSCALL"] == "y"
    found = linux_kernel.kallsyms({"_stext", "no_such_symbol_here"})
    assert set(found) <= {"_stext"} and all(found.values())
    vmlinux = next(ids(linux_kernel, "btf"), None)
    if vmlinux is not None:
        assert Btf.from_id(linux_kernel, vmlinux).info()["btf_size"] > 0


def test_printk(linux_kernel: LinuxKernel) -> None:
    def insn(op: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
        return struct.pack("<BBhi", op, dst | src << 4, off, imm)

    text = int.from_bytes(b"hi %d\n\0\0", "little")
    code = (
        insn(0x18, 1, 0, 0, text & 0x7FFF_FFFF) + insn(0, imm=text >> 32) + insn(0x7B, 10, 1, -8) + insn(0xBF, 1, 10)
        + insn(7, 1, 0, 0, -8) + insn(0xB7, 2, 0, 0, 7) + insn(0xB7, 3, 0, 0, 42) + insn(0x85, 0, 0, 0, 6) + RETURN_2
    )  # fmt: skip
    kernel = LinuxKernel()
    assert kernel.printk() == []
    program = Program.load(kernel, "xdp", code)
    program.test_run(b"a" * 64, repeat=2)
    assert kernel.printk() == ["hi 42", "hi 42"] and kernel.printk() == []
    kernel.close_tracing()


def test_too_new_for_the_kernel() -> None:
    old = KernelVersion(4, 18)
    for attr, feature in (
        (Attr("BPF_LINK_CREATE"), "BPF_LINK_CREATE"),
        (Attr("BPF_MAP_CREATE", map_type=27), "BPF_MAP_TYPE_RINGBUF"),
        (Attr("BPF_MAP_CREATE", map_type=1, map_extra=1), "map_extra of BPF_MAP_CREATE"),
    ):
        error = refusal(attr, errno.EINVAL, old)
        assert isinstance(error, NeedsKernel) and error.feature == feature and "this kernel is 4.18" in str(error)
    assert not isinstance(refusal(Attr("BPF_MAP_CREATE", map_type=1), errno.EINVAL, old), NeedsKernel)
    assert permission_hint(Attr("BPF_PROG_LOAD", prog_type=6))


def test_raw_tracepoint(linux_kernel: LinuxKernel) -> None:
    program = Program.load(linux_kernel, "raw_tracepoint", RETURN_1)
    with Link.raw_tracepoint(linux_kernel, program, "sys_enter") as link:
        assert (
            link.type == "raw_tracepoint" and link.prog_id == program.id and link.id in set(ids(linux_kernel, "link"))
        )
        with pytest.raises(KernelError) as caught:
            link.detach()
        assert caught.value.errno == errno.EOPNOTSUPP
    with pytest.raises(KernelError) as caught:
        Link.raw_tracepoint(linux_kernel, program, "no_such_tracepoint")
    assert caught.value.errno == errno.ENOENT


def test_missing_capabilities_are_named(linux_kernel: LinuxKernel) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            for call in (lambda: Program.load(linux_kernel, "xdp", RETURN_2), lambda: list(ids(linux_kernel, "map"))):
                try:
                    call()
                except KernelError as error:
                    os.write(writer, f"{error.errno} {error.hint}\n".encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)  # all of the text is in the pipe then
    text = os.read(reader, 1 << 16).decode()
    os.close(reader)
    assert text.splitlines() == [
        "1 this process lacks CAP_BPF and CAP_NET_ADMIN (or CAP_SYS_ADMIN)",
        "1 this process lacks CAP_SYS_ADMIN",
    ]
