"""What BPF_PROG_LOAD asks of its attributes, in the kernel's order.

Source: Linux 6.12 kernel/bpf/syscall.c bpf_prog_load, kernel/bpf/verifier.c bpf_check and bpf_vlog_init,
include/linux/license.h.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from bombus.errors import KernelError, LoadError, NeedsKernel, NotSupported
from bombus.isa import opcodes as op
from bombus.spec.attachtypes import ATTACH_TYPE, ATTACH_TYPE_BY_ID
from bombus.spec.progtypes import PROG_TYPE_BY_ID, ProgType
from bombus.spec.version import KernelVersion, since

if TYPE_CHECKING:
    from bombus.kernel.api import Attr
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog

CALL: Final = "BPF_PROG_LOAD"
MAX_INSNS: Final = 1_000_000
_GPL: Final = frozenset(
    {"GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"}
)
_NAME: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.")
_ATTACH_TO_PROGS: Final = frozenset({"BPF_PROG_TYPE_TRACING", "BPF_PROG_TYPE_EXT"})

F_SLEEPABLE: Final = 1 << 4
F_XDP_HAS_FRAGS: Final = 1 << 5
F_XDP_DEV_BOUND_ONLY: Final = 1 << 6
F_TOKEN_FD: Final = 1 << 16

# prog_flags and when they came (include/uapi/linux/bpf.h history).
_FLAGS: Final = {
    1 << 0: since("4.12"), 1 << 1: since("5.0"), 1 << 2: since("5.3"), 1 << 3: since("5.3"), 1 << 4: since("5.10"),
    1 << 5: since("5.18"), 1 << 6: since("6.3"), 1 << 7: since("6.8"), 1 << 16: since("6.9"),
}  # fmt: skip
_MAY_SLEEP: Final = frozenset("BPF_PROG_TYPE_" + name for name in ("TRACING", "LSM", "KPROBE", "STRUCT_OPS"))
_NO_ATTACH: Final = frozenset({"BPF_PROG_TYPE_SYSCALL", "BPF_PROG_TYPE_EXT"})
_BTF_ID: Final = frozenset(
    {"BPF_PROG_TYPE_TRACING", "BPF_PROG_TYPE_LSM", "BPF_PROG_TYPE_STRUCT_OPS", "BPF_PROG_TYPE_EXT"}
)


def check(kernel: UserKernel, attr: Attr) -> tuple[ProgType | None, int]:
    """The program type's row (None: unknown, said later) and the attach type with its default filled in."""
    flags = attr.get("prog_flags")
    known = sum(bit for bit, version in _FLAGS.items() if version <= kernel.version)
    if flags & ~known:
        raise KernelError(errno.EINVAL, CALL, f"prog_flags {flags & ~known:#x} are not known to Linux {kernel.version}")
    if flags & F_TOKEN_FD:
        raise NotSupported("BPF tokens", "the user kernel makes none")
    if flags & F_XDP_DEV_BOUND_ONLY or attr.get("prog_ifindex"):
        raise NotSupported("programs bound to a device", "the user kernel has no offloading devices")
    if attr.get("signature"):
        raise NotSupported("signed programs", "the user kernel has no keyrings")
    row = PROG_TYPE_BY_ID.get(attr.get("prog_type"))
    count = attr.get("insn_cnt")
    if not 0 < count <= MAX_INSNS:
        raise KernelError(errno.E2BIG, CALL, f"{count} instructions; 1 to {MAX_INSNS} are allowed")
    attach = _attach_type(kernel.version, attr, row)
    if attr.get("attach_btf_id") or attr.get("attach_prog_fd"):
        _check_target(kernel, attr, row)
    if row is not None and row.since > kernel.version:
        raise NeedsKernel(errno.EINVAL, CALL, feature=row.name, since=str(row.since), version=str(kernel.version))
    return row, attach


def target_of(kernel: UserKernel, attr: Attr) -> Prog | None:
    """The program that attach_prog_fd names, when it names one."""
    fd = attr.get("attach_prog_fd")
    file = kernel.fds.find(fd) if fd else None
    return file.obj if file is not None and file.obj.kind == "prog" else None  # type: ignore[return-value]


def _check_target(kernel: UserKernel, attr: Attr, row: ProgType | None) -> None:
    """bpf_prog_load, bpf_prog_load_check_attach: attach_prog_fd is a program, or the BTF of the kernel or a module."""
    number, fd = attr.get("attach_btf_id"), attr.get("attach_prog_fd")
    target = target_of(kernel, attr)
    if fd and target is None:
        file = kernel.fds.find(fd)
        if file is None or file.obj.kind != "btf":
            raise KernelError(errno.EINVAL, CALL, f"attach_prog_fd {fd} is neither a program nor BTF")
        if not file.obj.in_kernel:  # type: ignore[attr-defined]
            raise KernelError(524, CALL, "attach_btf_obj_fd is not BTF of the kernel")
        if not number:
            raise KernelError(errno.EINVAL, CALL, "attach_btf_obj_fd without attach_btf_id")
    if row is None or row.name not in _BTF_ID or (target is not None and row.name not in _ATTACH_TO_PROGS):
        raise KernelError(errno.EINVAL, CALL, "attach_btf_id and attach_prog_fd are for tracing, LSM, struct_ops, ext")
    if target is None and kernel.types() is None:
        raise NotSupported(
            "programs attached by BTF id", f"{row.short} programs need the types of a kernel: UserKernel(btf=...)"
        )


def _attach_type(version: KernelVersion, attr: Attr, row: ProgType | None) -> int:
    given = attr.get("expected_attach_type")
    if row is None:
        return given
    if given == 0 and row.default_attach:
        if ATTACH_TYPE[row.default_attach].since > version:
            return 0  # the type was there before its attach types
        given = ATTACH_TYPE[row.default_attach].id
    if row.attach_checked or (row.name in _NO_ATTACH and given):
        names = {ATTACH_TYPE[name].id for name in row.attach_types if ATTACH_TYPE[name].since <= version}
        if given not in names:
            known = ATTACH_TYPE_BY_ID.get(given)
            what = known.name if known else str(given)
            raise KernelError(errno.EINVAL, CALL, f"expected_attach_type {what} is not one of {row.short} programs")
    return given


def read_string(attr: Attr, address: int, limit: int) -> str:
    """A C string of at most `limit` - 1 bytes. KernelError(EFAULT)."""
    out = bytearray()
    while len(out) < limit - 1:
        # A page at most at a time, so that a string before an unmapped page can be read.
        step = min(16, limit - 1 - len(out))
        try:
            part = attr.read(address + len(out), step)
        except KernelError:
            part = attr.read(address + len(out), 1)
        end = part.find(0)
        if end >= 0:
            out += part[:end]
            break
        out += part
    return out.decode(errors="replace")


def license_is_gpl(text: str) -> bool:
    return text in _GPL


def name(attr: Attr) -> bytes:
    """prog_name, checked as bpf_obj_name_cpy does."""
    field = attr.command.by_name["prog_name"]
    raw = bytes(attr.raw[field.offset : field.offset + field.size]).ljust(16, b"\0")
    text = raw.partition(b"\0")[0]
    if len(text) == len(raw) or any(chr(byte) not in _NAME for byte in text):
        raise KernelError(errno.EINVAL, CALL, f"prog_name {text!r} is not up to 15 of letters, digits, _ and .")
    return text


def write_log(attr: Attr, text: str) -> None:
    """Put a text into the caller's log buffer, cut to its size and ended by a zero byte."""
    size, buffer = attr.get("log_size"), attr.get("log_buf")
    if attr.get("log_level") and size and buffer:
        attr.write(buffer, text.encode()[: size - 1] + b"\0")


def load_btf(kernel: UserKernel, attr: Attr, prog: Prog) -> None:
    """func_info and line_info: taken as they are when a BTF is given, refused without one (check_btf_info)."""
    if not attr.get("func_info_cnt") and not attr.get("line_info_cnt"):
        return  # core_relo_cnt alone is not looked at
    prog.btf = kernel.object(CALL, attr.get("prog_btf_fd"), "btf")
    prog.btf.get()
    for what, least in (("func_info", 8), ("line_info", 16)):
        count, size = attr.get(f"{what}_cnt"), attr.get(f"{what}_rec_size")
        if not count:
            continue
        if size < least or size > 252 or size % 4:
            raise KernelError(errno.EINVAL, CALL, f"{what}_rec_size {size}")
        if count > attr.get("insn_cnt"):
            raise KernelError(errno.EINVAL, CALL, f"{count} {what} records for {attr.get('insn_cnt')} instructions")
        setattr(prog, what, (size, attr.read(attr.get(what), size * count)))
    if attr.get("core_relo_cnt"):
        raise NotSupported("CO-RE relocation by the kernel", "let the loader relocate (it does by default)")


def sleepable(attr: Attr, prog: Prog) -> None:
    """Whether the type may have BPF_F_SLEEPABLE, or must (check_attach_btf_id)."""
    flag = bool(prog.flags & F_SLEEPABLE)
    if prog.type.name == "BPF_PROG_TYPE_SYSCALL":
        if not flag:
            raise _refuse(attr, errno.EINVAL, "prog_flags: Syscall programs can only be sleepable")
    elif flag and prog.type.name not in _MAY_SLEEP:
        text = "Only fentry/fexit/fmod_ret, lsm, iter, uprobe, and struct_ops programs can be sleepable"
        raise _refuse(attr, errno.EINVAL, "prog_flags: " + text)


def helpers(kernel: UserKernel, attr: Attr, prog: Prog) -> None:
    """Every helper that the program calls exists, is allowed to it, and has a body here."""
    from bombus.kernel.user import kfuncs

    for index, insn in enumerate(prog.insns):
        if insn.opcode != op.CALL:
            continue
        if insn.src == op.BPF_PSEUDO_KFUNC_CALL:
            name = kernel.function_name(insn.imm) if not insn.off else ""
            cast = name == "bpf_cast_to_kern_ctx" and not kfuncs.castable(prog.expected_attach_type)
            if not name or cast or not kfuncs.bound(name):
                what = f"calls {name}" if name else f"calls BTF id {insn.imm}"
                raise NotSupported("this kernel function (kfunc) in the user kernel", f"instruction {index} {what}")
        if insn.src == 0:
            _helper(kernel, attr, prog, index, insn.imm)


def _helper(kernel: UserKernel, attr: Attr, prog: Prog, index: int, number: int) -> None:
    from bombus.kernel.user.helpers.registry import bound
    from bombus.spec.helpers import HELPER_BY_ID, group_of_target, prototype_for

    row = HELPER_BY_ID.get(number)
    if prog.facts is not None and (row is None or row.since > kernel.version):
        return  # the verifier has seen that the call is never reached
    if row is None or number == 0:
        raise _refuse(attr, errno.EINVAL, f"instruction {index}: invalid func unknown#{number}")
    if row.since > kernel.version:
        feature = f"helper bpf_{row.name}"
        write_log(attr, f"invalid func unknown#{number}\n")
        raise NeedsKernel(errno.EINVAL, CALL, feature=feature, since=str(row.since), version=str(kernel.version))
    sleepable = bool(prog.flags & F_SLEEPABLE)
    acts, attach = prog.acts_as, prog.acts_attach_type
    group, _passes = group_of_target(row.name, acts.id, attach, kernel.version)
    if group is None:  # what depends on the target, the verifier has judged
        raise _refuse(
            attr, errno.EINVAL,
            f"instruction {index}: program of this type cannot use helper bpf_{row.name}#{number} ({acts.short})",
        )
    if prototype_for(row, acts.id, sleepable).gpl_only and not prog.gpl:
        raise _refuse(
            attr, errno.EINVAL,
            f"instruction {index}: cannot call GPL-restricted function bpf_{row.name} from non-GPL compatible program",
        )
    if not bound(number):
        raise LoadError(
            errno.EINVAL, CALL, f"instruction {index}: helper bpf_{row.name}#{number} is not in the user kernel yet"
        )


def _refuse(attr: Attr, number: int, message: str) -> LoadError:
    write_log(attr, message.partition(": ")[2] + "\n")
    return LoadError(number, CALL, message)
