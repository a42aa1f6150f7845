"""From a refused bpf(2) call to the error that says what was wrong."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Mapping

from bombus.errors import KernelError, LoadError, NeedsKernel
from bombus.kernel.api import Attr
from bombus.kernel.linux import process, token
from bombus.spec.maptypes import MAP_TYPE_BY_ID
from bombus.spec.progtypes import PROG_TYPE_BY_ID
from bombus.spec.version import KernelVersion

ENOTSUPP = 524  # Linux include/linux/errno.h; not an errno of libc

# Commands that want CAP_SYS_ADMIN; the others want CAP_BPF, and before 5.8 all CAP_SYS_ADMIN.
# Linux 6.12 kernel/bpf/syscall.c: __sys_bpf
_ADMIN_ONLY = frozenset(
    {
        "BPF_PROG_GET_NEXT_ID", "BPF_MAP_GET_NEXT_ID", "BPF_BTF_GET_NEXT_ID", "BPF_LINK_GET_NEXT_ID",
        "BPF_PROG_GET_FD_BY_ID", "BPF_MAP_GET_FD_BY_ID", "BPF_BTF_GET_FD_BY_ID", "BPF_LINK_GET_FD_BY_ID",
        "BPF_ENABLE_STATS", "BPF_TASK_FD_QUERY",
    }
)  # fmt: skip
_VERSION_ERRNOS = frozenset({errno.EINVAL, errno.E2BIG, errno.EOPNOTSUPP, ENOTSUPP})
_CONFIG_ERRNOS = _VERSION_ERRNOS | {errno.EPERM, errno.ENOENT, errno.ENODEV, errno.ESRCH, errno.EBUSY}
_LOG_MAX = 1 << 24
_MAKERS = frozenset({"BPF_PROG_LOAD", "BPF_MAP_CREATE", "BPF_BTF_LOAD"})
# Of loads with a signature. Linux 6.18 crypto/asymmetric_keys/pkcs7_trust.c, pkcs7_verify.c
_SIGNATURE_HINTS = {
    errno.EKEYREJECTED: "the signature is not of these instructions, or it is of a form that the kernel does not take",
    errno.ENOKEY: "no key of this keyring made the signature",
    errno.EBADMSG: "the signature is no PKCS#7 message",
    errno.EINVAL: "perhaps there is no such keyring",
}
_LOGS = {"BPF_PROG_LOAD": ("log_buf", "log_size"), "BPF_BTF_LOAD": ("btf_log_buf", "btf_log_size")}


def log_of(attr: Attr) -> str:
    """What the kernel wrote into the caller's log buffer, "" when the command has none."""
    names = _LOGS.get(attr.command.name)
    if names is None:
        return ""
    buffer = attr.buffers.get(names[0])
    data = bytes(buffer) if buffer is not None else _string_at(attr, attr.get(names[0]), attr.get(names[1]))
    return data.split(b"\0", 1)[0].decode(errors="replace")


def _string_at(attr: Attr, address: int, size: int) -> bytes:
    """A caller's log by address, page by page: what it says about its size may be wrong."""
    data = b""
    end = min(address + size, address + _LOG_MAX)
    while address and address < end:
        step = min(end, (address | 4095) + 1) - address
        try:
            data += attr.read(address, step)
        except KernelError:
            break
        if b"\0" in data[-step:]:
            break
        address += step
    return data


def wanted_capabilities(attr: Attr) -> tuple[str, ...]:
    """What a caller needs for this command, by the tables of spec."""
    name = attr.command.name
    if name in _ADMIN_ONLY:
        return ("CAP_SYS_ADMIN",)
    if name == "BPF_PROG_LOAD":
        row = PROG_TYPE_BY_ID.get(_field(attr, "prog_type"))
        return ("CAP_BPF", *(f"CAP_{c.removeprefix('CAP_')}" for c in row.caps)) if row else ("CAP_BPF",)
    return ("CAP_BPF",)


def permission_hint(attr: Attr, version: KernelVersion | None = None) -> str:
    """Words for an EPERM of a kernel of a version."""
    wanted = tuple(dict.fromkeys(c for c in wanted_capabilities(attr) if c in process.CAPABILITIES))
    missing = process.missing_capabilities(wanted)
    if missing and process.missing_capabilities(("CAP_SYS_ADMIN",)):
        other = "" if missing == ["CAP_SYS_ADMIN"] else " (or CAP_SYS_ADMIN)"
        return f"this process lacks {' and '.join(missing)}{other}"
    if token.given(attr):
        return "the BPF token does not delegate this, or this process lacks the capability in its user namespace"
    if process.in_user_namespace():
        return "its capabilities are those of a user namespace, which count only with a BPF token (Linux 6.9)"
    if version is not None and version < process.MEMCG_SINCE and attr.command.name in _MAKERS:
        limit = process.memlock()
        if limit is not None:
            return f"before Linux 5.11 BPF memory counts against RLIMIT_MEMLOCK, here {limit} bytes (ulimit -l)"
    if attr.command.name in ("BPF_MAP_UPDATE_ELEM", "BPF_MAP_DELETE_ELEM", "BPF_MAP_LOOKUP_ELEM"):
        return "the map is frozen, or its descriptor or flags do not allow this access"
    mode = process.lockdown()
    if mode not in ("", "none"):
        return f"the capabilities are there, but the kernel is locked down ({mode})"
    if process.filtered():
        return "the capabilities are there, but a seccomp filter is installed (a container's?) that may forbid bpf(2)"
    return "the capabilities are there, so the kernel refuses it by its configuration, lockdown or a security module"


def memory_hint() -> str:
    """Words for an ENOMEM."""
    found = process.memory_limit()
    if found is None:
        return "the kernel has no memory for it"
    return f"BPF memory counts for the memory cgroup of who asks, which may have {found[1]} bytes ({found[0]})"


def helper_hint(log: str, version: KernelVersion) -> tuple[str, KernelVersion | None]:
    """When the log says that a helper cannot be called: why ("" unknown), and since when kernels have it."""
    match = re.search(r"(?:invalid func|unknown func|cannot use helper) (\w+)#(\d+)", log)
    if match is None:
        return "", None
    from bombus.spec.helpers import HELPER_BY_ID

    row = HELPER_BY_ID.get(int(match[2]))
    if row is None:
        return "", None
    if row.since > version:
        return f"helper bpf_{row.name}", row.since
    if process.lockdown() == "confidentiality" and "read" in row.name:
        return "the kernel is locked down (confidentiality): programs may not read its memory", None
    return "", None


def missing_configs(attr: Attr, known: Mapping[str, str]) -> list[str]:
    """Configuration that what was asked for needs and the running kernel says it lacks."""
    from bombus.spec.attachtypes import ATTACH_TYPE_BY_ID
    from bombus.spec.configs import ATTACH_CONFIGS, MAP_CONFIGS, PROG_CONFIGS

    name = attr.command.name
    wanted: tuple[str, ...] = ()
    if name == "BPF_MAP_CREATE":
        kind = MAP_TYPE_BY_ID.get(_field(attr, "map_type"))
        wanted = MAP_CONFIGS.get(kind.name, ()) if kind is not None else ()
    elif name == "BPF_PROG_LOAD":
        row = PROG_TYPE_BY_ID.get(_field(attr, "prog_type"))
        wanted = PROG_CONFIGS.get(row.name, ()) if row is not None else ()
        at = ATTACH_TYPE_BY_ID.get(_field(attr, "expected_attach_type"))
        if at is not None and row is not None and row.name in at.prog_types:
            wanted += ATTACH_CONFIGS.get(at.name, ())
        if _field(attr, "signature"):
            wanted += ("CONFIG_SYSTEM_DATA_VERIFICATION",)
    elif name in ("BPF_LINK_CREATE", "BPF_PROG_ATTACH"):
        at = ATTACH_TYPE_BY_ID.get(_field(attr, "attach_type"))
        wanted = ATTACH_CONFIGS.get(at.name, ()) if at is not None else ()
    # A kernel that shows no configuration at all says nothing about one of them.
    return [config for config in dict.fromkeys(wanted) if known and known.get(config) not in ("y", "m")]


def _offloads(attr: Attr) -> bool:
    """Whether a program or map was to be a device's."""
    name = {"BPF_PROG_LOAD": "prog_ifindex", "BPF_MAP_CREATE": "map_ifindex"}.get(attr.command.name)
    return name is not None and _field(attr, name) != 0


def _field(attr: Attr, name: str) -> int:
    field = attr.command.by_name[name]
    return int.from_bytes(attr.raw[field.offset : field.offset + field.size], "little")


def too_new(attr: Attr, version: KernelVersion) -> tuple[str, KernelVersion] | None:
    """The first thing in a call that is younger than the kernel: (its name, since), by the rows of spec."""
    command = attr.command
    if command.since > version:
        return command.name, command.since
    for table, field in (("BPF_MAP_CREATE", "map_type"), ("BPF_PROG_LOAD", "prog_type")):
        if command.name == table:
            number = _field(attr, field)
            row = MAP_TYPE_BY_ID.get(number) if field == "map_type" else PROG_TYPE_BY_ID.get(number)
            if row is not None and row.since > version:
                return row.name, row.since
    taken = {
        f.offset for f in command.fields if (f.since or command.since) <= version
    }  # a union member may share its bytes with an older one
    for entry in command.fields:
        since = entry.since or command.since
        if since > version and entry.offset not in taken and any(attr.raw[entry.offset : entry.offset + entry.size]):
            return f"{entry.name} of {command.name}", since
    return None


def refusal(
    attr: Attr, number: int, version: KernelVersion, configs: Callable[[], Mapping[str, str]] = dict
) -> KernelError:
    """The typed error for errno `number`: NeedsKernel, LoadError (with the verifier's log) or KernelError.

    configs: the kernel's configuration, asked for when a switched-off part may be the reason.
    """
    name = attr.command.name
    if number in _VERSION_ERRNOS:
        found = too_new(attr, version)
        if found is not None:
            return NeedsKernel(number, name, feature=found[0], since=str(found[1]), version=str(version))
    hint = message = ""
    log = log_of(attr)
    if number == errno.EPERM:
        hint = permission_hint(attr, version)
    elif number == errno.ENOMEM:
        hint = memory_hint()
    elif number == errno.EMFILE:
        hint = f"this process may have {process.descriptors()} files open (ulimit -n)"
    elif number == ENOTSUPP:
        message = "ENOTSUPP: this kind of object does not do this"
    elif number in _SIGNATURE_HINTS and name == "BPF_PROG_LOAD" and _field(attr, "signature") and not log:
        hint = _SIGNATURE_HINTS[number]
    elif number in (errno.EINVAL, errno.EOPNOTSUPP) and not log and _offloads(attr):
        hint = "this interface takes no such program or map (offload)"
    elif number == errno.ENOSYS:
        hint = "the kernel has no bpf(2), or a seccomp filter forbids it"
    if log and name == "BPF_PROG_LOAD":
        what, since = helper_hint(log, version)
        if since is not None:
            newer = NeedsKernel(number, name, feature=what, since=str(since), version=str(version))
            newer.log = log
            return newer
        hint = hint or what
    if number in _CONFIG_ERRNOS and not log:
        lacks = missing_configs(attr, configs())
        if lacks:
            hint = f"this kernel was built without {', '.join(lacks)}"
    kind = LoadError if name == "BPF_PROG_LOAD" else KernelError
    return kind(number, name, message, log=log, hint=hint)
