"""Objects of the running kernel as commands name them: by id, tag, name or pinned path; and what is shown of all kinds.

Source: Linux 6.1 tools/bpf/bpftool/common.c, behaviour.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bombus.cli import output
from bombus.cli.words import Words
from bombus.errors import BombusError, KernelError, UsageError
from bombus.kernel.handles.base import Handle, open_id, open_pin
from bombus.kernel.handles.info import Info, ids, read_info

if TYPE_CHECKING:
    from bombus.btf.parse import Btf
    from bombus.kernel.linux.holders import Holders
    from bombus.kernel.linux.kernel import LinuxKernel

STRUCTS = {"prog": "bpf_prog_info", "map": "bpf_map_info", "link": "bpf_link_info", "btf": "bpf_btf_info"}
PROG_KEYS = ("id", "tag", "name", "pinned")
MAP_KEYS = ("id", "name", "pinned")
LINK_KEYS = ("id", "pinned")
_NAME = 16  # BPF_OBJ_NAME_LEN, the NUL included
_LONG_NAME = 128  # bpftool's MAX_PROG_FULL_NAME
_INODES = {"bpf-map": "map", "bpf-prog": "prog", "bpf-link": "link", "bpf_link": "link", "btf": "btf"}


_own: set[tuple[str, int]] = set()  # (kind, id) of what this process made to look around


@functools.cache
def linux() -> LinuxKernel:
    from bombus.kernel.linux.kernel import LinuxKernel

    return LinuxKernel()


_chosen: list[Any] = []  # a kernel that `on` puts in the place of the running one


def kernel() -> LinuxKernel:
    """The running kernel, or what `on` chose."""
    found: LinuxKernel = _chosen[-1] if _chosen else linux()
    return found


@contextlib.contextmanager
def on(name: str) -> Iterator[None]:
    """Let everything here ask another kernel: "user", "user:VERSION", "linux"."""
    if name == "linux":
        yield
        return
    from bombus.kernels import open_kernel

    _chosen.append(open_kernel(name))
    btf_by_id.cache_clear()
    try:
        yield
    finally:
        _chosen.pop()
        btf_by_id.cache_clear()


class Item(Handle):
    """A program, map, link or BTF of the kernel with its info struct."""

    def __init__(self, kind: str, fd: int) -> None:
        super().__init__(kernel(), fd)
        self.kind = kind
        self._info: Info | None = None

    @property
    def info(self) -> Info:
        if self._info is None:
            self._info = read_info(self.kernel, self.fd, STRUCTS[self.kind])
        return self._info


def each(kind: str) -> Iterator[Item]:
    """All objects of a kind, each open until the next; those that go away meanwhile are left out."""
    for number in ids(kernel(), kind):
        if (kind, number) in _own:
            continue
        try:
            item = Item(kind, open_id(kernel(), kind, number))
        except KernelError as error:
            # EAGAIN: a link that is being made has its id, and cannot be opened yet.
            if error.errno in (errno.ENOENT, errno.EAGAIN):
                continue
            raise
        with item:
            yield item


def by_id(kind: str, words: Words) -> Item:
    number = words.number("ID")
    try:
        return Item(kind, open_id(kernel(), kind, number))
    except KernelError as error:
        if error.errno == errno.ENOENT:
            raise KernelError(errno.ENOENT, error.call, f"there is no {kind} with id {number}") from None
        raise


def pinned(kind: str, path: str) -> Item:
    """What a path pins. KernelError, UsageError when it is something else."""
    try:
        fd = open_pin(kernel(), path)
    except KernelError as error:
        if error.errno == errno.EACCES and not is_bpffs(os.path.dirname(path) or "."):
            raise KernelError(error.errno, error.call, f"{path}: the directory is not in a bpf file system") from None
        raise KernelError(error.errno or 0, error.call, path, hint=error.hint) from None
    found = kind_of(fd)
    if found != kind:
        os.close(fd)
        raise UsageError(f"{path} pins a {found or 'thing that is no BPF object'}, not a {kind}")
    return Item(kind, fd)


def kind_of(fd: int) -> str:
    """ "prog", "map", "link", "btf", or "" for other files."""
    name = os.readlink(f"/proc/self/fd/{fd}")
    return next((kind for inode, kind in _INODES.items() if inode in name), "")


def items(kind: str, words: Words) -> list[Item]:
    """All objects that a handle names: `id N`, `tag T` (programs), `name N`, `pinned FILE`. The caller closes them.

    UsageError when there is none.
    """
    keys = {"prog": PROG_KEYS, "map": MAP_KEYS}.get(kind, LINK_KEYS)
    how = words.expect(*keys)
    if how == "id":
        return [by_id(kind, words)]
    if how == "pinned":
        return [pinned(kind, words.take("path"))]
    if how == "tag":
        return _matching(kind, "tag", _tag(words.take("tag")))
    name = words.take("name")
    if len(name.encode()) >= (_LONG_NAME if kind == "prog" else _NAME):
        raise UsageError(f"{name!r} is too long for a name of a {kind}")
    return _matching(kind, "name", name)


def _tag(text: str) -> bytes:
    try:
        tag = bytes.fromhex(text)
    except ValueError:
        tag = b""
    if len(tag) != 8 or len(text) != 16:
        raise UsageError(f"can't parse tag {text!r}: it has 16 hexadecimal digits")
    return tag


def _matching(kind: str, field: str, wanted: str | bytes) -> list[Item]:
    found: list[Item] = []
    for item in each(kind):
        value = full_name(item) if kind == "prog" and field == "name" else item.info[field]
        if value == wanted:
            found.append(Item(kind, _dup(item.fd)))
    if not found:
        text = wanted.hex() if isinstance(wanted, bytes) else repr(wanted)
        raise UsageError(f"no {kind} with {field} {text}")
    return found


def item(kind: str, words: Words) -> Item:
    """The one object that a handle names. UsageError when there are several."""
    found = items(kind, words)
    if len(found) > 1:
        numbers = ", ".join(str(one.info["id"]) for one in found)
        for one in found:
            one.close()
        what = {"prog": "programs", "map": "maps"}.get(kind, f"{kind}s")
        raise UsageError(f"several {what} match this handle: ids {numbers}")
    return found[0]


def _dup(fd: int) -> int:
    """A second descriptor; where there are too many already, with a higher limit."""
    try:
        return os.dup(fd)
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
    import resource

    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return os.dup(fd)


# Names


def full_name(program: Item) -> str:
    """A program's name; where the kernel had to cut it, the name of its function in BTF."""
    info = program.info
    name = str(info["name"])
    if len(name) < _NAME - 1 or not info["btf_id"] or not info["nr_func_info"]:
        return name
    record = bytearray(8)
    try:
        read_info(program.kernel, program.fd, "bpf_prog_info",
                  inputs={"nr_func_info": 1, "func_info_rec_size": 8}, buffers={"func_info": record})  # fmt: skip
        btf = btf_by_id(info["btf_id"])
        return btf.name(int.from_bytes(record[4:], "little")) or name
    except BombusError:
        return name


@functools.lru_cache(maxsize=64)
def btf_by_id(number: int) -> Btf:
    """The types of a BTF object. KernelError."""
    from bombus.kernel.handles.btf import Btf as BtfHandle

    with BtfHandle.from_id(kernel(), number) as handle:
        return handle.parsed()


@functools.cache
def vmlinux() -> Btf:
    from bombus.btf.parse import Btf as Parsed

    return Parsed.parse(kernel().vmlinux_btf())


# What is shown of every kind


def fdinfo(fd: int) -> dict[str, str]:
    """/proc/self/fdinfo of a descriptor; empty when it cannot be read."""
    try:
        with open(f"/proc/self/fdinfo/{fd}", encoding="utf-8", errors="replace") as file:
            pairs = (line.rstrip("\n").partition("\t") for line in file)
            return {name.rstrip(":"): value for name, tab, value in pairs if tab and value}
    except OSError:
        return {}


def holders(kind: str) -> dict[int, Holders]:
    """Processes that hold objects of a kind."""
    if kernel().name != "linux":
        return {}
    from bombus.kernel.linux.holders import holders as find

    return find(kernel(), kind, _own)


def pins(kind: str) -> dict[int, list[str]]:
    """Paths in bpf file systems by the id of what they pin, when -f asked for them; else empty."""
    found: dict[int, list[str]] = {}
    if not output.flag("bpffs"):
        return found
    for mount in mounts("bpf"):
        for folder, _folders, files in os.walk(mount):
            for name in sorted(files):
                path = os.path.join(folder, name)
                try:
                    fd = open_pin(kernel(), path)
                except KernelError:
                    continue  # not a pin, or gone
                try:
                    if kind_of(fd) == kind:
                        found.setdefault(read_info(kernel(), fd, STRUCTS[kind])["id"], []).append(path)
                finally:
                    os.close(fd)
    return found


def mounts(fstype: str) -> list[str]:
    """Where file systems of a type are mounted, each place once."""
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
        rows = [line.split() for line in file]
    places = [row[1].encode("utf-8", "surrogateescape").decode("unicode_escape") for row in rows if row[2] == fstype]
    return list(dict.fromkeys(places))


def refs_json(number: int, refs: dict[int, Holders]) -> dict[str, Any]:
    """The members "bpf_cookie" and "pids"."""
    entry = refs.get(number)
    if entry is None:
        return {}
    found: dict[str, Any] = {} if entry.cookie is None else {"bpf_cookie": entry.cookie}
    return found | {"pids": [{"pid": pid, "comm": comm} for pid, comm in entry.processes]}


def refs_text(number: int, refs: dict[int, Holders]) -> str:
    entry = refs.get(number)
    if entry is None:
        return ""
    cookie = "" if entry.cookie is None else f"\n\tbpf_cookie {entry.cookie}"
    return f"{cookie}\n\tpids " + ", ".join(f"{comm}({pid})" for pid, comm in entry.processes)


def device_json(info: Info) -> dict[str, Any]:
    """The member "dev" of what is offloaded to a device."""
    if not info["ifindex"]:
        return {}
    found = {"ifindex": info["ifindex"], "ns_dev": info["netns_dev"], "ns_inode": info["netns_ino"]}
    name = _device(info)
    return {"dev": found | ({"ifname": name} if name else {})}


def device_text(info: Info) -> str:
    if not info["ifindex"]:
        return ""
    name = _device(info) or f"ifindex {info['ifindex']} ns_dev {info['netns_dev']} ns_ino {info['netns_ino']}"
    return f"  offloaded_to {name}"


def _device(info: Info) -> str:
    here = os.stat("/proc/self/ns/net")
    if (here.st_dev, here.st_ino) != (info["netns_dev"], info["netns_ino"]):
        return ""
    import socket

    try:
        return socket.if_indextoname(info["ifindex"])
    except OSError:
        return ""


def interface(name: str) -> int:
    """The index of a network device. UsageError when there is none."""
    import socket

    try:
        return socket.if_nametoindex(name)
    except OSError:
        raise UsageError(f"there is no network device {name!r}") from None


def hexes(data: bytes) -> list[str]:
    """Bytes as bpftool's JSON has them."""
    return [f"0x{byte:02x}" for byte in data]


def hex_text(data: bytes) -> str:
    """Bytes as bpftool prints them: 16 a line, a gap after 8."""
    lines = []
    for at in range(0, len(data), 16):
        halves = (data[at : at + 8], data[at + 8 : at + 16])
        lines.append("  ".join(half.hex(" ") for half in halves if half))
    return "\n".join(lines)


# Pins


def is_bpffs(path: str) -> bool:
    real = os.path.realpath(path)
    best = max((m for m in _all_mounts() if real == m[0] or real.startswith(m[0].rstrip("/") + "/")),
               key=lambda m: len(m[0]), default=("", ""))  # fmt: skip
    return best[1] == "bpf"


def _all_mounts() -> list[tuple[str, str]]:
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
        rows = [line.split() for line in file]
    # The later of two mounts on one place is the one that is seen.
    last = {row[1].encode("utf-8", "surrogateescape").decode("unicode_escape"): row[2] for row in rows}
    return list(last.items())


def ready_to_pin(path: str) -> None:
    """Make sure that a path lies in a bpf file system, mounting one on its directory if that is empty.

    bpftool mounts it on any directory, and hides what is in there (/tmp!). UsageError when -n or files forbid it,
    KernelError when it fails.
    """
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder) and os.path.isdir(os.path.dirname(folder) or ".") and is_bpffs(
        os.path.dirname(folder) or "."
    ):
        return  # bpf(2) says what is wrong, or the caller makes the directory
    if is_bpffs(folder):
        return
    if output.flag("nomount"):
        raise UsageError(f"{folder} is not in a bpf file system, and -n forbids to mount one there")
    if os.listdir(folder):
        raise UsageError(
            f"{folder} is not in a bpf file system, and one mounted there would hide its files; pin below /sys/fs/bpf, "
            "or in an empty directory"
        )
    import ctypes

    from bombus.kernel.linux.syscall import libc

    if libc().mount(b"bpf", os.fsencode(folder), b"bpf", ctypes.c_ulong(0), b"mode=0700"):
        number = ctypes.get_errno()
        hint = "CAP_SYS_ADMIN is needed" if number == errno.EPERM else ""
        raise KernelError(number, "mount", f"a bpf file system on {folder}, to pin {path} in it", hint=hint)


def pin(handle: Handle, path: str) -> None:
    ready_to_pin(path)
    try:
        handle.pin(path)
    except KernelError as error:
        raise KernelError(error.errno or 0, error.call, path, hint=_pin_hint(error.errno, path)) from None


def _pin_hint(number: int | None, path: str) -> str:
    if number == errno.EEXIST:
        return "something is pinned there already"
    if number == errno.ENOENT:
        return "the directory does not exist"
    if number == errno.EPERM:
        return "the directory is not in a bpf file system, or names with dots are not allowed there"
    return ""


