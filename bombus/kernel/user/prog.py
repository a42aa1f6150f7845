"""BPF_PROG_LOAD and loaded programs.

The checks and their order: Linux 6.12 kernel/bpf/syscall.c (bpf_prog_load, bpf_prog_load_check_attach,
bpf_obj_name_cpy) and kernel/bpf/verifier.c (bpf_check, resolve_pseudo_ldimm64).
"""

from __future__ import annotations

import errno
import hashlib
import time
from typing import TYPE_CHECKING, ClassVar, Final

from bombus.errors import BombusError, EncodingError, KernelError, LoadError, NeedsKernel
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn, decode
from bombus.kernel.user import progcheck, progverify, verdicts
from bombus.kernel.user.commands import command
from bombus.kernel.user.objects import KernelObject
from bombus.kernel.user.progenv import ProgEnv
from bombus.kernel.user.proglink import resolve
from bombus.kernel.user.world import world_of
from bombus.spec.progtypes import ProgType
from bombus.spec.version import since
from bombus.vm.engines import engine

if TYPE_CHECKING:
    from collections.abc import Callable

    from bombus.isa.facts import Facts
    from bombus.kernel.api import Attr
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.maps.base import Map
    from bombus.kernel.user.watched import Watched
    from bombus.spec.version import KernelVersion
    from bombus.vm.env import Compiled

CALL: Final = "BPF_PROG_LOAD"
_EXT: Final = "BPF_PROG_TYPE_EXT"
_SHA256: Final = since("6.18")


class Prog(KernelObject):
    """A loaded program. `insns` as given, `xlated` with the addresses of maps filled in."""

    kind: ClassVar[str] = "prog"

    __slots__ = (
        "active", "attach_btf_id", "btf", "compiled", "env", "exception_callback", "expected_attach_type", "facts",
        "flags", "func_info", "functions", "give_back", "gpl", "insns", "kernel", "license", "line_info", "load_time",
        "maps", "max_ctx_offset", "misses", "name", "run_count", "run_time", "runner", "tag", "target",
        "target_attach_type", "target_type", "traces", "type", "verified_insns", "watched", "xlated",
    )  # fmt: skip

    compiled: Compiled

    def __init__(self, kernel: UserKernel, row: ProgType) -> None:
        super().__init__()
        self.kernel = kernel
        self.type = row
        self.name = b""
        self.expected_attach_type = 0
        self.attach_btf_id = 0
        self.flags = 0
        self.gpl = False
        self.license = ""
        self.insns: list[Insn] = []
        self.xlated: list[Insn] = []
        self.maps: list[Map] = []
        self.tag = bytes(8)
        self.load_time = 0
        self.btf: KernelObject | None = None
        self.func_info: tuple[int, bytes] = (0, b"")  # record size, records
        self.line_info: tuple[int, bytes] = (0, b"")
        self.max_ctx_offset = 0
        self.verified_insns = 0
        self.facts: Facts | None = None
        self.run_count = 0
        self.run_time = 0
        self.runner: object = None  # what its hook keeps between runs
        self.give_back: Callable[[], None] | None = None  # for what `runner` borrowed
        self.functions: tuple[tuple[object, ...], ...] | None = None  # `verifier.program.Function`, member by member
        self.exception_callback = -1
        self.target: Prog | None = None  # the program that it was loaded for, until it is attached for the first time
        self.target_type: ProgType | None = None  # of that program, and its attach type
        self.target_attach_type = 0
        self.traces = False  # a tracing program for a tracing program
        self.watched: Watched | None = None  # what is attached to its functions
        self.active = False  # it runs at a function: it does not run there again then
        self.misses = 0
        self.env = ProgEnv(kernel, self)

    @property
    def acts_as(self) -> ProgType:
        """The type whose context and helpers it has: an extension's are those of its target (resolve_prog_type)."""
        return self.target_type if self.target_type is not None and self.type.name == _EXT else self.type

    @property
    def acts_attach_type(self) -> int:
        return self.target_attach_type if self.acts_as is not self.type else self.expected_attach_type

    def take_target(self, target: Prog) -> None:
        """The program that attach_prog_fd names."""
        target.get()
        self.target = target
        self.target_type = target.type
        self.target_attach_type = target.expected_attach_type
        self.traces = self.type.name == target.type.name == "BPF_PROG_TYPE_TRACING"

    def drop_target(self) -> None:
        if self.target is not None:
            self.target.put()
            self.target = None

    @property
    def tail_call_key(self) -> object:
        """What programs of one prog array have in common (bpf_prog_map_compatible)."""
        return self.acts_as.name, bool(self.flags & progcheck.F_XDP_HAS_FRAGS), self.expected_attach_type

    def release(self) -> None:
        self.kernel.ids["prog"].remove(self)
        if self.give_back is not None:
            self.runner = None
            self.give_back()
        for item in self.maps:
            item.put()
        self.maps = []
        if self.btf is not None:
            self.btf.put()
        self.drop_target()


@command(CALL)
def prog_load(kernel: UserKernel, attr: Attr) -> int:
    try:
        return _load(kernel, attr)
    except (LoadError, NeedsKernel):
        raise
    except KernelError as error:
        raise LoadError(error.errno or errno.EINVAL, CALL, error.message, log=error.log, hint=error.hint) from None


def _load(kernel: UserKernel, attr: Attr) -> int:
    row, attach = progcheck.check(kernel, attr)
    data = attr.read(attr.get("insns"), attr.get("insn_cnt") * 8)
    license_ = progcheck.read_string(attr, attr.get("license"), 128)
    if row is None:
        raise KernelError(errno.EINVAL, CALL, f"there is no program type {attr.get('prog_type')}")
    prog = Prog(kernel, row)
    prog.expected_attach_type = attach
    prog.attach_btf_id = attr.get("attach_btf_id")
    prog.flags = attr.get("prog_flags")
    prog.license = license_
    prog.gpl = progcheck.license_is_gpl(license_)
    prog.name = progcheck.name(attr)
    prog.insns = decode(data)
    target = progcheck.target_of(kernel, attr)
    if target is not None:
        prog.take_target(target)
    prog.load_time = world_of(kernel).clock.boottime()
    try:
        _check_insns(kernel, attr, prog)
    except BombusError:
        prog.release()
        raise
    _compile(kernel, prog)
    return kernel.install(prog, CALL)


def _check_insns(kernel: UserKernel, attr: Attr, prog: Prog) -> None:
    progverify.check_log(kernel, attr)
    progcheck.load_btf(kernel, attr, prog)
    key = verdicts.key_of(kernel, attr, prog, *progverify.descriptors(attr, prog))
    known = key is not None and verdicts.find(key, prog)
    started = time.perf_counter_ns()
    if not known:
        progverify.verify(kernel, attr, prog)
        _validate(attr, prog)
    prog.tag = tag(prog.insns, kernel.version)
    prog.xlated, prog.maps = resolve(kernel, attr, prog.insns)
    for item in prog.maps:
        item.get()
    if known:
        return
    progcheck.sleepable(attr, prog)
    progcheck.helpers(kernel, attr, prog)
    if key is not None:
        verdicts.keep(key, prog, time.perf_counter_ns() - started)


def _validate(attr: Attr, prog: Prog) -> None:
    from bombus.isa.validate import validate

    try:
        validate(prog.insns, frame_pointer=False)  # in dead code r10 may be written; elsewhere the engines fault
    except EncodingError as error:
        raise refusal(attr, errno.EINVAL, f"insn {error.insn or 0}: {error.field}: {error.message}") from None


def _compile(kernel: UserKernel, prog: Prog) -> None:
    prog.compiled = engine(kernel.engine).compile(prog.xlated, prog.env)


def refusal(attr: Attr, number: int, message: str) -> LoadError:
    """A LoadError whose message also goes into the caller's log buffer."""
    progcheck.write_log(attr, message + "\n")
    return LoadError(number, CALL, message)


def tag(insns: list[Insn], version: KernelVersion) -> bytes:
    """The program's tag: the first 8 bytes of a hash over the instructions with map numbers blanked.

    SHA-1 (Linux 6.12 kernel/bpf/core.c: bpf_prog_calc_tag), SHA-256 from Linux 6.18 on.
    """
    from bombus.isa.insn import encode

    blank: list[Insn] = []
    second = False
    for insn in insns:
        if second:
            insn = insn._replace(imm=0)
            second = False
        elif insn.opcode == op.LD_IMM64 and insn.src in (op.BPF_PSEUDO_MAP_FD, op.BPF_PSEUDO_MAP_VALUE):
            insn = insn._replace(imm=0)
            second = True
        blank.append(insn)
    data = encode(blank)
    if version >= _SHA256:
        return hashlib.sha256(data).digest()[:8]
    return hashlib.sha1(data, usedforsecurity=False).digest()[:8]


@command("BPF_PROG_BIND_MAP")
def prog_bind_map(kernel: UserKernel, attr: Attr) -> int:
    name = "BPF_PROG_BIND_MAP"
    if attr.get("flags"):
        raise KernelError(errno.EINVAL, name, "flags must be 0")
    prog = kernel.object(name, attr.get("prog_fd"), "prog")
    item = kernel.map_by_fd(name, attr.get("map_fd"))
    assert isinstance(prog, Prog)
    if item not in prog.maps:
        item.get()
        prog.maps.append(item)
    return 0

