"""BPF_PROG_LOAD asks the verifier: its program from the attr, its answer into the caller's log buffer.

Linux 6.12 kernel/bpf/verifier.c (bpf_check), kernel/bpf/log.c (bpf_vlog_init, bpf_verifier_vlog, bpf_vlog_finalize);
Linux 6.1 kernel/bpf/verifier.c (bpf_verifier_vlog, bpf_check) for the log before 6.4.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from bombus.bits import s32
from bombus.errors import BtfError, KernelError, LoadError, NeedsKernel, NotSupported, UsageError
from bombus.isa import opcodes as op
from bombus.kernel.user.commands import put
from bombus.spec.maptypes import BPF_F_RDONLY_PROG, MAP_TYPE
from bombus.spec.version import KernelVersion, since
from bombus.verifier import OLDEST

if TYPE_CHECKING:
    from bombus.btf.parse import Btf
    from bombus.kernel.api import Attr
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.maps.base import Map
    from bombus.kernel.user.prog import Prog
    from bombus.verifier.program import FuncInfo, LineInfo, MapInfo, Program, TargetProgram, Verdict

CALL: Final = "BPF_PROG_LOAD"
MODES: Final = ("strict", "lenient", "off")
"""strict: a program that the verifier cannot judge is an error. lenient: it is loaded. off: nothing is verified."""

LOG_ROLLS: Final = since("6.4")  # the log keeps its end, says its true size, and may have no buffer
_LOG_FIXED: Final = 8
_ARRAY: Final = MAP_TYPE["BPF_MAP_TYPE_ARRAY"].id
_FROM_INDEX: Final = (op.BPF_PSEUDO_MAP_IDX, op.BPF_PSEUDO_MAP_IDX_VALUE)
_FROM_FD: Final = (op.BPF_PSEUDO_MAP_FD, op.BPF_PSEUDO_MAP_VALUE)
_MAX_FD_ARRAY: Final = 1 << 16
_STRING = struct.Struct("<IIII")


def check_mode(mode: str) -> str:
    """UsageError for what is none of MODES."""
    if mode not in MODES:
        raise UsageError(f"verify={mode!r}: it is one of {', '.join(MODES)}")
    return mode


def verify(kernel: UserKernel, attr: Attr, prog: Prog) -> None:
    """Run the verifier of the kernel's version; fills in what the program learns from it.

    LoadError with the log, KernelError(ENOSPC) when the log does not fit, NotSupported (mode "strict") when the
    program needs what the verifier does not know.
    """
    if kernel.verify == "off":
        return
    from bombus.verifier.main import verify as run

    note = ""
    version = kernel.version
    if version < OLDEST:
        note = f"bombus: Linux {version} has no verifier here; verified as Linux {OLDEST} does\n"
    program = program_of(kernel, attr, prog)
    if kernel.on_verify is not None:
        kernel.on_verify(program)
    try:
        verdict = run(program)
    except NotSupported as error:
        if kernel.verify == "strict":
            hint = "UserKernel(verify='lenient'), --verify lenient, runs such programs without verification"
            raise NotSupported(error.feature, f"{error.detail}; {hint}" if error.detail else hint) from None
        finish_log(kernel, attr, f"{note}bombus: loaded without verification: {error}\n")
        return
    failed = _log_verdict(kernel, attr, verdict, note)
    if failed is not None:
        raise failed
    if version < OLDEST:
        _check_age(kernel, attr, prog, verdict)
    if not verdict.accepted:
        raise _refusal(kernel, attr, prog, verdict)
    prog.verified_insns = verdict.processed
    prog.facts = verdict.facts
    prog.max_ctx_offset = verdict.max_ctx_offset
    prog.functions = verdict.functions
    prog.exception_callback = verdict.exception_callback


def _check_age(kernel: UserKernel, attr: Attr, prog: Prog, verdict: Verdict) -> None:
    """A verifier of a later version has gone past helpers that came, or came to this type, after the kernel's own."""
    from bombus.spec.helpers import HELPER_BY_ID, allowed

    def there(version: KernelVersion) -> bool:
        return row is None or allowed(row.name, prog.acts_as.id, prog.acts_attach_type, version)

    for insn in prog.insns if verdict.accepted else prog.insns[: verdict.insn + 1]:
        row = HELPER_BY_ID.get(insn.imm) if insn.opcode == op.CALL and insn.src == 0 else None
        if row is None or there(kernel.version):
            continue
        feature, since = f"helper bpf_{row.name}", row.since
        if row.since <= kernel.version:
            feature += f" in {prog.acts_as.short} programs"
            later = (KernelVersion(major, minor) for major in (4, 5, 6) for minor in range(21))
            since = next((one for one in later if one > kernel.version and there(one)), OLDEST)
        newer = NeedsKernel(errno.EINVAL, CALL, feature=feature, since=str(since), version=str(kernel.version))
        newer.log = written(attr)
        raise newer


def _refusal(kernel: UserKernel, attr: Attr, prog: Prog, verdict: Verdict) -> KernelError:
    """What the caller gets; a helper that came later than the version is said to be the cause where it is."""
    from bombus.spec.helpers import HELPER_BY_ID

    log = written(attr)
    insn = prog.insns[verdict.insn] if 0 <= verdict.insn < len(prog.insns) else None
    if insn is not None and insn.opcode == op.CALL and insn.src == 0:
        row = HELPER_BY_ID.get(insn.imm)
        if row is not None and row.since > kernel.version:
            newer = NeedsKernel(
                verdict.errno, CALL, feature=f"helper bpf_{row.name}", since=str(row.since), version=str(kernel.version)
            )
            newer.log = log
            return newer
    where = f"instruction {verdict.insn}: " if verdict.insn >= 0 else ""
    return LoadError(verdict.errno, CALL, where + verdict.message if verdict.message else "", log=log)


# The program


def program_of(kernel: UserKernel, attr: Attr, prog: Prog) -> Program:
    """What the verifier is given. `prog` has its instructions, BTF and its records."""
    from bombus.verifier.program import Program

    fds, array = descriptors(attr, prog)
    maps: dict[int, MapInfo] = {}
    others: set[int] = set()
    infos: dict[int, MapInfo] = {}
    modules: dict[int, Btf] = {}
    target = attr.get("attach_prog_fd")  # or attach_btf_obj_fd, in its place
    for fd in fds | {target} if target else fds:
        file = kernel.fds.find(fd)
        if file is None:
            continue
        if file.obj.kind == "btf" and file.obj.in_kernel:  # type: ignore[attr-defined]
            modules[fd] = file.obj.types  # type: ignore[attr-defined]
        if file.obj.kind != "map":
            others.add(fd)
            continue
        item: Map = file.obj  # type: ignore[assignment]
        if item.handle not in infos:
            infos[item.handle] = map_info(item)
        maps[fd] = infos[item.handle]
    btf = types_of(prog.btf)
    return Program(
        prog.insns, prog.type.id, max(kernel.version, OLDEST), prog.expected_attach_type, prog.license,
        prog.name.decode(), prog.flags, maps=maps, fd_array=array, btf=btf, func_info=functions_of(prog),
        line_info=lines_of(prog, btf) if btf is not None else (), log_level=attr.get("log_level") & ~_LOG_FIXED,
        log_size=0 if attr.get("log_level") & _LOG_FIXED else attr.get("log_size"), cpus=kernel.possible_cpus,
        other_fds=frozenset(others), attach_btf_id=attr.get("attach_btf_id"),
        attach_prog=bool(target), vmlinux=kernel.types(), modules=modules,
        attach_btf_fd=target if target in modules else 0,
        target=target_program(prog.target) if prog.target is not None else None,
    )  # fmt: skip


def target_program(prog: Prog) -> TargetProgram:
    """A loaded program as the verifier sees the target of another one."""
    from bombus.verifier.program import Function, TargetProgram

    if prog.functions is None:  # it was not verified
        functions = tuple(Function("", info.type_id) for info in functions_of(prog))
    else:
        functions = tuple(Function(*one) for one in prog.functions)  # type: ignore[arg-type]
    extends = prog.acts_as.id if prog.acts_as is not prog.type else 0
    return TargetProgram(
        prog.type.id, prog.expected_attach_type, types_of(prog.btf), functions, extends, prog.traces,
        prog.exception_callback,
    )


def types_of(obj: object) -> Btf | None:
    from bombus.kernel.user.btf import BtfObject

    return obj.types if isinstance(obj, BtfObject) else None


def descriptors(attr: Attr, prog: Prog) -> tuple[set[int], tuple[int, ...]]:
    """The descriptors that the program names, and its fd_array as far as it is used and can be read."""
    fds: set[int] = set()
    last = -1
    for insn in prog.insns:
        if insn.opcode == op.LD_IMM64:
            if insn.src in _FROM_FD:
                fds.add(insn.imm)
            elif insn.src in _FROM_INDEX and 0 <= insn.imm < _MAX_FD_ARRAY:
                last = max(last, insn.imm)
        elif insn.opcode == op.CALL and insn.src == op.BPF_PSEUDO_KFUNC_CALL:
            last = max(last, insn.off or -1)
    address = attr.get("fd_array")
    array: list[int] = []
    if address:
        for index in range(last + 1):
            try:
                array.append(s32(int.from_bytes(attr.read(address + 4 * index, 4), "little")))
            except KernelError:
                break
        array = array or [-1]  # there is one, though nothing of it was asked for or could be read
    return fds | set(array), tuple(array)


def map_info(item: Map) -> MapInfo:
    """A map as the verifier sees it."""
    from bombus.verifier import records
    from bombus.verifier.program import MapInfo

    btf = types_of(item.btf)
    key_type, value_type, _vmlinux = item.btf_ids
    template = getattr(item, "template", None)
    start = item.value_address(0)
    return MapInfo(
        item.type.id, item.key_size, item.value_size, item.max_entries, item.name.decode(), item.map_flags, item.id,
        template.info if template is not None else None, item.frozen, map_contents(item), btf, key_type, value_type,
        records.parse(btf, value_type, item.kernel.version) if btf is not None and value_type else (), item.map_extra,
        start if start > 0 else 0, item.handle,
    )  # fmt: skip


def map_contents(item: Map) -> bytes | None:
    """A map's bytes when they can never change again."""
    if item.type.id != _ARRAY or not item.frozen or not item.map_flags & BPF_F_RDONLY_PROG:
        return None
    found = item.read(bytes(4), 0)
    return found if isinstance(found, bytes) else None


def functions_of(prog: Prog) -> tuple[FuncInfo, ...]:
    from bombus.verifier.program import FuncInfo

    size, data = prog.func_info
    return tuple(FuncInfo(*struct.unpack_from("<II", data, at)) for at in range(0, len(data), size or 1))


def lines_of(prog: Prog, btf: Btf) -> tuple[LineInfo, ...]:
    """Source lines, by the instructions where they begin."""
    from bombus.verifier.program import LineInfo

    size, data = prog.line_info
    found = []
    for at in range(0, len(data), size or 1):
        insn, file, line, place = _STRING.unpack_from(data, at)
        try:
            found.append(LineInfo(insn, btf.string(file), btf.string(line), place >> 10, place & 0x3FF, file))
        except BtfError:
            found.append(LineInfo(insn, "", "", place >> 10, place & 0x3FF, -1))
    return tuple(found)


# The log


def check_log(kernel: UserKernel, attr: Attr) -> None:
    """The log's attributes (bpf_verifier_log_attr_valid). KernelError(EINVAL)."""
    level, size, buffer = attr.get("log_level"), attr.get("log_size"), attr.get("log_buf")
    if kernel.version >= LOG_ROLLS:
        good = bool(buffer) == bool(size) and (level or not buffer) and not level & ~15 and size <= 0xFFFF_FFFF >> 2
    elif level or buffer or size:
        good = 128 <= size <= 0xFFFF_FFFF >> 2 and level and buffer and not level & ~7
    else:
        good = True
    if not good:
        raise KernelError(errno.EINVAL, CALL, "log_level, log_size and log_buf do not fit together")


def _log_verdict(kernel: UserKernel, attr: Attr, verdict: Verdict, note: str) -> KernelError | None:
    return finish_log(kernel, attr, verdict.log + note, start=verdict.log_start, peak=verdict.log_peak)


def finish_log(
    kernel: UserKernel, attr: Attr, text: str, *, start: int = 0, peak: int = 0
) -> KernelError | None:
    """Write a log. The error that overrules the verdict when it does not fit (ENOSPC) or cannot be written (EFAULT).

    start: characters at its beginning that had rolled out of the buffer; peak: the most it ever held.
    """
    level, size, buffer = attr.get("log_level"), attr.get("log_size"), attr.get("log_buf")
    if not level:
        return None
    data = text.encode("utf-8", "surrogateescape")
    whole = max(len(data), peak) + 1
    rolls = kernel.version >= LOG_ROLLS
    if buffer:
        if not rolls or level & _LOG_FIXED:
            kept = data[: size - 1]
        else:
            kept = data[max(start, len(data) + 1 - size) :]
        try:
            attr.write(buffer, kept + b"\0")
        except KernelError as error:
            return error
    if rolls:
        put(attr, "log_true_size", whole)
    full = whole > size if rolls else len(data) >= size - 1
    if buffer and full:
        return LoadError(errno.ENOSPC, CALL, f"the log of {whole} bytes does not fit into {size}", log=written(attr))
    return None


def written(attr: Attr) -> str:
    """What stands in the caller's log buffer."""
    size, buffer = attr.get("log_size"), attr.get("log_buf")
    if not attr.get("log_level") or not buffer or not size:
        return ""
    return attr.read(buffer, size).partition(b"\0")[0].decode("utf-8", "replace")
