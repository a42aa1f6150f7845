"""Every kind of section, one after the other: a program of it is made, loaded and attached to something of our own.

The table that is printed says of each whether it was attached, is run by others, or what the kernel said. Only what a
kernel is known to lack may be refused; anything else that does not attach is our failure. What the programs do when
they are attached is seen in test_attach_kinds.py.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sandbox import in_namespace, own_cgroup, veth

from bombus.errors import KernelError, NotSupported, UsageError
from bombus.isa import build as b
from bombus.kernel.handles import Map
from bombus.kernel.handles.attach import ROWS
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.load import load
from bombus.object.model import Function, Object, ProgramSpec
from bombus.object.read import open_object
from bombus.spec.sections import SECTIONS, resolve

pytestmark = pytest.mark.linux
DATA = Path(__file__).parent / "data"
# What follows the slash, by the first part of the name that is here.
TARGETS = {
    "ksyscall": "getppid", "kretsyscall": "getppid", "kprobe.multi": "tcp_v4_connect",
    "kretprobe.multi": "tcp_v4_connect", "kprobe.session": "tcp_v4_connect", "kprobe": "do_unlinkat",
    "kretprobe": "do_unlinkat",
    "uprobe": "libc.so.6:getppid", "uretprobe": "libc.so.6:getppid", "usdt": "libc.so.6:libc:setjmp",
    "tracepoint": "syscalls/sys_enter_getppid", "tp_btf": "sys_enter", "tp": "syscalls/sys_enter_getppid",
    "raw_tracepoint.w": "bpf_test_finish", "raw_tp.w": "bpf_test_finish", "raw_tracepoint": "sys_enter",
    "raw_tp": "sys_enter", "fmod_ret.s": "__x64_sys_getpgid", "fmod_ret": "security_bprm_check",
    "fentry.s": "__x64_sys_getpgid", "fexit.s": "__x64_sys_getpgid", "fentry": "do_unlinkat", "fexit": "do_unlinkat",
    "lsm.s": "bprm_check_security",
    "lsm_cgroup": "socket_create", "lsm": "file_open", "iter": "task", "iter.s": "task",
}  # fmt: skip
# What r0 must be where 0 is refused (verifier.c: check_return_code).
RETURNS = {"cgroup": 1, "lsm_cgroup": 1, "sockops": 1, "netfilter": 1, "sk_lookup": 1, "xdp": 2}
# Kinds that kernels without a part of them refuse, and words of the refusal. Nothing else may be refused.
MAY_BE_REFUSED = {
    r"k(ret)?probe|k(ret)?syscall": "kprobes is not supported|traceable functions|CONFIG_",
    # Functions that may sleep are those that errors can be injected into: CONFIG_FUNCTION_ERROR_INJECTION.
    r"(fentry|fexit|fmod_ret)\.s": "EPERM|CONFIG_|is not sleepable|is not modifiable",
    r"fentry|fexit|fmod_ret|lsm": "EPERM|CONFIG_|ENOTSUPP",
    r"uprobe\.session": "needs Linux|EINVAL",
    "netkit": "ENODEV|CONFIG_NETKIT|no netkit device",
    "lirc_mode2": "CONFIG_BPF_LIRC_MODE2|no lirc device",
    "usdt": "no map|no USDT",  # a program for one needs the maps of usdt.bpf.h: test_usdt.py
    "freplace": "replaces a function of another program",  # test_attach_kinds.py gives one
    "struct_ops": "no struct_ops map",  # programs of them come with a map: test_attach_kinds.py
    "cgroup/.*_unix": "CONFIG_UNIX|EINVAL",
    "cgroup/dev": "CONFIG_CGROUP_BPF",
}


def made(section: str) -> Object:
    match = resolve(section)
    assert match is not None, section
    row = match.section
    value = next((value for name, value in RETURNS.items() if section.startswith(name)), 0)
    function = Function("it", section, 0, (b.mov(0, value), b.exit_()))
    program = ProgramSpec("it", section, row.prog_type, row.attach_type, match.rest, row.prog_flags, function,
                          attach_btf=row.attach_btf, attach=row.attach)  # fmt: skip
    return Object("sections", "little", (program,), (), {"it": function}, license="GPL")


def named(base: str) -> str:
    target = next((text for name, text in TARGETS.items() if re.match(rf"{re.escape(name)}(\.|$)", base)), "")
    return f"{base}/{target}" if target else base


class Places:
    """What is attached to: interfaces va and vb, a cgroup, sockets, a sockmap, an event, a route."""

    def __init__(self, kernel: LinuxKernel, cgroup: Path) -> None:
        self.kernel, self.cgroup = kernel, cgroup
        self.sockmap = Map.create(kernel, "sockmap", 4, 4, 4)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.socket.bind(("127.0.0.1", 0))

    def arguments(self, base: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        row = ROWS[base]
        chosen: dict[str, Callable[[], tuple[tuple[Any, ...], dict[str, Any]]]] = {
            "attach_xdp": lambda: (("vb",), {}),
            "attach_tc": lambda: (("va",), {} if "/" in base else {"direction": "ingress"}),
            "attach_netkit": lambda: (("nk",), {}),
            "attach_cgroup": lambda: (
                (self.cgroup,), {"kind": "BPF_CGROUP_INET_INGRESS"} if base == "cgroup/skb" else {},
            ),
            "attach_lwt": lambda: (("10.1.0.0/16", "va"), {}),
            "attach_sockmap": lambda: (
                (self.sockmap,), {"kind": "BPF_SK_SKB_STREAM_VERDICT"} if base == "sk_skb" else {},
            ),
            "attach_socket": lambda: ((self.socket,), {}),
            "attach_perf_event": lambda: (("cpu_clock",), {"frequency": 10, "pid": os.getpid()}),
            "attach_lirc": lambda: (("/dev/lirc0",), {}),
            "attach_netfilter": lambda: (("local_in",), {}),
        }  # fmt: skip
        return chosen.get(row.function, lambda: ((), {}))()


def outcome(base: str, places: Places) -> str:
    if base.startswith("netkit") and not Path("/sys/class/net/nk").exists():
        return "refused: no netkit device can be made"
    if base == "lirc_mode2" and not Path("/dev/lirc0").exists():
        return "refused: no lirc device"
    obj = made(named(base))
    try:
        with load(obj, places.kernel) as item:
            if ROWS[base].function == "not_alone":
                with pytest.raises(UsageError):
                    item.programs["it"].attach()
                return f"loads; {ROWS[base].wants.partition(': ')[2]}"
            args, options = places.arguments(base)
            with item.programs["it"].attach(*args, **options) as link:
                return f"attached: {link.type}"
    except (KernelError, NotSupported, UsageError) as error:
        log = getattr(error, "log", "") or ""
        return f"refused: {str(error).splitlines()[0]} {log.strip()[-200:]}"
    except Exception as error:  # of the loader: no such function in this kernel's BTF
        return f"refused: {error}"


def outcomes() -> list[list[str]]:
    def body() -> list[list[str]]:
        veth()
        os.system("ip link add nk type netkit 2>/dev/null")
        with own_cgroup() as cgroup:
            places = Places(LinuxKernel(), cgroup)
            return [[section.base, outcome(section.base, places)] for section in SECTIONS]

    rows: list[list[str]] = in_namespace(body)
    assert {base for base, _ in rows} == set(ROWS)
    return rows


def failures(rows: list[list[str]]) -> list[list[str]]:
    """What was refused for no reason that a kernel is known to have."""
    wrong = []
    for base, text in rows:
        words = next((words for kind, words in MAY_BE_REFUSED.items() if re.match(kind, base)), None)
        if text.startswith("refused") and (words is None or not re.search(words, text)):
            wrong.append([base, text])
    return wrong


def test_every_kind_of_section(capsys: pytest.CaptureFixture[str]) -> None:
    rows = outcomes()
    with capsys.disabled():
        done = sum(not text.startswith("refused") for _, text in rows)
        print(f"\nLinux {os.uname().release}: {done} of {len(rows)} kinds of sections")
        print(*(f"  {base:24} {text[:150]}" for base, text in rows), sep="\n")
    assert not failures(rows)


def test_what_takes_no_target_of_its_own_is_attached_elsewhere() -> None:
    """The kinds that the table cannot attach alone have programs in the objects of the other tests."""
    used = {p.section.removeprefix("?") for path in DATA.glob("*.bpf.o") for p in open_object(path).programs}
    for name in ("usdt", "freplace", "struct_ops"):
        assert any(section.startswith(name) for section in used), name
