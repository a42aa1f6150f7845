"""BPF_PROG_ATTACH, _DETACH and _QUERY. Linux 6.12 kernel/bpf/syscall.c bpf_prog_attach, kernel/bpf/cgroup.c, tcx.c."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bombus.errors import KernelError, NotSupported
from bombus.kernel.user import sockmap
from bombus.kernel.user.chain import (
    F_AFTER,
    F_ALLOW_MULTI,
    F_ALLOW_OVERRIDE,
    F_BEFORE,
    F_ID,
    F_LINK,
    F_PREORDER,
    F_REPLACE,
    Chain,
    Entry,
)
from bombus.kernel.user.commands import command, put
from bombus.kernel.user.devices import hooks_of, network_of
from bombus.kernel.user.link import check_mode, check_prog, relative
from bombus.kernel.user.prog import Prog
from bombus.kernel.user.tracelink import cgroup_key, watch_cgroups
from bombus.kernel.user.world.cgroups import Cgroup, check_flags
from bombus.spec.attachtypes import ATTACH_TYPE, ATTACH_TYPE_BY_ID, AttachType
from bombus.spec.version import since

if TYPE_CHECKING:
    from bombus.kernel.api import Attr
    from bombus.kernel.user.kernel import UserKernel

_CGROUP_ORDER = since("6.17")
_ORDER = F_BEFORE | F_AFTER | F_ID | F_LINK
F_QUERY_EFFECTIVE = 1
_SK_MSG = ATTACH_TYPE["BPF_SK_MSG_VERDICT"].id


def _row(kernel: UserKernel, call: str, attr: Attr) -> AttachType:
    row = ATTACH_TYPE_BY_ID.get(attr.get("attach_type"))
    if row is None or row.since > kernel.version:
        raise KernelError(errno.EINVAL, call, f"attach type {attr.get('attach_type')}")
    if row.link_type not in ("BPF_LINK_TYPE_CGROUP", "BPF_LINK_TYPE_TCX"):
        raise NotSupported(f"{call} of {row.name}", "the user kernel has no such hook")
    return row


def _chain(kernel: UserKernel, call: str, attr: Attr, row: AttachType, key: int) -> tuple[Chain, Cgroup | None]:
    if row.target == "cgroup":
        group = kernel.object(call, attr.get("target_fd"), "cgroup")
        assert isinstance(group, Cgroup)
        return group.chain(key), group
    device = network_of(kernel).device(attr.get("target_ifindex"))
    return hooks_of(device).tcx["ingress" if row.name == "BPF_TCX_INGRESS" else "egress"], None


def _prog(kernel: UserKernel, call: str, fd: int) -> Prog:
    prog = kernel.object(call, fd, "prog")
    assert isinstance(prog, Prog)
    return prog


@command("BPF_PROG_ATTACH")
def prog_attach(kernel: UserKernel, attr: Attr) -> int:
    call = "BPF_PROG_ATTACH"
    if attr.get("attach_type") == _SK_MSG:
        prog = _prog(kernel, call, attr.get("attach_bpf_fd"))
        check_prog(call, prog, ATTACH_TYPE_BY_ID[_SK_MSG])
        sockmap.attach(kernel, attr, prog)
        return 0
    row = _row(kernel, call, attr)
    flags = attr.get("attach_flags")
    prog = _prog(kernel, call, attr.get("attach_bpf_fd"))
    check_prog(call, prog, row)
    key = cgroup_key(kernel, call, prog, row)
    chain, group = _chain(kernel, call, attr, row, key)
    replace = _prog(kernel, call, attr.get("replace_bpf_fd")) if flags & F_REPLACE else None
    entry = Entry(prog)
    if group is None:
        if flags & ~(_ORDER | F_REPLACE):
            raise KernelError(errno.EINVAL, call, f"attach_flags {flags:#x}")
        anchor = relative(kernel, call, attr, flags, "relative")
        old = chain.insert(call, entry, flags, anchor, attr.get("expected_revision"), replace)
        _exchange(prog, old)
        return 0
    check_flags(call, flags)
    allowed = F_ALLOW_MULTI | F_ALLOW_OVERRIDE | F_REPLACE | F_PREORDER
    if flags & ~(allowed | (_ORDER if kernel.version >= _CGROUP_ORDER else 0)):
        raise KernelError(errno.EINVAL, call, f"attach_flags {flags:#x}")
    mode = flags & (F_ALLOW_MULTI | F_ALLOW_OVERRIDE)
    if flags & F_REPLACE and not mode & F_ALLOW_MULTI:
        raise KernelError(errno.EINVAL, call, "BPF_F_REPLACE goes with BPF_F_ALLOW_MULTI")
    check_mode(call, group, key, mode)
    watch_cgroups(kernel, prog, key)
    if mode & F_ALLOW_MULTI:
        if any(e.prog is prog for e in chain.entries):
            raise KernelError(errno.EINVAL, call, "the program is attached there already")
        anchor = relative(kernel, call, attr, flags, "relative") if flags & _ORDER else None
        old = chain.insert(call, entry, flags, anchor, 0, replace, unique=False)
    else:
        old = chain.entries[0] if chain.entries else None
        chain.entries[:] = [entry]
        chain.revision += 1
    group.modes[key] = mode
    group.provide_storage(prog, row.id)
    _exchange(prog, old)
    return 0


def _exchange(prog: Prog, old: Entry | None) -> None:
    prog.get()
    if old is not None:
        old.prog.put()


@command("BPF_PROG_DETACH")
def prog_detach(kernel: UserKernel, attr: Attr) -> int:
    call = "BPF_PROG_DETACH"
    if attr.get("attach_type") == _SK_MSG:
        sockmap.detach(kernel, attr, _prog(kernel, call, attr.get("attach_bpf_fd")))
        return 0
    row = _row(kernel, call, attr)
    key = row.id
    if row.name == "BPF_LSM_CGROUP":
        if not attr.get("attach_bpf_fd"):
            raise KernelError(errno.EINVAL, call, "say which program")
        key = cgroup_key(kernel, call, _prog(kernel, call, attr.get("attach_bpf_fd")), row)
    chain, group = _chain(kernel, call, attr, row, key)
    if group is not None and not group.modes.get(key, 0) & F_ALLOW_MULTI:
        if not chain.entries:
            raise KernelError(errno.ENOENT, call, "nothing is attached there")
        chain.revision += 1
        chain.entries.pop().prog.put()
        return 0
    if not attr.get("attach_bpf_fd"):
        raise KernelError(errno.EINVAL if group is not None else errno.ENOENT, call, "say which program")
    prog = _prog(kernel, call, attr.get("attach_bpf_fd"))
    chain.remove(call, prog, None).prog.put()
    return 0


@command("BPF_PROG_QUERY")
def prog_query(kernel: UserKernel, attr: Attr) -> int:
    call = "BPF_PROG_QUERY"
    row = _row(kernel, call, attr)
    flags = attr.get("query_flags")
    if row.name == "BPF_LSM_CGROUP":
        raise NotSupported(f"{call} of {row.name}", "ask the links of the user kernel")
    chain, group = _chain(kernel, call, attr, row, row.id)
    if flags & ~F_QUERY_EFFECTIVE or (flags and group is None):
        raise KernelError(errno.EINVAL, call, f"query_flags {flags:#x}")
    if group is not None and flags & F_QUERY_EFFECTIVE:
        ids, links = [one.prog.id for one in group.effective(row.id)], []
    else:
        ids = [entry.prog.id for entry in chain.entries]
        links = [entry.link.id if entry.link is not None else 0 for entry in chain.entries]
        if group is not None:
            put(attr, "attach_flags", group.modes.get(row.id, 0) if len(chain) else 0)
    room, address = attr.get("prog_cnt"), attr.get("prog_ids")
    put(attr, "prog_cnt", len(ids))
    if "revision" in attr.command.by_name and (group is None or kernel.version >= _CGROUP_ORDER):
        put(attr, "revision", chain.revision)
    if not address or not room:
        return 0
    attr.write(address, b"".join(n.to_bytes(4, "little") for n in ids[:room]))
    if group is None and attr.get("link_ids"):
        attr.write(attr.get("link_ids"), b"".join(n.to_bytes(4, "little") for n in links[:room]))
    if room < len(ids):
        raise KernelError(errno.ENOSPC, call, f"{len(ids)} programs are attached")
    return 0
