"""What a kernel has, found out by asking it: program types, map types, helpers, instructions.

The same questions go to Linux and to the user kernel. They are those of libbpf, so that the answers are bpftool's.

Source: Linux 6.12 tools/lib/bpf/libbpf_probes.c, tools/bpf/bpftool/feature.c, behaviour.
"""

from __future__ import annotations

import errno
import struct
from typing import Any, NamedTuple

from bombus.errors import KernelError, NeedsKernel, NotSupported
from bombus.isa import build as b
from bombus.isa.insn import Insn, encode
from bombus.kernel.api import Attr, Kernel, address_of
from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.spec.helpers import Helper
from bombus.spec.maptypes import BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, MAP_TYPE, PAGE_SIZE, MapType
from bombus.spec.progtypes import PROG_TYPE, ProgType

ENOTSUPP = 524  # Linux include/linux/errno.h
_LOG = 4096
_TOO_OLD = -1  # instead of an errno: the user kernel says that what was asked for is younger than itself
_SLEEPABLE = 1 << 4  # BPF_F_SLEEPABLE
_LARGE = 4096  # BPF_MAXINSNS: what a program could have before Linux 5.3
# expected_attach_type without which a type does not load.
_ATTACH = {
    "BPF_PROG_TYPE_CGROUP_SOCK_ADDR": "BPF_CGROUP_INET4_CONNECT",
    "BPF_PROG_TYPE_CGROUP_SOCKOPT": "BPF_CGROUP_GETSOCKOPT", "BPF_PROG_TYPE_SK_LOOKUP": "BPF_SK_LOOKUP",
    "BPF_PROG_TYPE_LIRC_MODE2": "BPF_LIRC_MODE2", "BPF_PROG_TYPE_NETFILTER": "BPF_NETFILTER",
    "BPF_PROG_TYPE_TRACING": "BPF_TRACE_FENTRY", "BPF_PROG_TYPE_LSM": "BPF_MODIFY_RETURN",
}  # fmt: skip


class _Refusal(NamedTuple):
    """How a kernel that has a program type refuses the probe: errno, and words of its log."""

    errno: int
    words: str


# A probe for these cannot load: its target is no function that they could attach to.
_REFUSED = {
    "BPF_PROG_TYPE_TRACING": _Refusal(errno.EINVAL, "attach_btf_id 1 is not a function"),
    "BPF_PROG_TYPE_LSM": _Refusal(errno.EINVAL, "attach_btf_id 1 is not a function"),
    "BPF_PROG_TYPE_EXT": _Refusal(errno.EINVAL, "Cannot replace kernel functions"),
    "BPF_PROG_TYPE_STRUCT_OPS": _Refusal(ENOTSUPP, ""),
}
# Types whose helpers depend on what they attach to.
NO_HELPERS = frozenset(f"BPF_PROG_TYPE_{name}" for name in ("TRACING", "EXT", "LSM", "STRUCT_OPS"))
# What verifiers say of a helper that they do not know, or that a type may not call (Linux 6.10 has new words for it).
_NO_HELPER = ("invalid func ", "unknown func ", "program of this type cannot use helper ")
_STORAGE = frozenset(f"BPF_MAP_TYPE_{name}_STORAGE" for name in ("SK", "INODE", "TASK", "CGRP"))
_CGROUP_STORAGE = frozenset({"BPF_MAP_TYPE_CGROUP_STORAGE", "BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE"})
_RINGS = frozenset({"BPF_MAP_TYPE_RINGBUF", "BPF_MAP_TYPE_USER_RINGBUF"})
_OF_MAPS = frozenset({"BPF_MAP_TYPE_ARRAY_OF_MAPS", "BPF_MAP_TYPE_HASH_OF_MAPS"})
_NO_KEY = frozenset(f"BPF_MAP_TYPE_{name}" for name in ("QUEUE", "STACK", "BLOOM_FILTER"))
_RETURN_0 = (b.mov(0, 0), b.exit_())
_OFFLOADED = (b.mov(0, 2), b.exit_())


def _storage_btf() -> bytes:
    """struct bpf_spin_lock { int val; }; struct val { int cnt; struct bpf_spin_lock l; };"""
    strings = b"\0bpf_spin_lock\0val\0cnt\0l\0"
    words = (
        0, 1 << 24, 4, 1 << 24 | 32,  # int, signed, 32 bits
        1, 4 << 24 | 1, 4, 15, 1, 0,
        15, 4 << 24 | 2, 8, 19, 1, 0, 23, 2, 32,
    )  # fmt: skip
    types = struct.pack(f"={len(words)}I", *words)
    return struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings)) + types + strings


class Prober:
    """Asks one kernel. ifindex: a network device that programs and maps are for (offload); 0: none."""

    def __init__(self, kernel: Kernel, ifindex: int = 0) -> None:
        self.kernel = kernel
        self.ifindex = ifindex
        self._log = bytearray(_LOG)

    def _bpf(self, attr: Attr) -> int:
        """0, or the errno, or _TOO_OLD. The new descriptor is given back."""
        try:
            self.kernel.close(self.kernel.bpf(attr))
        except NotSupported:
            return errno.EOPNOTSUPP
        except NeedsKernel:
            return _TOO_OLD
        except KernelError as error:
            return error.errno or errno.EINVAL
        return 0

    def _load(self, row: ProgType, insns: tuple[Insn, ...], *, log: bool = False) -> tuple[int, str]:
        """(errno or 0, the log)."""
        code = encode(insns)
        # By address: the Linux kernel object looks into buffers for bpf_printk, and would open a trace pipe.
        fields: dict[str, Any] = {
            "prog_type": row.id, "insn_cnt": len(insns), "insns": address_of(code), "license": b"GPL\0",
        }  # fmt: skip
        if self.ifindex:
            fields["prog_ifindex"] = self.ifindex
        else:
            fields |= self._needed(row)
        if log or row.name in _REFUSED:
            self._log[0] = 0
            fields |= {"log_level": 1, "log_size": len(self._log), "log_buf": self._log}
        number = self._bpf(Attr("BPF_PROG_LOAD", **fields))
        text = bytes(self._log).split(b"\0", 1)[0].decode(errors="replace") if "log_buf" in fields else ""
        return number, text

    def _needed(self, row: ProgType) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if row.name in _ATTACH:
            found["expected_attach_type"] = ATTACH_TYPE[_ATTACH[row.name]].id
        if row.name == "BPF_PROG_TYPE_KPROBE":
            found["kern_version"] = self.kernel.version.code
        if row.name == "BPF_PROG_TYPE_SYSCALL":
            found["prog_flags"] = _SLEEPABLE
        if row.name in _REFUSED and row.name != "BPF_PROG_TYPE_STRUCT_OPS":
            found["attach_btf_id"] = 1
        return found

    def prog_type(self, row: ProgType) -> bool:
        """Whether programs of a type load."""
        number, log = self._load(row, _OFFLOADED if self.ifindex else _RETURN_0)
        refusal = None if self.ifindex else _REFUSED.get(row.name)
        if refusal is not None:
            return number == refusal.errno and refusal.words in log
        return not number

    def helper(self, row: ProgType, helper: Helper) -> bool:
        """Whether programs of a type, which loads, may call a helper. False where that cannot be told."""
        if row.name in NO_HELPERS:
            return False
        number, log = self._load(row, (b.call(helper.id), b.exit_()), log=True)
        # Anything that the verifier has against the arguments means that it knows the helper.
        return number not in (errno.EPERM, _TOO_OLD) and not any(words in log for words in _NO_HELPER)

    def map_type(self, row: MapType) -> bool:
        """Whether maps of a type can be made."""
        fds: list[int] = []
        try:
            fields = self._map_fields(row, fds)
        except (KernelError, NotSupported):
            return False
        else:
            number = self._bpf(Attr("BPF_MAP_CREATE", map_type=row.id, **fields))
            return number == ENOTSUPP if row.name == "BPF_MAP_TYPE_STRUCT_OPS" else not number
        finally:
            for fd in fds:
                self.kernel.close(fd)

    def _map_fields(self, row: MapType, fds: list[int]) -> dict[str, Any]:
        name = row.name
        fields: dict[str, Any] = {"key_size": 4, "value_size": 4, "max_entries": 1}
        if self.ifindex:
            return fields | {"map_ifindex": self.ifindex}
        if name == "BPF_MAP_TYPE_STACK_TRACE":
            fields["value_size"] = 8
        elif name == "BPF_MAP_TYPE_LPM_TRIE":
            fields |= {"key_size": 8, "value_size": 8, "map_flags": BPF_F_NO_PREALLOC}
        elif name in _CGROUP_STORAGE:
            fields |= {"key_size": 16, "value_size": 8, "max_entries": 0}
        elif name in _NO_KEY:
            fields["key_size"] = 0
        elif name in _STORAGE:
            data = _storage_btf()
            fds.append(self.kernel.bpf(Attr("BPF_BTF_LOAD", btf=data, btf_size=len(data))))
            fields |= {"value_size": 8, "max_entries": 0, "map_flags": BPF_F_NO_PREALLOC, "btf_fd": fds[-1],
                       "btf_key_type_id": 1, "btf_value_type_id": 3}  # fmt: skip
        elif name in _RINGS:
            fields |= {"key_size": 0, "value_size": 0, "max_entries": PAGE_SIZE}
        elif name == "BPF_MAP_TYPE_STRUCT_OPS":
            fields["btf_vmlinux_value_type_id"] = 1
        elif name == "BPF_MAP_TYPE_ARENA":
            fields |= {"key_size": 0, "value_size": 0, "map_flags": BPF_F_MMAPABLE}
        elif name in _OF_MAPS:
            hash_ = MAP_TYPE["BPF_MAP_TYPE_HASH"].id
            fds.append(self.kernel.bpf(Attr("BPF_MAP_CREATE", map_type=hash_, key_size=4, value_size=4,
                                            max_entries=1)))  # fmt: skip
            fields["inner_map_fd"] = fds[-1]
        return fields

    def syscall(self) -> bool:
        """Whether there is a bpf(2) at all."""
        return self._bpf(Attr("BPF_PROG_LOAD", license=b"GPL\0")) != errno.ENOSYS

    def instructions(self) -> dict[str, bool]:
        """bpftool's "misc" features."""
        row = PROG_TYPE["BPF_PROG_TYPE_SOCKET_FILTER"]
        mov = b.mov
        programs: dict[str, tuple[Insn, ...]] = {
            "large_insn_limit": (*[mov(0, 1)] * _LARGE, b.exit_()),
            "bounded_loops": (mov(0, 10), b.sub(0, 1), b.jmp("!=", 0, 0, -2), b.exit_()),
            "v2_isa_extension": (mov(0, 0), b.jmp("<", 0, 0, 1), mov(0, 1), b.exit_()),
            "v3_isa_extension": (mov(0, 0), b.jmp("<", 0, 0, 1, bits=32), mov(0, 1), b.exit_()),
            "v4_isa_extension": (mov(0, 0), b.jmp("==", 0, 1, 1, bits=32), b.gotol(1), mov(0, 1), b.exit_()),
        }  # fmt: skip
        return {name: not self._load(row, insns)[0] for name, insns in programs.items()}
