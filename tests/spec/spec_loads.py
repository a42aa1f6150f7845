"""Small programs for the running kernel's verifier: what it says of them, and the places where it can be asked."""

from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from bombus.btf.parse import Btf
from bombus.btf.types import Kind, Ptr, Struct
from bombus.errors import KernelError
from bombus.kernel.api import Attr, Kernel
from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.spec.progtypes import PROG_TYPE, PROG_TYPES

T = TypeVar("T")
CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF = 12, 38, 39  # include/uapi/linux/capability.h
CAPABILITIES = {"CAP_NET_ADMIN": CAP_NET_ADMIN, "CAP_PERFMON": CAP_PERFMON, "CAP_BPF": CAP_BPF}
SLEEPABLE = 1 << 4
LOG_SIZE = 1 << 14


def insn(code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    return struct.pack("<BBhi", code, dst | src << 4, off, imm)


RETURN_0 = insn(0xB7) + insn(0x95)
RETURN_1 = insn(0xB7, imm=1) + insn(0x95)


@dataclass(frozen=True)
class Place:
    """A kind of program that can be loaded. attach: the expected attach type's number, or a member's of struct_ops."""

    prog_type: str
    attach_type: str = ""
    attach: int = 0
    btf_id: int = 0
    flags: int = 0
    target: str = ""

    def __str__(self) -> str:
        words = [self.prog_type.removeprefix("BPF_PROG_TYPE_"), self.attach_type.removeprefix("BPF_"), self.target]
        return "-".join([word for word in words if word] + ["sleepable"] * (self.flags == SLEEPABLE))

    @property
    def type_id(self) -> int:
        return PROG_TYPE[self.prog_type].id

    @property
    def attach_id(self) -> int:
        """What spec.helpers.allowed takes: 0 for struct_ops."""
        return ATTACH_TYPE[self.attach_type].id if self.attach_type else 0


def load(kernel: Kernel, place: Place, code: bytes) -> tuple[int, str]:
    """The errno (0: loaded) and the verifier's log."""
    log = bytearray(LOG_SIZE)
    attr = Attr(
        "BPF_PROG_LOAD", prog_type=place.type_id, insn_cnt=len(code) // 8, insns=code, license=b"GPL\0",
        log_level=1, log_size=len(log), log_buf=log, expected_attach_type=place.attach, prog_flags=place.flags,
        attach_btf_id=place.btf_id,
    )  # fmt: skip
    try:
        kernel.close(kernel.bpf(attr))
    except KernelError as error:
        return error.errno or -1, bytes(log).split(b"\0", 1)[0].decode(errors="replace")
    return 0, bytes(log).split(b"\0", 1)[0].decode(errors="replace")


def untyped() -> Iterator[Place]:
    """Types whose context is a struct, with each attach type that means something."""
    for row in PROG_TYPES:
        if row.btf_id == "required":
            continue
        flags = SLEEPABLE if row.name == "BPF_PROG_TYPE_SYSCALL" else 0
        if not row.attach_checked:
            yield Place(row.name, flags=flags)
        for attach in row.attach_types:
            yield Place(row.name, attach, ATTACH_TYPE[attach].id, flags=flags)


ITERATORS = (
    "task", "task_file", "task_vma", "tcp", "udp", "unix", "netlink", "ipv6_route", "bpf_map", "bpf_prog", "bpf_link",
    "bpf_map_elem", "bpf_sk_storage_map", "sockmap", "cgroup", "ksym", "kmem_cache", "dmabuf",
)  # fmt: skip


def typed(btf: Btf) -> Iterator[Place]:
    """Iterators, typed tracepoints and struct_ops members that this kernel has."""
    tracing = "BPF_PROG_TYPE_TRACING"
    for name in ITERATORS:
        id_ = btf.find(f"bpf_iter_{name}", Kind.FUNC)
        if id_ is not None:
            for flags in (0, SLEEPABLE):
                attach = ATTACH_TYPE["BPF_TRACE_ITER"].id
                yield Place(tracing, "BPF_TRACE_ITER", attach, id_, flags, f"bpf_iter_{name}")
    id_ = btf.find("btf_trace_sched_switch", Kind.TYPEDEF)
    if id_ is not None:
        yield Place(tracing, "BPF_TRACE_RAW_TP", ATTACH_TYPE["BPF_TRACE_RAW_TP"].id, id_)
    for attach_type, function in (
        ("BPF_TRACE_FENTRY", "do_unlinkat"), ("BPF_TRACE_FEXIT", "do_unlinkat"),
        ("BPF_MODIFY_RETURN", "bpf_modify_return_test"),
    ):  # fmt: skip
        id_ = btf.find(function, Kind.FUNC)
        if id_ is not None:
            yield Place(tracing, attach_type, ATTACH_TYPE[attach_type].id, id_)
    id_ = btf.find("bpf_lsm_socket_bind", Kind.FUNC)
    if id_ is not None:
        for attach_type in ("BPF_LSM_MAC", "BPF_LSM_CGROUP"):
            yield Place("BPF_PROG_TYPE_LSM", attach_type, ATTACH_TYPE[attach_type].id, id_)
    for name in ("tcp_congestion_ops", "bpf_dummy_ops", "Qdisc_ops", "hid_bpf_ops", "sched_ext_ops"):
        id_ = btf.find(name, Kind.STRUCT)
        if id_ is None or btf.find(f"bpf_struct_ops_{name}", Kind.STRUCT) is None:
            continue
        type_ = btf[id_]
        assert isinstance(type_, Struct)
        for index, member in enumerate(type_.members):
            pointer = btf[member.type]
            if isinstance(pointer, Ptr) and btf.kind(pointer.type) == Kind.FUNC_PROTO:
                yield Place("BPF_PROG_TYPE_STRUCT_OPS", "", index, id_, 0, f"{name}.{member.name}")


def with_capabilities(numbers: set[int], call: Callable[[], T]) -> T:
    """Run in a thread that has only these capabilities in effect (each thread has its own)."""
    result: list[T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            mask = sum(1 << number for number in numbers)
            header = struct.pack("<Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
            low, high = mask & 0xFFFFFFFF, mask >> 32
            data = struct.pack("<6I", low, low, 0, high, high, 0)
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.capset(header, data) != 0:
                raise OSError(ctypes.get_errno(), "capset")
            result.append(call())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]
