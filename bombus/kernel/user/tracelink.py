"""BPF_RAW_TRACEPOINT_OPEN, and links of tracing and LSM programs. Linux 6.12 kernel/bpf/syscall.c
(bpf_raw_tracepoint_open, bpf_raw_tp_link_attach, bpf_tracing_prog_attach)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from bombus.btf.types import Kind
from bombus.errors import KernelError, NotSupported
from bombus.kernel.user.commands import command
from bombus.kernel.user.prog import Prog
from bombus.kernel.user.progcheck import read_string
from bombus.kernel.user.trampoline import CALL, CALLED, KINDS, check_bpf, hooks_of
from bombus.kernel.user.userlink import UserLink
from bombus.kernel.user.world.cgroups import KIND
from bombus.spec.attachtypes import ATTACH_TYPE, ATTACH_TYPE_BY_ID, AttachType

if TYPE_CHECKING:
    from bombus.kernel.api import Attr
    from bombus.kernel.user.kernel import UserKernel

_NAME_ROOM: Final = 128
_RAW_TP: Final = ATTACH_TYPE["BPF_TRACE_RAW_TP"].id
_PREFIX: Final = "btf_trace_"
_RAW: Final = frozenset({"BPF_PROG_TYPE_RAW_TRACEPOINT", "BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE"})
_EXT: Final = "BPF_PROG_TYPE_EXT"
_BY_BTF: Final = frozenset({"BPF_PROG_TYPE_TRACING", "BPF_PROG_TYPE_LSM"})


@command(CALL)
def raw_tracepoint_open(kernel: UserKernel, attr: Attr) -> int:
    prog = kernel.object(CALL, attr.get("prog_fd"), "prog")
    assert isinstance(prog, Prog)
    cookie = attr.get("cookie") if "cookie" in attr.command.by_name else 0
    if prog.type.name in _RAW:
        name = read_string(attr, attr.get("name"), _NAME_ROOM)
        return kernel.install(_point(kernel, prog, name, cookie), CALL)
    if prog.type.name not in _BY_BTF and prog.type.name != _EXT:
        raise KernelError(errno.EINVAL, CALL, f"a {prog.type.short} program does not attach this way")
    if attr.get("name"):
        raise KernelError(errno.EINVAL, CALL, "the program was loaded for its target: give no name")
    return kernel.install(create_link(kernel, prog, cookie), CALL)


def create_link(kernel: UserKernel, prog: Prog, cookie: int) -> UserLink:
    """The link of a tracing or LSM program, or of an extension, to the target that it was loaded for."""
    if prog.type.name == _EXT or prog.target_type is not None:
        from bombus.kernel.user import proglinks

        return proglinks.create_link(kernel, prog, cookie)
    if prog.expected_attach_type == _RAW_TP:
        return _point(kernel, prog, _type_name(kernel, prog).removeprefix(_PREFIX), cookie)
    row = ATTACH_TYPE_BY_ID[prog.expected_attach_type]
    kind = KINDS.get(row.name)
    if kind is None:
        raise NotSupported(f"{row.name} links", "the user kernel has no such hook")
    name = kernel.function_name(prog.attach_btf_id)
    if name not in CALLED:
        raise NotSupported(f"{row.name} of {name}", f"the user kernel calls no such function; there are {_CALLED_TEXT}")
    facts = {"tracing_attach_type": row.id, "tracing_target_btf_id": prog.attach_btf_id}
    link = UserLink(kernel, "tracing", prog, facts)
    try:
        hooks_of(kernel).add_function(name, kind, link, cookie)
    except KernelError:
        link.attached = False
        prog.put()
        raise
    if name == "bpf_lsm_bpf":
        kernel.on_bpf = check_bpf
    return link


def key_of(prog: Prog) -> int:
    """Under which key of `Cgroup.chains` a program for a security hook of cgroups is."""
    return prog.expected_attach_type | prog.attach_btf_id << KIND.bit_length()


def cgroup_key(kernel: UserKernel, call: str, prog: Prog, row: AttachType) -> int:
    """Where in a cgroup a program is attached: `Cgroup.chains`. NotSupported for a security hook that never happens."""
    if row.name != "BPF_LSM_CGROUP":
        return row.id
    if prog.expected_attach_type != row.id:
        raise KernelError(errno.EINVAL, call, f"the program was loaded for another attach type than {row.name}")
    name = kernel.function_name(prog.attach_btf_id)
    if name not in CALLED:
        raise NotSupported(f"{row.name} of {name}", f"the user kernel calls no such function; there are {_CALLED_TEXT}")
    return key_of(prog)


def watch_cgroups(kernel: UserKernel, prog: Prog, key: int) -> None:
    """Before a program is attached to a cgroup: its security hook asks the programs of cgroups from now on."""
    if key <= KIND:
        return
    name = kernel.function_name(prog.attach_btf_id)
    hooks_of(kernel).add_cgroups(name, key, first=not kernel.cgroups.has(key))
    if name == "bpf_lsm_bpf":
        kernel.on_bpf = check_bpf


_CALLED_TEXT: Final = ", ".join(CALLED)


def _type_name(kernel: UserKernel, prog: Prog) -> str:
    types = kernel.types()
    assert types is not None  # the program was loaded by a number of it
    return types.name(prog.attach_btf_id)


def _point(kernel: UserKernel, prog: Prog, name: str, cookie: int) -> UserLink:
    """A tracepoint is there when the kernel's types have it; a kernel without types takes every name."""
    types = kernel.types()
    if types is not None and types.find(_PREFIX + name, Kind.TYPEDEF) is None:
        raise KernelError(errno.ENOENT, CALL, f"the kernel has no tracepoint {name!r}")
    link = UserLink(kernel, "raw_tracepoint", prog, {}, name=("raw_tracepoint_tp_name", name))
    hooks_of(kernel).add_point(name, link, cookie)
    return link
