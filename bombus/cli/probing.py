"""`bombus feature probe`: what a kernel has, as text, as macros for C, or as JSON, in bpftool's form.

Source: Linux 6.1 tools/bpf/bpftool/feature.c, behaviour.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bombus.cli import live, output
from bombus.cli.words import Words
from bombus.errors import BombusError, KernelError, UsageError
from bombus.spec.kconfigs import MACROS, OPTIONS

if TYPE_CHECKING:
    from bombus.kernel.api import Kernel

# Helpers whose use the kernel notes in its log; asked for only with `full`.
_NOISY = frozenset({"trace_printk", "trace_vprintk", "probe_write_user"})
_CAPABILITIES = ("CAP_SYS_ADMIN", "CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON")
_NET = ("BPF_PROG_TYPE_SCHED_CLS", "BPF_PROG_TYPE_XDP")  # what can be offloaded to a device
_NET_MAPS = ("BPF_MAP_TYPE_HASH", "BPF_MAP_TYPE_ARRAY")
_SYSCTLS = {
    "unprivileged_bpf_disabled": "kernel/unprivileged_bpf_disabled", "bpf_jit_enable": "net/core/bpf_jit_enable",
    "bpf_jit_harden": "net/core/bpf_jit_harden", "bpf_jit_kallsyms": "net/core/bpf_jit_kallsyms",
    "bpf_jit_limit": "net/core/bpf_jit_limit",
}  # fmt: skip
_SYSCTL_TEXT: dict[str, tuple[dict[int, str], str]] = {
    "unprivileged_bpf_disabled": ({
        0: "bpf() syscall for unprivileged users is enabled",
        1: "bpf() syscall restricted to privileged users (without recovery)",
        2: "bpf() syscall restricted to privileged users (admin can change)",
        -1: "Unable to retrieve required privileges for bpf() syscall",
    }, "bpf() syscall restriction has unknown value {}"),
    "bpf_jit_enable": ({
        0: "JIT compiler is disabled", 1: "JIT compiler is enabled",
        2: "JIT compiler is enabled with debugging traces in kernel logs", -1: "Unable to retrieve JIT-compiler status",
    }, "JIT-compiler status has unknown value {}"),
    "bpf_jit_harden": ({
        0: "JIT compiler hardening is disabled", 1: "JIT compiler hardening is enabled for unprivileged users",
        2: "JIT compiler hardening is enabled for all users", -1: "Unable to retrieve JIT hardening status",
    }, "JIT hardening status has unknown value {}"),
    "bpf_jit_kallsyms": ({
        0: "JIT compiler kallsyms exports are disabled", 1: "JIT compiler kallsyms exports are enabled for root",
        -1: "Unable to retrieve JIT kallsyms export status",
    }, "JIT kallsyms exports status has unknown value {}"),
    "bpf_jit_limit": ({
        -1: "Unable to retrieve global memory limit for JIT compiler for unprivileged users",
    }, "Global memory limit for JIT compiler for unprivileged users is {} bytes"),
}  # fmt: skip
_MISC = {
    "large_insn_limit": "Large program size limit", "bounded_loops": "Bounded loop support",
    "v2_isa_extension": "ISA extension v2", "v3_isa_extension": "ISA extension v3",
    "v4_isa_extension": "ISA extension v4",
}  # fmt: skip

Found = dict[str, Any]  # "syscall", "program_types", "map_types", "helpers", "misc"


def probe(words: Words, kernel_name: str, refresh: bool) -> None:
    """[kernel | dev NAME] [full] [unprivileged] [macros [prefix PREFIX]]"""
    device, component, full, unprivileged = 0, False, False, False
    prefix: str | None = None
    while words:
        word = words.expect("kernel", "dev", "full", "macros", "prefix", "unprivileged")
        if word in ("kernel", "dev"):
            if component:
                raise UsageError("component to probe already specified")
            component = True
            if word == "dev":
                device = live.interface(words.take("dev: a device"))
        elif word == "macros":
            if prefix is not None:
                raise UsageError("'macros' already given")
            prefix = ""
        elif word == "prefix":
            if prefix is None:
                raise UsageError("'prefix' argument can only be used after 'macros'")
            if prefix:
                raise UsageError("'prefix' already defined")
            prefix = words.take("PREFIX")
        elif word == "full":
            full = True
        else:
            unprivileged = True
    linux = kernel_name == "linux"
    if not linux and (device or unprivileged):
        raise UsageError("dev and unprivileged are for the running kernel")
    kernel = _kernel(kernel_name)
    if linux and not unprivileged:
        _check_rights()
    found = _ask(kernel, device, full, unprivileged, refresh)
    settings = {} if device else _settings(kernel)
    if output.as_json():
        output.print_json(_json(found, settings, device))
    elif prefix is not None:
        output.lines(_macros(found, settings, prefix, device))
    else:
        output.lines(_text(found, settings, device))


def _kernel(name: str) -> Kernel:
    from bombus.kernels import open_kernel

    return live.kernel() if name == "linux" else open_kernel(name)


def _check_rights() -> None:
    from bombus.kernel.linux.process import missing_capabilities

    missing = missing_capabilities(_CAPABILITIES)
    if missing:
        raise UsageError(
            f"missing {', '.join(missing)}, required for full feature probing; run as root or use 'unprivileged'"
        )


def _ask(kernel: Kernel, device: int, full: bool, unprivileged: bool, refresh: bool) -> Found:
    """The answers: those that were kept for this kernel and these rights, or new ones."""

    def ask() -> Found:
        return find(kernel, device, full)

    if kernel.name != "linux":
        return ask()
    if unprivileged:
        return _without_rights(ask)
    if device:
        return ask()
    from bombus.kernel.linux.cache import cached

    key = f"{'full ' if full else ''}{os.geteuid()} {_capability_mask()} {_sysctl(_SYSCTLS['bpf_jit_enable'])}"
    return cached("probe-full" if full else "probe", ask, key=key, refresh=refresh)


def find(kernel: Kernel, device: int = 0, full: bool = False) -> Found:
    """Ask the kernel. Types and helpers by bpftool's names; helpers: names that each program type may call."""
    from bombus.loader.probe import Prober
    from bombus.spec.helpers import HELPERS
    from bombus.spec.maptypes import MAP_TYPES
    from bombus.spec.progtypes import PROG_TYPES

    prober = Prober(kernel, device)
    found: Found = {"syscall": prober.syscall()}
    if not found["syscall"]:
        return found
    programs = [row for row in PROG_TYPES if row.id and (not device or row.name in _NET)]
    types = {row.short: prober.prog_type(row) for row in programs}
    maps = [row for row in MAP_TYPES if row.id and (not device or row.name in _NET_MAPS)]
    helpers = [row for row in HELPERS if full or row.name not in _NOISY]
    return found | {
        "program_types": types,
        "map_types": {row.short: prober.map_type(row) for row in maps},
        "helpers": {
            row.short: [f"bpf_{h.name}" for h in helpers if prober.helper(row, h)] if types[row.short] else []
            for row in programs
        },
        "misc": prober.instructions(),
    }


def _capability_mask() -> str:
    try:
        lines = Path("/proc/thread-self/status").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split()[1] for line in lines if line.startswith("CapEff:")), "")


def _without_rights(ask: Callable[[], Found]) -> Found:
    """Ask in a child that gave up all capabilities."""
    import ctypes
    import struct

    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.close(reader)
            libc = ctypes.CDLL(None, use_errno=True)
            # _LINUX_CAPABILITY_VERSION_3, this thread; permitted stays, nothing is effective.
            head = struct.pack("=Ii", 0x20080522, 0)
            data = bytearray(24)
            room = (ctypes.c_char * 24).from_buffer(data)
            if libc.capget(head, room) or libc.capset(head, _only_permitted(data)):
                raise KernelError(ctypes.get_errno(), "capset", "giving up capabilities")
            os.write(writer, b"1" + json.dumps(ask()).encode())
            code = 0
        except BombusError as error:
            os.write(writer, b"0" + str(error).encode())
        finally:
            os._exit(code)
    os.close(writer)
    answer = b""
    while chunk := os.read(reader, 1 << 16):
        answer += chunk
    os.close(reader)
    os.waitpid(child, 0)
    if answer[:1] != b"1":
        raise UsageError(f"the probe without capabilities failed: {answer[1:].decode(errors='replace') or 'it died'}")
    found: Found = json.loads(answer[1:])
    return found


def _only_permitted(data: bytearray) -> bytes:
    """struct __user_cap_data_struct[2] with nothing effective."""
    import struct

    words = list(struct.unpack("=6I", data))
    words[0] = words[3] = 0
    return struct.pack("=6I", *words)


# What is known without asking


def _sysctl(path: str) -> int:
    try:
        return int(Path("/proc/sys", path).read_text())
    except (OSError, ValueError):
        return -1


def _settings(kernel: Kernel) -> dict[str, Any]:
    known = kernel.kconfig()
    found: dict[str, Any] = {}
    if kernel.name == "linux":
        found |= {name: _sysctl(path) for name, path in _SYSCTLS.items()}
    return found | {name: known.get(name) for name in OPTIONS}


# The three forms


def _json(found: Found, settings: dict[str, Any], device: int) -> dict[str, Any]:
    shown: dict[str, Any] = {} if device else {"system_config": settings}
    shown["syscall_config"] = {"have_bpf_syscall": found["syscall"]}
    if not found["syscall"]:
        return shown
    return shown | {
        "program_types": {f"have_{name}_prog_type": there for name, there in found["program_types"].items()},
        "map_types": {f"have_{name}_map_type": there for name, there in found["map_types"].items()},
        "helpers": {f"{name}_available_helpers": names for name, names in found["helpers"].items()},
        "misc": {f"have_{name}": there for name, there in found["misc"].items()},
    }


def _features(found: Found) -> Iterator[tuple[str, str, list[tuple[str, str, bool]]]]:
    """Sections with their titles for people and for C, and their features: (what, macro, whether)."""
    yield "Scanning system call availability...", "/*** System call availability ***/", [
        ("bpf() syscall", "BPF_SYSCALL", found["syscall"])
    ]
    if not found["syscall"]:
        return
    yield "Scanning eBPF program types...", "/*** eBPF program types ***/", [
        (f"eBPF program_type {name}", f"{name}_prog_type".upper(), there)
        for name, there in found["program_types"].items()
    ]
    yield "Scanning eBPF map types...", "/*** eBPF map types ***/", [
        (f"eBPF map_type {name}", f"{name}_map_type".upper(), there) for name, there in found["map_types"].items()
    ]
    yield "", "", []  # helpers
    yield "Scanning miscellaneous eBPF features...", "/*** eBPF misc features ***/", [
        (_MISC[name], name.upper(), there) for name, there in found["misc"].items()
    ]


def _text(found: Found, settings: dict[str, Any], device: int) -> Iterator[str]:
    if not device:
        yield "Scanning system configuration..."
        for name, value in settings.items():
            if name in _SYSCTL_TEXT:
                texts, other = _SYSCTL_TEXT[name]
                yield texts.get(value, other.format(value))
            else:
                yield f"{name} is not set" if value is None else f"{name} is set to {value}"
        yield ""
    for title, _comment, features in _features(found):
        if not title:
            yield from _helpers_text(found)
            continue
        yield title
        for what, _macro, there in features:
            yield f"{what} is {'' if there else 'NOT '}available"
        yield ""


def _helpers_text(found: Found) -> Iterator[str]:
    yield "Scanning eBPF helper functions..."
    for name, names in found["helpers"].items():
        yield f"eBPF helpers supported for program type {name}:" + "".join(f"\n\t- {one}" for one in names)
        if not names:
            there = found["program_types"][name]
            yield "\tCould not determine which helpers are available" if there else "\tProgram type not supported"
    yield ""


def _macros(found: Found, settings: dict[str, Any], prefix: str, device: int) -> Iterator[str]:
    if not device:
        yield "/*** Misc kernel config items ***/"
        for name in MACROS:
            value = settings.get(name)
            yield f"/* {prefix}{name} is not set */" if value is None else f"#define {prefix}{name} {value}"
        yield ""
    for _title, comment, features in _features(found):
        if not comment:
            yield from _helper_macros(found, prefix)
            continue
        yield comment
        for _what, macro, there in features:
            yield f"#define {prefix}{'' if there else 'NO_'}HAVE_{macro}"
        yield ""


def _helper_macros(found: Found, prefix: str) -> Iterator[str]:
    from bombus.spec.helpers import HELPERS

    asked = {name for names in found["helpers"].values() for name in names}
    yield "/*** eBPF helper functions ***/"
    yield "/*"
    yield f" * Use {prefix}HAVE_PROG_TYPE_HELPER(prog_type_name, helper_name)"
    yield " * to determine if <helper_name> is available for <prog_type_name>,"
    yield " * e.g."
    yield f" *\t#if {prefix}HAVE_PROG_TYPE_HELPER(xdp, bpf_redirect)"
    yield " *\t\t// do stuff with this helper"
    yield " *\t#elif"
    yield " *\t\t// use a workaround"
    yield " *\t#endif"
    yield " */"
    yield f"#define {prefix}HAVE_PROG_TYPE_HELPER(prog_type, helper)\t\\"
    yield f"\t{prefix}BPF__PROG_TYPE_ ## prog_type ## __HELPER_ ## helper"
    for name, names in found["helpers"].items():
        there = set(names)
        for row in HELPERS:
            helper = f"bpf_{row.name}"
            if row.name in _NOISY and helper not in asked:
                continue
            yield f"#define {prefix}BPF__PROG_TYPE_{name}__HELPER_{helper} {int(helper in there)}"
    yield ""


def builtins(words: Words) -> None:
    """`feature list_builtins GROUP`: names that bombus knows."""
    from bombus.spec.attachtypes import ATTACH_TYPES
    from bombus.spec.helpers import HELPERS
    from bombus.spec.linktypes import LINK_TYPES
    from bombus.spec.maptypes import MAP_TYPES
    from bombus.spec.progtypes import PROG_TYPES

    group = words.expect("prog_types", "map_types", "attach_types", "link_types", "helpers")
    words.end()
    rows: dict[str, Callable[[], list[str]]] = {
        "prog_types": lambda: _named(PROG_TYPES), "map_types": lambda: _named(MAP_TYPES),
        "attach_types": lambda: [row.short for row in ATTACH_TYPES], "link_types": lambda: _named(LINK_TYPES),
        "helpers": lambda: [f"bpf_{row.name}" for row in HELPERS],
    }  # fmt: skip
    names = rows[group]()
    if output.as_json():
        output.print_json(names)
    else:
        output.lines(names)


def _named(rows: Any) -> list[str]:
    """Types by number, "unspec" for 0 as bpftool has it."""
    names = [row.short for row in rows]
    return names if "unspec" in names else ["unspec", *names]
