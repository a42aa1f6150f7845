"""`bombus cgroup`: programs on cgroups, with bpftool's verbs.

Source: Linux 6.1 tools/bpf/bpftool/cgroup.c, behaviour.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Any

import click

from bombus.cli import live, output
from bombus.cli.attachwords import attach_type, attach_type_name
from bombus.cli.nouns import noun, verb
from bombus.cli.words import Words
from bombus.errors import KernelError, NeedsKernel, UsageError
from bombus.kernel.api import Attr
from bombus.kernel.handles.base import open_id
from bombus.spec.attachtypes import ATTACH_TYPES

_EFFECTIVE = 1  # BPF_F_QUERY_EFFECTIVE
_FLAGS = {0: "", 1: "override", 2: "multi"}  # BPF_F_ALLOW_OVERRIDE, BPF_F_ALLOW_MULTI
_CHOICES = {"multi": 2, "override": 1}
_MOST = 1024  # programs of one type that are asked for


@noun("cgroup", "Programs on cgroups: list, attach, detach. CGROUP is a directory of cgroup v2.", default="")
def cgroup() -> None:
    pass


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(error.errno or 0, "open", f"cgroup {path}") from None
    try:
        yield fd
    finally:
        os.close(fd)


def _effective(words: Words) -> int:
    flags = 0
    while words:
        word = words.expect("effective")
        if flags:
            raise UsageError(f"duplicated argument: {word}")
        flags = _EFFECTIVE
    return flags


def _query(fd: int, number: int, flags: int) -> list[tuple[int, int]]:
    """(program id, attach flags) of one attach type; none for types that cannot be asked for."""
    ids = bytearray(4 * _MOST)
    each = bytearray(4 * _MOST)
    attr = Attr("BPF_PROG_QUERY", target_fd=fd, attach_type=number, query_flags=flags, prog_ids=ids, prog_cnt=_MOST)
    if not flags:
        attr.set("prog_attach_flags", each)
    try:
        try:
            live.kernel().bpf(attr)
        except NeedsKernel as error:
            if error.errno != errno.E2BIG:
                raise
            attr = Attr("BPF_PROG_QUERY", target_fd=fd, attach_type=number, query_flags=flags, prog_ids=ids,
                        prog_cnt=_MOST)  # fmt: skip
            live.kernel().bpf(attr)
    except KernelError as error:
        if error.errno == errno.EINVAL:
            return []
        raise
    common = attr.get("attach_flags")
    found = []
    for at in range(0, 4 * min(attr.get("prog_cnt"), _MOST), 4):
        own = int.from_bytes(each[at : at + 4], "little")
        found.append((int.from_bytes(ids[at : at + 4], "little"), own or common))
    return found


def _rows(fd: int, flags: int) -> list[dict[str, Any]]:
    rows = []
    for kind in ATTACH_TYPES:
        if kind.target != "cgroup":
            continue
        for number, attached in _query(fd, kind.id, flags):
            row = _row(number, kind.id, None if flags else attached)
            if row is not None:
                rows.append(row)
    return rows


def _row(number: int, kind: int, flags: int | None) -> dict[str, Any] | None:
    try:
        item = live.Item("prog", open_id(live.kernel(), "prog", number))
    except KernelError:
        return None  # gone meanwhile
    with item:
        info = item.info
        found: dict[str, Any] = {"id": info["id"], "attach_type": attach_type_name(kind) or kind}
        if flags is not None:
            found["attach_flags"] = _FLAGS.get(flags, f"unknown({flags:x})")
        found["name"] = live.full_name(item)
        target = info["attach_btf_id"]
        if not target:
            found["attach_btf_name"] = ""  # what bpftool has for type 0
        elif _is_vmlinux(info["attach_btf_obj_id"]):
            found["attach_btf_name"] = live.vmlinux().name(target)
        return found | {"attach_btf_obj_id": info["attach_btf_obj_id"], "attach_btf_id": target}


def _is_vmlinux(number: int) -> bool:
    from bombus.kernel.handles.btf import Btf

    try:
        with Btf.from_id(live.kernel(), number) as handle:
            return bool(handle.info()["kernel_btf"]) and handle.name == "vmlinux"
    except KernelError:
        return False


def _line(row: dict[str, Any], level: int) -> str:
    kind = row["attach_type"]
    text = f"{'    ' if level else ''}{row['id']:<8} "
    text += f"{kind:<15}" if isinstance(kind, str) else f"type {kind:<10}"
    if "attach_flags" in row:
        text += f" {row['attach_flags']:<15}"
    text += f" {row['name']:<15}"
    if "attach_btf_name" in row:
        text += f" {row['attach_btf_name']:<15}"
    elif row["attach_btf_id"]:
        text += f" attach_btf_obj_id={row['attach_btf_obj_id']} attach_btf_id={row['attach_btf_id']}"
    return text


def _title(flags: int) -> str:
    columns = ["AttachType", "Name"] if flags else ["AttachType", "AttachFlags", "Name"]
    return f"{'ID':<8} " + " ".join(f"{column:<15}" for column in columns)


@verb(cgroup, "show", "CGROUP [effective]")
def show(words: Words) -> None:
    """List the programs on one cgroup; effective: with those that it inherits (also: list)."""
    path = words.take("CGROUP")
    flags = _effective(words)
    with _opened(path) as fd:
        rows = _rows(fd, flags)
    if output.as_json():
        output.print_json(rows)
    elif rows:
        output.lines([_title(flags), *(_line(row, 0) for row in rows)])


@verb(cgroup, "tree", "[CGROUP_ROOT] [effective]")
def tree(words: Words) -> None:
    """List the programs on a cgroup and on all below it (without one: on all)."""
    if words:
        root = words.take("CGROUP_ROOT")
    else:
        root = next(iter(live.mounts("cgroup2")), "")
        if not root:
            raise UsageError("cgroup v2 isn't mounted")
    flags = _effective(words)
    if not os.path.isdir(root):
        raise UsageError(f"{root} is no directory")
    if output.as_json():
        output.print_rows({"cgroup": path, "programs": rows} for path, _level, rows in _walk(root, flags))
        return
    click.echo(f"CgroupPath\n{_title(flags)}")
    for path, level, rows in _walk(root, flags):
        click.echo(path)
        output.lines(_line(row, level) for row in rows)


def _walk(root: str, flags: int) -> Iterator[tuple[str, int, list[dict[str, Any]]]]:
    """(directory, how deep it is, programs) of all cgroups with programs; those that go meanwhile are left out."""
    device = os.stat(root).st_dev
    base = root.rstrip("/").count("/")
    for path, folders, _files in os.walk(root):
        folders[:] = [name for name in folders if _device(os.path.join(path, name)) == device]
        try:
            with _opened(path) as fd:
                rows = _rows(fd, flags)
        except KernelError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV) and path != root:
                continue
            raise
        if rows:
            yield path, path.rstrip("/").count("/") - base, rows


def _device(path: str) -> int:
    try:
        return os.stat(path).st_dev
    except OSError:
        return -1


def _attach_words(words: Words, stack: contextlib.ExitStack) -> tuple[int, int, live.Item]:
    fd = stack.enter_context(_opened(words.take("CGROUP")))
    kind = attach_type(words.take("ATTACH_TYPE"))
    return fd, kind.id, stack.enter_context(live.item("prog", words))


@verb(cgroup, "attach", "CGROUP ATTACH_TYPE PROG [multi | override]")
def attach(words: Words) -> None:
    """Attach a program to a cgroup."""
    with contextlib.ExitStack() as stack:
        fd, kind, item = _attach_words(words, stack)
        flags = 0
        while words:
            flags |= _CHOICES[words.expect(*_CHOICES)]
        try:
            live.kernel().bpf(Attr("BPF_PROG_ATTACH", target_fd=fd, attach_bpf_fd=item.fd, attach_type=kind,
                                   attach_flags=flags))  # fmt: skip
        except KernelError as error:
            hint = _hint(error, flags)
            if not hint:
                raise
            raise KernelError(error.errno or 0, error.call, hint=hint) from None
    output.done()


def _hint(error: KernelError, flags: int) -> str:
    """Why a cgroup refuses a program, where the errno tells."""
    from bombus.kernel.linux.process import missing_capabilities

    if error.errno == errno.EPERM and not missing_capabilities(("CAP_NET_ADMIN",)):
        return "this or an outer cgroup has a program that was attached with other flags: without multi or override"
    if error.errno == errno.EINVAL and flags == _CHOICES["multi"] | _CHOICES["override"]:
        return "multi and override exclude each other"
    if error.errno == errno.EINVAL:
        return "the program is of another type, or was loaded for another attach type"
    return ""


@verb(cgroup, "detach", "CGROUP ATTACH_TYPE PROG")
def detach(words: Words) -> None:
    """Detach a program from a cgroup."""
    with contextlib.ExitStack() as stack:
        fd, kind, item = _attach_words(words, stack)
        words.end()
        live.kernel().bpf(Attr("BPF_PROG_DETACH", target_fd=fd, attach_bpf_fd=item.fd, attach_type=kind))
    output.done()
