"""Attaching to interfaces, network namespaces and routes.

Facts: Linux 6.12 net/core/dev.c (bpf_xdp_link_attach), kernel/bpf/tcx.c, drivers/net/netkit.c,
net/netfilter/nf_bpf_link.c, kernel/bpf/net_namespace.c.
"""

from __future__ import annotations

import errno
import itertools
import os
from typing import TYPE_CHECKING, Any

from bombus.errors import KernelError, NotSupported, UsageError
from bombus.kernel.handles.attach.targets import attach_type, has_links, interface, names, opened, order
from bombus.kernel.handles.attachment import Attachment
from bombus.kernel.handles.links import Link
from bombus.kernel.sites import NoWatch, TcFilter
from bombus.spec.attachtypes import ATTACH_TYPE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bombus.kernel.api import Kernel
    from bombus.kernel.handles.attach.targets import Path
    from bombus.kernel.handles.programs import Program
    from bombus.kernel.sites import Sites, Watch

# include/uapi/linux/if_link.h: XDP_FLAGS_*
XDP_MODES = {"": 0, "skb": 1 << 1, "native": 1 << 2, "offload": 1 << 3}
XDP_UPDATE_IF_NOEXIST = 1
# include/uapi/linux/pkt_sched.h: TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS / EGRESS)
TC_PARENTS = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}
_NETFILTER_HOOKS = {"prerouting": 0, "local_in": 1, "forward": 2, "local_out": 3, "postrouting": 4}
_NETFILTER_PF = {"ipv4": 2, "ipv6": 10}
_DEFRAG = 1  # BPF_F_NETFILTER_IP_DEFRAG


def attach_xdp(
    program: Program, target: str | int, *, mode: str = "", netlink: bool | None = None,
    replace: Program | bool = False, dispatcher: bool = False, priority: int | None = None,
    chain: Sequence[str] | str | None = None,
) -> Link | Attachment:  # fmt: skip
    """An XDP program to an interface (name or number).

    mode: "native" (the driver's), "skb" (generic), "offload", "" (the kernel chooses). netlink: the way without a
    link (None: where the kernel has no XDP links, before 5.9).
    replace (netlink only): the program that must be there now, or True for whichever is.
    dispatcher: share the interface with other programs, also those of libxdp (Linux 5.10, see `attach.dispatcher`).
    priority: lower ones run first; chain: the answers ("pass", "drop", ...) that let the next program run; None: as the
    object's .xdp_run_config says, else 50 and "pass".
    """
    kernel = program.kernel
    ifindex = interface(kernel, target)
    if mode not in XDP_MODES:
        raise UsageError(f"XDP mode {mode!r}: it is one of {', '.join(m for m in XDP_MODES if m)}, or ''")
    if dispatcher:
        if netlink is not None or replace is not False or mode == "offload":
            raise UsageError("netlink, replace and mode='offload' do not go with a dispatcher")
        from bombus.kernel.handles.attach.dispatcher import attach

        return attach(program, ifindex, mode, priority, chain)
    if priority is not None or chain is not None:
        raise UsageError("priority and chain go with dispatcher=True")
    if netlink is None:
        netlink = replace is not False or not has_links(kernel, ATTACH_TYPE["BPF_XDP"])
    if not netlink:
        if replace is not False:
            raise UsageError("replace goes with netlink; a link has update()")
        try:
            return Link.create(kernel, program, "BPF_XDP", ifindex=ifindex, flags=XDP_MODES[mode])
        except KernelError as error:
            raise _in_the_way(kernel, kernel.sites, ifindex, error) from error.__cause__
    flags = XDP_MODES[mode] | (XDP_UPDATE_IF_NOEXIST if replace is False else 0)
    sites, number = kernel.sites.bound(), program.id
    watch: Watch = NoWatch()
    try:
        spare = [one for one in sites.xdp_query(ifindex).ids.values() if one == number]
        watch = sites.watch("xdp", ifindex=ifindex, flags=XDP_MODES[mode], ids=[number], spare=spare)
        sites.xdp_set(ifindex, program.fd, flags, replace.fd if replace and not isinstance(replace, bool) else None)
    except BaseException as error:
        if isinstance(error, KernelError):
            error = _in_the_way(kernel, sites, ifindex, error)
        watch.forget()
        sites.close()
        raise error
    if spare:
        watch.set(spare=[])

    def change(new: Program, old: Program | None) -> None:
        nonlocal number
        watch.set(ids=[number, new.id])
        sites.xdp_set(ifindex, new.fd, XDP_MODES[mode], old.fd if old is not None else None)
        number = new.id
        watch.set(ids=[number])

    def undo() -> None:
        # Not another's program: what is there may have been exchanged since.
        try:
            if number in sites.xdp_query(ifindex).ids.values():
                sites.xdp_set(ifindex, -1, XDP_MODES[mode], None)
        except KernelError as error:
            if error.errno != 19:  # ENODEV: the interface is gone
                raise
        finally:
            sites.close()

    facts = {"ifindex": ifindex, "mode": mode, "prog_id": number}
    return Attachment("xdp netlink", undo, facts=facts, change=change, watch=watch)


def _in_the_way(kernel: Kernel, sites: Sites, ifindex: int, error: KernelError) -> KernelError:
    """The same error; one that says so when a dispatcher is where a program was to go."""
    if error.errno not in (errno.EBUSY, errno.EEXIST):
        return error
    from bombus.kernel.handles.attach.dispatcher import attached, words_for

    try:
        found = attached(kernel, sites, ifindex)
        if found is None:
            return error
        with found[0] as there:
            words = words_for(there, ifindex)
    except (KernelError, NotSupported):
        return error  # this was only to say more
    return KernelError(error.errno, error.call, words) if words else error


def attach_tcx(
    program: Program, target: str | int, direction: str = "", *, before: Program | Link | str | None = None,
    after: Program | Link | str | None = None, revision: int = 0,
) -> Link:  # fmt: skip
    """A tc program to an interface by a tcx link (Linux 6.6). direction: "ingress", "egress", "" as in the section.

    before, after: a program or link there, or "all". revision: refuse (ESTALE) unless the list is still this one.
    """
    return _ordered(program, target, "tcx", _direction(program, direction, "TCX"), before, after, revision)


def attach_netkit(
    program: Program, target: str | int, side: str = "", *, before: Program | Link | str | None = None,
    after: Program | Link | str | None = None, revision: int = 0,
) -> Link:  # fmt: skip
    """A tc program to a netkit device, named by its primary side (Linux 6.7). side: "primary" or "peer"."""
    if not side:
        name = program.origin.attach_type
    elif side in ("primary", "peer"):
        name = f"BPF_NETKIT_{side.upper()}"
    else:
        raise UsageError(f"netkit side {side!r}: it is primary or peer")
    return _ordered(program, target, "netkit", name, before, after, revision)


def _direction(program: Program, direction: str, family: str) -> str:
    if not direction:
        given = program.origin.attach_type
        if given.startswith("BPF_TCX_"):
            return given
        raise UsageError(f"{program.name or 'this program'}: say the direction, ingress or egress")
    if direction not in TC_PARENTS:
        raise UsageError(f"direction {direction!r}: it is ingress or egress")
    return f"BPF_{family}_{direction.upper()}"


def _ordered(
    program: Program, target: str | int, kind: str, name: str, before: Program | Link | str | None,
    after: Program | Link | str | None, revision: int,
) -> Link:  # fmt: skip
    flags, relative = order(before, after)
    fields: dict[str, Any] = names({f"{kind}_relative_fd": relative, f"{kind}_expected_revision": revision or None})
    row = attach_type(program, name)
    return Link.create(
        program.kernel, program, row.name, ifindex=interface(program.kernel, target), flags=flags, **fields
    )


def attach_tc(
    program: Program, target: str | int, direction: str = "", *, tcx: bool | None = None, handle: int = 0,
    priority: int = 0, replace: bool = False,
) -> Link | Attachment:  # fmt: skip
    """A tc program to an interface: by a tcx link, or (tcx=False, or before Linux 6.6) as a clsact classifier.

    handle, priority: of the classifier; 0 lets the kernel choose. replace: the classifier with this handle and
    priority. The clsact qdisc is made when missing, and taken away again when it was, and no other filter is left.
    """
    kernel = program.kernel
    if tcx is None:
        tcx = not (handle or priority or replace) and has_links(kernel, ATTACH_TYPE["BPF_TCX_INGRESS"])
    if tcx:
        return attach_tcx(program, target, direction)
    way = direction or program.origin.attach_type.removeprefix("BPF_TCX_").lower()
    if way not in TC_PARENTS:
        raise UsageError(f"{program.name or 'this program'}: say the direction, ingress or egress")
    if replace and not (handle and priority):
        raise UsageError("replace names a classifier by handle and priority")
    ifindex = interface(kernel, target)
    name = f"{program.name or 'bombus'}:[{program.id}]"
    wanted = TcFilter(ifindex, TC_PARENTS[way], handle, priority, 0, name)
    sites, made, number = kernel.sites.bound(), False, program.id
    watch: Watch = NoWatch()
    try:
        watch = sites.watch(
            "tc", ifindex=ifindex, parent=wanted.parent, parents=list(TC_PARENTS.values()), ids=[number],
            spare=[(f.handle, f.priority) for f in _filters(sites, ifindex, wanted.parent) if f.prog_id == number],
        )  # fmt: skip
        made = sites.tc_qdisc(ifindex, add=True)
        place = sites.tc_attach(wanted, program.fd, replace=replace)
        watch.set(at=(place.handle, place.priority), spare=[])
    except BaseException:
        if made:
            sites.tc_qdisc(ifindex, add=False)
        watch.forget()
        sites.close()
        raise

    def change(new: Program, old: Program | None) -> None:
        if old is not None:
            raise NotSupported("updating a classifier only if it has a given program", "tcx links can")
        nonlocal number
        again = TcFilter(ifindex, place.parent, place.handle, place.priority, 0, f"{new.name or 'bombus'}:[{new.id}]")
        watch.set(ids=[number, new.id])
        sites.tc_attach(again, new.fd, replace=True)
        number = new.id
        watch.set(ids=[number])

    def undo() -> None:
        try:
            sites.tc_detach(place)
            if made and not any(sites.tc_filters(ifindex, parent) for parent in TC_PARENTS.values()):
                sites.tc_qdisc(ifindex, add=False)
        except KernelError as error:
            if error.errno not in (19, 2, 22):  # the interface, the filter or the qdisc is gone
                raise
        finally:
            sites.close()

    facts = {
        "ifindex": ifindex, "direction": way, "handle": place.handle, "priority": place.priority, "prog_id": program.id,
    }  # fmt: skip
    return Attachment("clsact", undo, facts=facts, change=change, watch=watch)


def _filters(sites: Sites, ifindex: int, parent: int) -> list[TcFilter]:
    """[] where there is no qdisc for filters yet."""
    try:
        return sites.tc_filters(ifindex, parent)
    except KernelError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return []
        raise


def attach_netns(program: Program, target: Path | int = "/proc/thread-self/ns/net", *, kind: str | None = None) -> Link:
    """An sk_lookup or flow_dissector program to a network namespace (a file of /proc/PID/ns or /run/netns)."""
    row = attach_type(program, kind)
    with opened(program.kernel, "netns", target) as fd:
        return Link.create(program.kernel, program, row.name, target_fd=fd)


def attach_netfilter(
    program: Program, hook: str | int, *, family: str = "ipv4", priority: int = 0, defrag: bool = False
) -> Link:
    """A program to a netfilter hook of the thread's network namespace (Linux 6.4).

    hook: "prerouting", "local_in", "forward", "local_out", "postrouting". family: "ipv4" or "ipv6".
    defrag: packets come whole, for priorities after -400.
    """
    if family not in _NETFILTER_PF:
        raise UsageError(f"family {family!r}: it is {' or '.join(_NETFILTER_PF)}")
    if isinstance(hook, str):
        if hook not in _NETFILTER_HOOKS:
            raise UsageError(f"netfilter hook {hook!r}: it is one of {', '.join(_NETFILTER_HOOKS)}")
        hook = _NETFILTER_HOOKS[hook]
    return Link.create(
        program.kernel, program, "BPF_NETFILTER", netfilter_pf=_NETFILTER_PF[family], netfilter_hooknum=hook,
        netfilter_priority=priority, netfilter_flags=_DEFRAG if defrag else 0,
    )  # fmt: skip


_ROUTES = itertools.count(1)
_LWT = {"BPF_PROG_TYPE_LWT_IN": "in", "BPF_PROG_TYPE_LWT_OUT": "out", "BPF_PROG_TYPE_LWT_XMIT": "xmit"}


def attach_lwt(program: Program, destination: str, target: str | int, *, headroom: int = 0) -> Attachment:
    """A lightweight-tunnel program to a new route: packets to `destination` ("10.1.0.0/16") through an interface.

    headroom: bytes that the program may push in front. The program's type says which of in, out and xmit it is.
    """
    way = _LWT.get(program.type.name)
    if way is None:
        raise UsageError(f"{program.type.short} programs do not attach to routes")
    ifindex = interface(program.kernel, target)
    sites = program.kernel.sites.bound()
    # By its name the route is known to be this one, should it have to be found again.
    name = f"bombus:{program.id}:{os.getpid()}:{next(_ROUTES)}"
    watch: Watch = NoWatch()
    try:
        watch = sites.watch("lwt", destination=destination, ifindex=ifindex, name=name)
        sites.route_encap(destination, ifindex, {way: program.fd}, headroom=headroom, name=name)
    except BaseException:
        watch.forget()
        sites.close()
        raise

    def undo() -> None:
        try:
            sites.route_encap(destination, ifindex, {}, remove=True)
        except KernelError as error:
            if error.errno not in (3, 19):  # ESRCH, ENODEV
                raise
        finally:
            sites.close()

    facts = {"destination": destination, "ifindex": ifindex, "way": way, "prog_id": program.id}
    return Attachment("lwt route", undo, facts=facts, watch=watch)
