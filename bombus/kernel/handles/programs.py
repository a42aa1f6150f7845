"""Programs: load, run, describe."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, Self

from bombus.errors import KernelError, LoadError, UsageError
from bombus.isa.insn import Insn, decode, encode
from bombus.kernel.api import Attr, Kernel
from bombus.kernel.handles.attaching import Attaching
from bombus.kernel.handles.base import Handle, open_id, open_pin
from bombus.kernel.handles.features import features
from bombus.kernel.handles.info import Info, check_kind, read_info
from bombus.kernel.handles.refused import explainer
from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.spec.progtypes import PROG_TYPE, PROG_TYPE_BY_ID, ProgType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bombus.kernel.handles.progsource import Source
    from bombus.kernel.handles.testrun import TestRun

LOG_SIZE_FIRST = 1 << 16
LOG_SIZE_MAX = 0x3FFF_FFFF  # Linux 6.12 kernel/bpf/log.c: bpf_verifier_log_attr_valid (UINT_MAX >> 2)
_NAME_ERRNOS = (errno.E2BIG, errno.EINVAL)  # of an attr that is longer than the kernel knows
LOG_STATS = 4  # BPF_LOG_STATS: what was refused and the verifier's statistics, not its way there
_LOG_SIZE_STOP = 1 << 28  # a log that does not fit 256 MiB is not asked for again
_ROOM = 1 << 16  # bytes that a program may add to its packet in a test run
_CTX_ROOM = 512  # more than any test-run context; the kernel copies what it has
_LIVE_FRAMES = 2  # BPF_F_TEST_XDP_LIVE_FRAMES
# Linux 6.12 bpf_prog_test_run_syscall, _raw_tp, _tracing, _nf: these refuse a ctx_out.
_NO_CTX_OUT = frozenset(
    "BPF_PROG_TYPE_" + name for name in ("SYSCALL", "RAW_TRACEPOINT", "TRACING", "NETFILTER")
)


def prog_type_of(kind: str | int | ProgType) -> ProgType:
    """A program type by "xdp", "BPF_PROG_TYPE_XDP", its number or its row. UsageError for others."""
    if isinstance(kind, ProgType):
        return kind
    row = (
        PROG_TYPE_BY_ID.get(kind)
        if isinstance(kind, int)
        else PROG_TYPE.get(kind) or PROG_TYPE.get(f"BPF_PROG_TYPE_{kind.upper()}")
    )
    if row is None:
        raise UsageError(f"{kind!r} is no program type")
    return row


def attach_type_of(kind: str | int) -> int:
    """An attach type's number, by its name or itself. UsageError for unknown names."""
    if isinstance(kind, int):
        return kind
    row = ATTACH_TYPE.get(kind) or ATTACH_TYPE.get(f"BPF_{kind.upper()}")
    if row is None:
        raise UsageError(f"{kind!r} is no attach type")
    return row.id


class Program(Attaching, Handle):
    """One loaded program. `log` is what the verifier wrote, when that was asked for."""

    kind = "program"

    def __init__(self, kernel: Kernel, fd: int, *, type: ProgType | None = None, name: str = "", log: str = "") -> None:
        super().__init__(kernel, fd)
        self._type = type
        self._name = name
        self.log = log

    @classmethod
    def load(
        cls, kernel: Kernel, type: str | int | ProgType, insns: bytes | Sequence[Insn], *, license: str = "GPL",
        name: str = "", attach_type: str | int = 0, flags: int = 0, log_level: int = 0, log_size: int = 0,
        **fields: Any,
    ) -> Self:  # fmt: skip
        """Verify and load instructions.

        insns: bytes as the kernel takes them, or `Insn` slots. log_level: 0 asks for the log only when the kernel
        refuses (of a program that is too large only the end); 1, 2 (every instruction), 4 (statistics) always.
        log_size: bytes of the first buffer; it grows while the log does not fit. fields: more of BPF_PROG_LOAD's attr
        (prog_btf_fd, func_info, fd_array, ...).
        Raises LoadError with the log, NeedsKernel, UsageError.
        """
        row = prog_type_of(type)
        code = insns if isinstance(insns, (bytes, bytearray, memoryview)) else encode(insns)
        if len(code) % 8:
            raise UsageError(f"{len(code)} bytes of instructions are not a multiple of 8")
        if not 0 <= log_size <= LOG_SIZE_MAX:
            raise UsageError(f"log_size {log_size} is outside 0 to {LOG_SIZE_MAX}")
        given: dict[str, Any] = {
            "prog_type": row.id, "insn_cnt": len(code) // 8, "insns": code, "license": license.encode() + b"\0",
            "prog_flags": flags, "prog_name": name[:15] or None, "expected_attach_type": attach_type_of(attach_type),
        }  # fmt: skip
        given.update(fields)
        level, size = log_level, log_size or LOG_SIZE_FIRST
        large: KernelError | None = None
        while True:
            log = bytearray(size) if level else bytearray()
            attr = Attr("BPF_PROG_LOAD", **given)
            if level:
                attr.set("log_level", level)
                attr.set("log_size", size)
                attr.set("log_buf", log)
            try:
                fd = kernel.bpf(attr)
            except KernelError as error:
                # ENOSPC: the log did not fit; its verdict is in the next attempt.
                if level and error.errno == errno.ENOSPC and size < _LOG_SIZE_STOP:
                    size = max(size * 4, min(attr.get("log_true_size") + 1, _LOG_SIZE_STOP))
                elif given["prog_name"] and error.errno in _NAME_ERRNOS and not features(kernel).has("prog_name"):
                    given["prog_name"] = None  # before 4.15
                elif not level and not error.log and error.errno not in (errno.EPERM, errno.ENOSYS):
                    if error.errno == errno.E2BIG:
                        # A program that is too much for the verifier has a log of many megabytes; its end will do.
                        large, level = error, LOG_STATS
                    else:
                        level = 1
                else:
                    if large is not None and error.errno != errno.E2BIG:
                        raise large from None  # before 5.2 there is no such level
                    if isinstance(error, LoadError):
                        error.explainer = explainer(bytes(code))
                    raise
                continue
            return cls(kernel, fd, type=row, name=name, log=log.split(b"\0", 1)[0].decode(errors="replace"))

    @classmethod
    def from_id(cls, kernel: Kernel, number: int) -> Self:
        """The program with an id. KernelError(ENOENT) when there is none."""
        return cls(kernel, open_id(kernel, "prog", number))

    @classmethod
    def pinned(cls, kernel: Kernel, path: str | os.PathLike[str]) -> Self:
        """The program that a path pins. KernelError; EINVAL when the path pins something else."""
        program = cls(kernel, open_pin(kernel, path))
        try:
            check_kind(kernel, program.fd, "prog")
        except KernelError:
            program.close()
            raise
        return program

    @property
    def type(self) -> ProgType:
        if self._type is None:
            self._type = prog_type_of(self.info()["type"])
        return self._type

    @property
    def name(self) -> str:
        if not self._name:
            self._name = str(self.info()["name"])
        return self._name

    @property
    def id(self) -> int:
        return int(self.info()["id"])

    def info(self) -> Info:
        """Members of bpf_prog_info; arrays that it points to come from the methods below."""
        return read_info(self.kernel, self.fd, "bpf_prog_info")

    def _array(self, pointer: str, count: str, size: int) -> bytes:
        """One array that bpf_prog_info points to. size: bytes of an element. Empty when the kernel hides it."""
        for _ in range(4):
            number = self.info()[count]
            if not number:
                return b""
            buffer = bytearray(number * size)
            info = read_info(self.kernel, self.fd, "bpf_prog_info", inputs={count: number}, buffers={pointer: buffer})
            if info[count] <= number:
                # The kernel clears the pointer of what the caller may not see.
                return bytes(buffer[: info[count] * size]) if info[pointer] else b""
        return b""

    def xlated(self) -> bytes:
        """The instructions after the verifier's rewriting."""
        return self._array("xlated_prog_insns", "xlated_prog_len", 1)

    def instructions(self) -> list[Insn]:
        """`xlated`, decoded."""
        return list(decode(self.xlated()))

    def jited(self) -> bytes:
        """Machine code; empty where there is none (a user kernel whose engine has none, or not yet) or it is hidden
        (kptr_restrict)."""
        return self._array("jited_prog_insns", "jited_prog_len", 1)

    def jited_ksyms(self) -> list[int]:
        """Addresses of the functions that the program was compiled to; empty when there are none, or hidden."""
        data = self._array("jited_ksyms", "nr_jited_ksyms", 8)
        return [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]

    def jited_lengths(self) -> list[int]:
        """Bytes of machine code of each function of `jited_ksyms`."""
        data = self._array("jited_func_lens", "nr_jited_func_lens", 4)
        return [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]

    def jited_line_info(self) -> list[int]:
        """The address where each record of `line_info` begins in machine code."""
        data = self._records("jited_line_info", "nr_jited_line_info", "jited_line_info_rec_size")
        return [int.from_bytes(data[i : i + 8], "little") for i in range(0, len(data), 8)]

    def source_at(self, address: int) -> Source | None:
        """The source line of an address of the program's machine code; see `progsource.source_at`."""
        from bombus.kernel.handles.progsource import source_at

        return source_at(self, address)

    def map_ids(self) -> list[int]:
        """Ids of the maps that the program uses."""
        data = self._array("map_ids", "nr_map_ids", 4)
        return [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]

    def func_info(self) -> bytes:
        """Records of func_info_rec_size bytes: (first instruction, BTF type id)."""
        return self._records("func_info", "nr_func_info", "func_info_rec_size")

    def line_info(self) -> bytes:
        """Records of line_info_rec_size bytes, as `bombus.btf.ext` reads them."""
        return self._records("line_info", "nr_line_info", "line_info_rec_size")

    def _records(self, pointer: str, count: str, record: str) -> bytes:
        info = self.info()
        if not info[count]:
            return b""
        size = info[record]
        buffer = bytearray(info[count] * size)
        read_info(
            self.kernel, self.fd, "bpf_prog_info", inputs={count: info[count], record: size}, buffers={pointer: buffer}
        )
        return bytes(buffer)

    def test_run(
        self, data: bytes | None = None, ctx: bytes | None = None, *, repeat: int = 0, flags: int = 0,
        cpu: int = 0, batch_size: int = 0, data_out: int | None = None, ctx_out: int | None = None,
    ) -> TestRun:  # fmt: skip
        """BPF_PROG_TEST_RUN.

        data: the packet; ctx: the context struct. repeat: runs to average over. data_out, ctx_out: bytes of room for
        the results, None for plenty, 0 for none. Raises KernelError: ENOSPC when the room is too small, EINVAL for
        data or a ctx that the program type does not take, 524 (ENOTSUPP) for types without test runs.
        """
        from bombus.kernel.handles.testrun import TestRun

        attr = Attr("BPF_PROG_TEST_RUN", prog_fd=self.fd, repeat=repeat, flags=flags, cpu=cpu, batch_size=batch_size)
        out = context = bytearray()
        if data is not None:
            attr.set("data_in", data)
            attr.set("data_size_in", len(data))
            live = flags & _LIVE_FRAMES and self.type.name == "BPF_PROG_TYPE_XDP"
            out = bytearray((0 if live else len(data) + _ROOM) if data_out is None else data_out)
            attr.set("data_out", out or None)
            attr.set("data_size_out", len(out))
        if ctx is not None:
            # Some types write their context back into the caller's buffer.
            given = bytearray(ctx)
            attr.set("ctx_in", given)
            attr.set("ctx_size_in", len(given))
            if ctx_out == 0 or self.type.name in _NO_CTX_OUT:
                context = given
            else:
                context = bytearray(len(ctx) + _CTX_ROOM if ctx_out is None else ctx_out)
                attr.set("ctx_out", context)
                attr.set("ctx_size_out", len(context))
        self.kernel.bpf(attr)
        size = attr.get("ctx_size_out") if "ctx_out" in attr.buffers else len(context)
        return TestRun(
            retval=attr.get("retval"),
            data=bytes(out[: min(attr.get("data_size_out"), len(out))]),
            ctx=b"" if ctx_out == 0 else bytes(context[:size]),
            duration=attr.get("duration"),
        )

    def bind_map(self, fd: int) -> None:
        """Keep a map (by descriptor) alive as long as this program."""
        self.kernel.bpf(Attr("BPF_PROG_BIND_MAP", prog_fd=self.fd, map_fd=fd))

    def __repr__(self) -> str:
        if self.closed:
            return "<Program closed>"
        return f"<Program {self.name or '(no name)'} {self.type.short} fd {self.fd} on {self.kernel.name}>"
