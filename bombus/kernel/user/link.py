"""BPF_LINK_CREATE, _UPDATE and _DETACH: XDP, tcx, cgroups, iterators. Linux 6.12 kernel/bpf/syscall.c link_create.

The other kinds of links have no hook in the user kernel: NotSupported.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bombus.errors import KernelError, NotSupported
from bombus.kernel.user import iterate, sockmap, steering, tracelink
from bombus.kernel.user.chain import F_AFTER, F_ALLOW_MULTI, F_BEFORE, F_ID, F_LINK, F_REPLACE, Chain, Entry
from bombus.kernel.user.commands import command
from bombus.kernel.user.devices import XdpSlot, hooks_of, network_of, xdp_mode
from bombus.kernel.user.prog import Prog
from bombus.kernel.user.userlink import UserLink
from bombus.kernel.user.world.cgroups import Cgroup
from bombus.spec.attachtypes import ATTACH_TYPE_BY_ID, AttachType
from bombus.spec.version import since

if TYPE_CHECKING:
    from bombus.kernel.api import Attr
    from bombus.kernel.user.kernel import UserKernel

CALL = "BPF_LINK_CREATE"
_CGROUP_ORDER = since("6.17")


@command(CALL)
def link_create(kernel: UserKernel, attr: Attr) -> int:
    row = ATTACH_TYPE_BY_ID.get(attr.get("attach_type"))
    if row is None or row.since > kernel.version:
        raise KernelError(errno.EINVAL, CALL, f"attach type {attr.get('attach_type')}")
    if row.link_type == "BPF_LINK_TYPE_STRUCT_OPS":
        raise NotSupported("struct_ops links", "the user kernel has nothing to register a struct_ops with")
    prog = kernel.object(CALL, attr.get("prog_fd"), "prog")
    assert isinstance(prog, Prog)
    if prog.type.name == "BPF_PROG_TYPE_EXT":  # whatever the attach type
        return kernel.install(_to_program(kernel, attr, prog), CALL)
    check_prog(CALL, prog, row)
    if row.name == "BPF_XDP":
        return kernel.install(_xdp(kernel, attr, prog), CALL)
    if row.link_type == "BPF_LINK_TYPE_TCX":
        return kernel.install(_tcx(kernel, attr, prog, row), CALL)
    if row.target == "cgroup":
        return kernel.install(_cgroup(kernel, attr, prog, row), CALL)
    if row.name == "BPF_SK_MSG_VERDICT":
        return kernel.install(sockmap.create_link(kernel, attr, prog, row), CALL)
    if row.target == "netns" or row.link_type == "BPF_LINK_TYPE_NETNS":
        return kernel.install(steering.create_link(kernel, attr, prog, row), CALL)
    if row.name == "BPF_TRACE_ITER":
        return kernel.install(iterate.create_link(kernel, attr, prog), CALL)
    if prog.type.name in ("BPF_PROG_TYPE_TRACING", "BPF_PROG_TYPE_LSM"):
        if prog.expected_attach_type != row.id:
            raise KernelError(errno.EINVAL, CALL, f"the program was loaded for another attach type than {row.name}")
        if prog.target_type is not None or attr.get("target_fd") or attr.get("tracing_target_btf_id"):
            return kernel.install(_to_program(kernel, attr, prog), CALL)
        return kernel.install(tracelink.create_link(kernel, prog, attr.get("tracing_cookie")), CALL)
    raise NotSupported(f"{row.name} links", "the user kernel has no such hook")


def _to_program(kernel: UserKernel, attr: Attr, prog: Prog) -> UserLink:
    from bombus.kernel.user import proglinks

    return proglinks.create_link(
        kernel, prog, attr.get("tracing_cookie"), attr.get("target_fd"), attr.get("tracing_target_btf_id")
    )


def check_prog(call: str, prog: Prog, row: AttachType) -> None:
    """Does a program go with an attach type? bpf_prog_attach_check_attach_type."""
    if prog.type.name not in row.prog_types:
        raise KernelError(errno.EINVAL, call, f"a {prog.type.short} program does not attach as {row.name}")
    fixed = ("CGROUP_SOCK", "CGROUP_SOCK_ADDR", "CGROUP_SOCKOPT", "SK_LOOKUP")
    if prog.type.name.removeprefix("BPF_PROG_TYPE_") in fixed and prog.expected_attach_type != row.id:
        raise KernelError(errno.EINVAL, call, f"the program was loaded for another attach type than {row.name}")


def _xdp(kernel: UserKernel, attr: Attr, prog: Prog) -> UserLink:
    if attr.get("flags") & ~0xE:
        raise KernelError(errno.EINVAL, CALL, f"flags {attr.get('flags'):#x}")
    try:
        device = network_of(kernel).device(attr.get("target_ifindex"))
    except KernelError:
        raise KernelError(errno.EINVAL, CALL, f"there is no interface {attr.get('target_ifindex')}") from None
    mode = xdp_mode(CALL, device, attr.get("flags"), prog)
    hooks = hooks_of(device)
    if mode in hooks.xdp:
        raise KernelError(errno.EBUSY, CALL, f"{device.name} has an XDP program already")
    if {"native": "skb", "skb": "native"}.get(mode, "") in hooks.xdp:
        raise KernelError(errno.EEXIST, CALL, "Native and generic XDP can't be active at the same time")
    link = UserLink(kernel, "xdp", prog, {"xdp_ifindex": device.ifindex})
    hooks.xdp[mode] = XdpSlot(prog, link)

    def undo() -> None:
        slot = hooks.xdp.get(mode)
        if slot is not None and slot.link is link:
            del hooks.xdp[mode]

    def change(new: Prog) -> None:
        xdp_mode("BPF_LINK_UPDATE", device, 0, new)
        hooks.xdp[mode].prog = new

    link.undo, link.change = undo, change
    return link


def relative(kernel: UserKernel, call: str, attr: Attr, flags: int, field: str) -> Prog | UserLink | None:
    """The program or link that BPF_F_BEFORE and BPF_F_AFTER count from."""
    number = attr.get(f"{field}_fd")
    kind = "link" if flags & F_LINK else "prog"
    if flags & F_ID:
        found = kernel.ids[kind].find(number) if number else None
        if number and found is None:
            raise KernelError(errno.ENOENT, call, f"there is no {kind} {number}")
        return found  # type: ignore[return-value]
    if not number:
        if flags & F_LINK:
            raise KernelError(errno.EINVAL, call, "BPF_F_LINK without a link")
        return None
    return kernel.object(call, number, kind)  # type: ignore[return-value]


def _tcx(kernel: UserKernel, attr: Attr, prog: Prog, row: AttachType) -> UserLink:
    flags = attr.get("flags")
    if flags & ~(F_BEFORE | F_AFTER | F_ID | F_LINK):
        raise KernelError(errno.EINVAL, CALL, f"flags {flags:#x}")
    device = network_of(kernel).device(attr.get("target_ifindex"))
    chain = hooks_of(device).tcx["ingress" if row.name == "BPF_TCX_INGRESS" else "egress"]
    link = UserLink(kernel, "tcx", prog, {"tcx_ifindex": device.ifindex, "tcx_attach_type": row.id})
    entry = Entry(prog, link)
    anchor = relative(kernel, CALL, attr, flags, "tcx_relative")
    _insert(chain, link, entry, flags, anchor, attr.get("tcx_expected_revision"))
    return link


def _insert(
    chain: Chain, link: UserLink, entry: Entry, flags: int, anchor: Prog | UserLink | None, revision: int, *,
    unique: bool = True,
) -> None:  # fmt: skip
    try:
        chain.insert(CALL, entry, flags, anchor, revision, unique=unique)
    except KernelError:
        link.attached = False
        link.prog.put()
        raise

    def undo() -> None:
        if chain.find(None, link) >= 0:
            chain.remove("BPF_LINK_DETACH", None, link)

    def change(new: Prog) -> None:
        entry.prog = new
        chain.revision += 1

    link.undo, link.change = undo, change


def _cgroup(kernel: UserKernel, attr: Attr, prog: Prog, row: AttachType) -> UserLink:
    flags = attr.get("flags")
    allowed = F_BEFORE | F_AFTER | F_ID | F_LINK if kernel.version >= _CGROUP_ORDER else 0
    if flags & ~allowed:
        raise KernelError(errno.EINVAL, CALL, f"flags {flags:#x}")
    group = kernel.object(CALL, attr.get("target_fd"), "cgroup")
    assert isinstance(group, Cgroup)
    key = tracelink.cgroup_key(kernel, CALL, prog, row)
    check_mode(CALL, group, key, F_ALLOW_MULTI)
    facts = {"cgroup_cgroup_id": group.number, "cgroup_attach_type": row.id}
    link = UserLink(kernel, "cgroup", prog, facts)
    anchor = relative(kernel, CALL, attr, flags, "cgroup_relative") if allowed else None
    revision = attr.get("cgroup_expected_revision") if allowed else 0
    tracelink.watch_cgroups(kernel, prog, key)
    _insert(group.chain(key), link, Entry(prog, link), flags, anchor, revision, unique=False)
    group.modes[key] = F_ALLOW_MULTI
    group.provide_storage(prog, row.id)
    _provide_with_updates(link, group, row.id)
    return link


def _provide_with_updates(link: UserLink, group: Cgroup, attach_type: int) -> None:
    """A program that replaces the link's has its storage too."""
    exchange = link.change
    assert exchange is not None

    def change(new: Prog) -> None:
        exchange(new)
        group.provide_storage(new, attach_type)

    link.change = change


def check_mode(call: str, group: Cgroup, number: int, mode: int) -> None:
    """May a program be attached in this mode? EPERM as __cgroup_bpf_attach."""
    if not group.may_attach(number):
        raise KernelError(errno.EPERM, call, "a cgroup above forbids programs below it")
    if len(group.chain(number)) and group.modes.get(number, 0) != mode:
        raise KernelError(errno.EPERM, call, "programs are attached there in another mode")


@command("BPF_LINK_UPDATE")
def link_update(kernel: UserKernel, attr: Attr) -> int:
    call = "BPF_LINK_UPDATE"
    flags = attr.get("flags")
    if flags & ~F_REPLACE:
        raise KernelError(errno.EINVAL, call, f"flags {flags:#x}")
    link = kernel.object(call, attr.get("link_fd"), "link")
    new = kernel.object(call, attr.get("new_prog_fd"), "prog")
    assert isinstance(link, UserLink) and isinstance(new, Prog)
    if flags & F_REPLACE:
        old = kernel.object(call, attr.get("old_prog_fd"), "prog")
        if old is not link.prog:
            raise KernelError(errno.EPERM, call, "another program is attached than the old one that was named")
    elif attr.get("old_prog_fd"):
        raise KernelError(errno.EINVAL, call, "old_prog_fd needs BPF_F_REPLACE")
    if not link.attached:
        raise KernelError(errno.ENOLINK, call, "the link is detached")
    if new.type is not link.prog.type or new.expected_attach_type != link.prog.expected_attach_type:
        raise KernelError(errno.EINVAL, call, "the new program is of another type")
    if new.attach_btf_id != link.prog.attach_btf_id and link.row.name == "BPF_LINK_TYPE_CGROUP":
        raise KernelError(errno.ENOENT, call, "the new program is of another hook")
    if link.change is None:
        raise KernelError(errno.EINVAL, call, "this kind of link has no update")
    link.change(new)
    new.get()
    link.prog.put()
    link.prog = new
    return 0


@command("BPF_LINK_DETACH")
def link_detach(kernel: UserKernel, attr: Attr) -> int:
    link = kernel.object("BPF_LINK_DETACH", attr.get("link_fd"), "link")
    assert isinstance(link, UserLink)
    link.detach()
    return 0
