"""`bombus net`: programs on network devices, with bpftool's verbs.

Source: Linux 6.1 tools/bpf/bpftool/net.c and netlink_dumper.c, behaviour; Linux 6.12's for tcx, netkit and netfilter,
which bpftool 7.1 does not know.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

import click

from bombus.cli import live, netdispatch, output
from bombus.cli.nouns import noun, verb
from bombus.cli.words import Words
from bombus.errors import KernelError, NeedsKernel, UsageError
from bombus.kernel.api import Attr
from bombus.kernel.handles.base import open_id
from bombus.kernel.linux import devices as dev
from bombus.kernel.linux.netlink import Netlink, attributes
from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.spec.linktypes import LINK_TYPE

# What BPF_PROG_QUERY is asked for a device -> bpftool's name of the place.
_PLACES = {
    "BPF_TCX_INGRESS": "tcx/ingress", "BPF_TCX_EGRESS": "tcx/egress", "BPF_NETKIT_PRIMARY": "netkit/primary",
    "BPF_NETKIT_PEER": "netkit/peer",
}  # fmt: skip
_MOST = 64
# include/uapi/linux/if_link.h: XDP_ATTACHED_*, XDP_FLAGS_*
_MODES = {1: "driver", 2: "generic", 3: "offload"}
_MULTI = 4
_NO_REPLACE = 1
_XDP = {"xdp": 0, "xdpgeneric": 2, "xdpdrv": 4, "xdpoffload": 8}
_TCX = {"tcx_ingress": "BPF_TCX_INGRESS", "tcx_egress": "BPF_TCX_EGRESS"}
# include/uapi/linux/pkt_sched.h, pkt_cls.h
_ROOT, _INGRESS, _EGRESS = 0xFFFF_FFFF, 0xFFFF_FFF2, 0xFFFF_FFF3
_CLSACT = {"clsact_ingress": _INGRESS, "clsact_egress": _EGRESS}
_BPF_NAME, _BPF_ID, _BPF_ACT = 7, 11, 1  # TCA_BPF_*
_ACT_KIND, _ACT_OPTIONS, _ACT_PARMS, _ACT_NAME, _ACT_ID = 1, 2, 2, 6, 9  # TCA_ACT_*, TCA_ACT_BPF_*
_ACTIONS = 32  # TCA_ACT_MAX_PRIO

Row = dict[str, Any]


@noun("net", "Programs on network devices: list, attach, detach.")
def net() -> None:
    pass


def _device(words: Words) -> int:
    words.expect("dev")
    return live.interface(words.take("dev: a device"))


@verb(net, "show", "[dev NAME]")
def show(words: Words) -> None:
    """List XDP and tc programs of devices, and the flow dissector of this network namespace (also: list)."""
    only = _device(words) if words else 0
    words.end()
    dissector = _flow_dissector()
    xdp: list[Row] = []
    tc: list[Row] = []
    with Netlink() as netlink:
        links = [link for link in dev.devices(netlink) if not only or link.ifindex == only]
        for link in links:
            xdp += _xdp(link)
        for link in links:
            tc += _queried(link)
            tc += _classic(netlink, link)
    filters = [] if only else list(_netfilter())
    if output.as_json():
        rows: Row = {"xdp": xdp, "tc": tc, "flow_dissector": [{"id": dissector}] if dissector else []}
        output.print_json([rows | {"netfilter": filters}])
        return
    click.echo("xdp:")
    output.lines(map(_xdp_text, xdp))
    click.echo("\ntc:")
    output.lines(map(_tc_text, tc))
    click.echo("\nflow_dissector:" + (f"\nid {dissector}" if dissector else "\n"))
    if filters:
        from bombus.cli import linkshow

        click.echo("netfilter:")
        output.lines(f"\n\t{linkshow.netfilter_text(row)} prog_id {row['id']}" for row in filters)
        click.echo()


def _flow_dissector() -> int:
    """The program of this network namespace; 0 when there is none."""
    fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        ids = bytearray(4)
        attr = Attr("BPF_PROG_QUERY", target_fd=fd, attach_type=ATTACH_TYPE["BPF_FLOW_DISSECTOR"].id, prog_ids=ids,
                    prog_cnt=1)  # fmt: skip
        live.kernel().bpf(attr)
        return int.from_bytes(ids, "little") if attr.get("prog_cnt") else 0
    except KernelError as error:
        if error.errno == errno.EINVAL:  # before Linux 5.6
            return 0
        raise
    finally:
        os.close(fd)


def _name(link: dev.Device) -> str:
    return dev.text(link.attributes.get(dev.IFLA_IFNAME, b""))


def _xdp(link: dev.Device) -> Iterator[Row]:
    nested = attributes(link.attributes.get(dev.IFLA_XDP, b""))
    mode = dev.number(nested.get(dev.XDP_ATTACHED, b"\0"))
    if not mode:
        return
    row: Row = {"devname": _name(link), "ifindex": link.ifindex}
    if mode == _MULTI:
        kinds = ((dev.XDP_SKB_PROG_ID, "generic"), (dev.XDP_DRV_PROG_ID, "driver"), (dev.XDP_HW_PROG_ID, "offload"))
        row["multi_attachments"] = [{"mode": name, "id": dev.number(nested[kind])} for kind, name in kinds if kind in
                                    nested]  # fmt: skip
    elif mode in _MODES and dev.XDP_PROG_ID in nested:
        row |= {"mode": _MODES[mode], "id": dev.number(nested[dev.XDP_PROG_ID])}
    for one in row.get("multi_attachments", [row] if "id" in row else []):
        if found := netdispatch.programs(one["id"]):
            one["dispatcher"] = found
    yield row


def _xdp_text(row: Row) -> str:
    modes = row.get("multi_attachments", [row] if "mode" in row else [])
    text = f"{row['devname']}({row['ifindex']})" + "".join(f" {one['mode']} id {one['id']}" for one in modes)
    return text + "".join(f"\n\t{netdispatch.text(member)}" for one in modes for member in one.get("dispatcher", ()))


def _queried(link: dev.Device) -> Iterator[Row]:
    """tcx and netkit programs."""
    for kind, place in _PLACES.items():
        if live.kernel().version < ATTACH_TYPE[kind].since:
            continue
        arrays = {name: bytearray(4 * _MOST) for name in ("prog_ids", "prog_attach_flags", "link_ids",
                                                          "link_attach_flags")}  # fmt: skip
        attr = Attr("BPF_PROG_QUERY", target_ifindex=link.ifindex, attach_type=ATTACH_TYPE[kind].id, count=_MOST,
                    **arrays)  # fmt: skip
        try:
            live.kernel().bpf(attr)
        except NeedsKernel:
            return
        except KernelError:
            continue  # no such device any more, or not of this kind
        for at in range(0, 4 * min(attr.get("count"), _MOST), 4):
            values = {name: int.from_bytes(data[at : at + 4], "little") for name, data in arrays.items()}
            row: Row = {"devname": _name(link), "ifindex": link.ifindex, "kind": place}
            name = _program_name(values["prog_ids"])
            if name:
                row["name"] = name
            row |= {"prog_id": values["prog_ids"], "prog_flags": _flags(values["prog_attach_flags"])}
            if values["link_ids"]:
                row["link_id"] = values["link_ids"]
            yield row | {"link_flags": _flags(values["link_attach_flags"])}


def _flags(number: int) -> list[str]:
    return [hex(1 << bit) for bit in range(32) if number >> bit & 1]


def _program_name(number: int) -> str:
    try:
        with live.Item("prog", open_id(live.kernel(), "prog", number)) as item:
            return live.full_name(item)
    except KernelError:
        return ""


def _classic(netlink: Netlink, link: dev.Device) -> Iterator[Row]:
    """Filters of kind bpf: those of classes and qdiscs, of the root, and of clsact."""
    places: list[tuple[int, str]] = []
    for one in dev.traffic(netlink, dev.GETTCLASS, link.ifindex):
        places.append((one.handle, dev.text(one.attributes.get(dev.TCA_KIND, b"unknown"))))
    for one in dev.traffic(netlink, dev.GETQDISC, link.ifindex):
        kind = dev.text(one.attributes.get(dev.TCA_KIND, b"unknown"))
        if kind != "clsact" and one.handle:
            places.append((one.handle, kind))
    places += [(_ROOT, "root"), (_INGRESS, "clsact/ingress"), (_EGRESS, "clsact/egress")]
    for handle, kind in places:
        try:
            found = dev.traffic(netlink, dev.GETTFILTER, link.ifindex, handle)
        except KernelError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT, errno.ENODEV):
                continue  # no such place on this device
            raise
        for one in found:
            options = one.attributes.get(dev.TCA_OPTIONS)
            if options is None or dev.text(one.attributes.get(dev.TCA_KIND, b"")) != "bpf":
                continue
            row: Row = {"devname": _name(link), "ifindex": link.ifindex, "kind": kind}
            nested = attributes(options)
            if _BPF_NAME in nested:
                row["name"] = dev.text(nested[_BPF_NAME])
            if _BPF_ID in nested:
                row["id"] = dev.number(nested[_BPF_ID])
            if _BPF_ACT in nested:
                row["act"] = list(_actions(nested[_BPF_ACT]))
            yield row


def _actions(data: bytes) -> Iterator[Row]:
    nested = attributes(data)
    for place in range(_ACTIONS + 1):
        action = attributes(nested.get(place, b""))
        if dev.text(action.get(_ACT_KIND, b"")) != "bpf":
            continue
        options = attributes(action.get(_ACT_OPTIONS, b""))
        if _ACT_PARMS not in options:
            return
        row: Row = {}
        if _ACT_NAME in options:
            row["name"] = dev.text(options[_ACT_NAME])
        if _ACT_ID in options:
            row["id"] = dev.number(options[_ACT_ID])
        yield row


def _tc_text(row: Row) -> str:
    text = f"{row['devname']}({row['ifindex']}) {row['kind']}"
    if "prog_id" in row:
        text += f" {row['name']}" if "name" in row else ""
        text += f" prog_id {row['prog_id']} "
        text += f"prog_flags {' '.join(row['prog_flags'])} " if row["prog_flags"] else ""
        text += f"link_id {row['link_id']} " if "link_id" in row else ""
        return text + (f"link_flags {' '.join(row['link_flags'])} " if row["link_flags"] else "")
    text += (f" {row['name']}" if "name" in row else "") + (f" id {row['id']}" if "id" in row else "")
    if "act" in row:
        inner = "".join("{" + one.get("name", "") + (f" id {one['id']}" if "id" in one else "") + "}"
                        for one in row["act"])  # fmt: skip
        text += f" act [{inner}] "
    return text


def _netfilter() -> Iterator[Row]:
    from bombus.cli import linkshow

    wanted = LINK_TYPE["BPF_LINK_TYPE_NETFILTER"]
    if live.kernel().version < wanted.since:
        return
    infos = [item.info for item in live.each("link") if item.info["type"] == wanted.id]
    for info in sorted(infos, key=lambda info: tuple(linkshow.netfilter(info).values())):
        yield linkshow.netfilter(info) | {"id": info["prog_id"]}


@verb(net, "attach", "ATTACH_TYPE {PROG | file OBJ [program NAME]} dev NAME [overwrite | dispatcher ...]")
def attach(words: Words) -> None:
    """Attach a program to a device. ATTACH_TYPE: xdp, xdpgeneric, xdpdrv, xdpoffload, tcx_ingress, tcx_egress.

    dispatcher [priority N] [chain ACTION,...]: share the device with other XDP programs, also those of xdp-loader.
    file OBJ: a program of an object, which goes with a dispatcher.
    """
    kind = words.expect(*_XDP, *_TCX)
    if words.looking_at("file"):
        netdispatch.attach_file(kind, words, _device)
        output.done()
        return
    with live.item("prog", words) as item:
        index = _device(words)
        more = words.expect("overwrite", "dispatcher") if words else ""
        if more == "dispatcher":
            netdispatch.attach_program(kind, item, words, index)
            output.done()
            return
        replace = bool(more)
        words.end()
        if kind in _TCX:
            if replace:
                raise UsageError("overwrite is for XDP; tcx has room for many programs")
            live.kernel().bpf(Attr("BPF_PROG_ATTACH", target_ifindex=index, attach_bpf_fd=item.fd,
                                   attach_type=ATTACH_TYPE[_TCX[kind]].id))  # fmt: skip
        else:
            flags = _XDP[kind] | (0 if replace else _NO_REPLACE)
            try:
                live.kernel().sites.xdp_set(index, item.fd, flags)
            except KernelError as error:
                if error.errno in (errno.EBUSY, errno.EEXIST) and netdispatch.dispatcher_of(index):
                    text = "the device has an XDP dispatcher (libxdp), which `dispatcher` after its name joins"
                    raise KernelError(error.errno, error.call, text) from None
                raise
    output.done()


@verb(net, "detach", "ATTACH_TYPE dev NAME [PROG]")
def detach(words: Words) -> None:
    """Detach the program of a device: also what a killed process left there by netlink. ATTACH_TYPE: as of attach, or
    clsact_ingress, clsact_egress for all BPF filters of a clsact qdisc, or those of PROG. Of an XDP dispatcher PROG
    goes, or all."""
    kind = words.expect(*_XDP, *_TCX, *_CLSACT)
    index = _device(words)
    if kind in _CLSACT:
        _detach_filters(words, index, _CLSACT[kind])
        output.done()
        return
    if kind in netdispatch.MODES and netdispatch.dispatcher_of(index):
        number = 0
        if words:
            with live.item("prog", words) as item:
                number = item.info["id"]
        words.end()
        netdispatch.detach(index, number)
        output.done()
        return
    words.end()
    if kind in _TCX:
        live.kernel().bpf(Attr("BPF_PROG_DETACH", target_ifindex=index, attach_type=ATTACH_TYPE[_TCX[kind]].id))
    else:
        live.kernel().sites.xdp_set(index, -1, _XDP[kind])
    output.done()


def _detach_filters(words: Words, index: int, parent: int) -> None:
    number = 0
    if words:
        with live.item("prog", words) as item:
            number = item.info["id"]
        words.end()
    sites = live.kernel().sites
    found = [one for one in sites.tc_filters(index, parent) if number in (0, one.prog_id)]
    if not found:
        raise KernelError(errno.ENOENT, "detach", "no such BPF filter is there")
    for one in found:
        sites.tc_detach(one)
