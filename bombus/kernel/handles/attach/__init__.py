"""Attaching programs: one row for each kind of section says how.

`attach` is what `Program.attach` does; the typed functions are in the modules behind it. Rows with auto=True need
nothing but the section's name; the others want a target (an interface, a cgroup, a map, ...), which the error names.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from bombus.errors import UsageError
from bombus.spec.sections import SECTIONS, Section, resolve

if TYPE_CHECKING:
    from bombus.kernel.handles.programs import Program

_ROOM = "bombus.kernel.handles.attach."


class Row(NamedTuple):
    """How sections attach. target: turns what follows the section's slash into arguments (None: there are none).

    auto: whether that is all that is needed. wants: what a caller must give otherwise.
    """

    module: str
    function: str
    auto: bool = False
    target: Callable[[str], tuple[Any, ...]] | None = None
    wants: str = ""

    def call(self, program: Program, *args: Any, **options: Any) -> Any:
        return call(self.module, self.function, program, *args, **options)


def call(module: str, function: str, *args: Any, **options: Any) -> Any:
    """One of the typed functions. UsageError for arguments that it does not take."""
    found = getattr(import_module(_ROOM + module), function)
    try:
        inspect.signature(found).bind(*args, **options)
    except TypeError as error:
        names = ", ".join(list(inspect.signature(found).parameters)[1:])
        raise UsageError(f"{function}: {error}; it takes {names or 'nothing'}") from None
    return found(*args, **options)


def _kprobe(rest: str) -> tuple[Any, ...]:
    name, plus, offset = rest.partition("+")
    if not re.fullmatch(r"[A-Za-z0-9_.]+", name) or (plus and not re.fullmatch(r"0x[0-9a-fA-F]+|\d+", offset)):
        raise UsageError(f"{rest!r} is no kernel function with an offset")
    return (name, int(offset, 0)) if plus else (name,)


def _one(rest: str) -> tuple[Any, ...]:
    return (rest,)


def _file_and_function(rest: str) -> tuple[Any, ...]:
    path, colon, function = rest.partition(":")
    if not (path and colon and function):
        raise UsageError(f"{rest!r} is not of the form path:function")
    return path, function


def _usdt(rest: str) -> tuple[Any, ...]:
    parts = rest.rsplit(":", 2)
    if len(parts) != 3 or not all(parts):
        raise UsageError(f"{rest!r} is not of the form path:provider:name")
    return tuple(parts)


def _tracepoint(rest: str) -> tuple[Any, ...]:
    category, slash, name = rest.partition("/")
    if not (category and slash and name):
        raise UsageError(f"{rest!r} is not of the form category/name")
    return category, name


def _nothing(rest: str) -> tuple[Any, ...]:
    return ()


_KPROBE = Row("probes", "attach_kprobe", True, _kprobe, "a kernel function: attach_kprobe(name)")
_KPROBE_MULTI = Row("probes", "attach_kprobe_multi", True, _one, "functions: attach_kprobe_multi(pattern)")
_KSYSCALL = Row("probes", "attach_ksyscall", True, _one, "a system call: attach_ksyscall(name)")
_UPROBE = Row("probes", "attach_uprobe", True, _file_and_function, "a place: attach_uprobe(path, symbol)")
_UPROBE_MULTI = Row("probes", "attach_uprobe_multi", True, _file_and_function,
                    "functions: attach_uprobe_multi(path, pattern)")  # fmt: skip
_USDT = Row("probes", "attach_usdt", True, _usdt, "a USDT: attach_usdt(path, provider, name)")
_TRACEPOINT = Row("perf", "attach_tracepoint", True, _tracepoint, "a tracepoint: attach_tracepoint(category, name)")
_RAW_TP = Row("tracing", "attach_raw_tracepoint", True, _one, "a tracepoint: attach_raw_tracepoint(name)")
_TRACE = Row("tracing", "attach_trace", True, _nothing)
_CGROUP = Row("cgroup", "attach_cgroup", wants="a cgroup: attach_cgroup(path)")
_SOCKMAP = Row("sock", "attach_sockmap", wants="a sockmap: attach_sockmap(map)")
_SOCKET = Row("sock", "attach_socket", wants="a socket: attach_socket(socket)")
_TC = Row("net", "attach_tc", wants="an interface: attach_tc(name)")
_NETKIT = Row("net", "attach_netkit", wants="a netkit device: attach_netkit(name)")
_XDP = Row("net", "attach_xdp", wants="an interface: attach_xdp(name)")
_NETNS = Row("net", "attach_netns", wants="a network namespace: attach_netns(path)")
_LWT = Row("net", "attach_lwt", wants="a route: attach_lwt(destination, interface)")
_INDIRECT = Row("sock", "not_alone", wants="nothing: they are run through maps, struct_ops or a test run")

# By Section.base. A prefix stands for what begins with it and has no row of its own.
ROWS: dict[str, Row] = {
    "socket": _SOCKET, "sk_reuseport": _SOCKET, "sk_reuseport/migrate": _SOCKET,
    "kprobe": _KPROBE, "kretprobe": _KPROBE, "ksyscall": _KSYSCALL, "kretsyscall": _KSYSCALL,
    "kprobe.multi": _KPROBE_MULTI, "kretprobe.multi": _KPROBE_MULTI, "kprobe.session": _KPROBE_MULTI,
    "uprobe": _UPROBE, "uprobe.s": _UPROBE, "uretprobe": _UPROBE, "uretprobe.s": _UPROBE,
    "uprobe.multi": _UPROBE_MULTI, "uretprobe.multi": _UPROBE_MULTI, "uprobe.multi.s": _UPROBE_MULTI,
    "uretprobe.multi.s": _UPROBE_MULTI, "uprobe.session": _UPROBE_MULTI, "uprobe.session.s": _UPROBE_MULTI,
    "usdt": _USDT, "usdt.s": _USDT,
    "tc/ingress": _TC, "tc/egress": _TC, "tcx/ingress": _TC, "tcx/egress": _TC, "tc": _TC, "classifier": _TC,
    "action": Row("sock", "not_alone", wants="nothing: actions are bound to filters by tc(8)"),
    "netkit/primary": _NETKIT, "netkit/peer": _NETKIT,
    "tracepoint": _TRACEPOINT, "tp": _TRACEPOINT,
    "raw_tracepoint": _RAW_TP, "raw_tp": _RAW_TP, "raw_tracepoint.w": _RAW_TP, "raw_tp.w": _RAW_TP,
    "tp_btf": _TRACE, "fentry": _TRACE, "fmod_ret": _TRACE, "fexit": _TRACE, "fentry.s": _TRACE,
    "fmod_ret.s": _TRACE, "fexit.s": _TRACE, "lsm": _TRACE, "lsm.s": _TRACE, "lsm_cgroup": _CGROUP,
    "freplace": Row("tracing", "attach_freplace", True, _nothing),
    "iter": Row("tracing", "attach_iter", True, _nothing), "iter.s": Row("tracing", "attach_iter", True, _nothing),
    "syscall": _INDIRECT, "struct_ops": _INDIRECT, "struct_ops.s": _INDIRECT,
    "xdp.frags/devmap": _INDIRECT, "xdp/devmap": _INDIRECT, "xdp.frags/cpumap": _INDIRECT, "xdp/cpumap": _INDIRECT,
    "xdp.frags": _XDP, "xdp": _XDP,
    "perf_event": Row("perf", "attach_perf_event", wants="an event: attach_perf_event(event, frequency=...)"),
    "lwt_in": _LWT, "lwt_out": _LWT, "lwt_xmit": _LWT,
    "lwt_seg6local": Row("sock", "not_alone", wants="nothing: such programs belong to seg6local routes"),
    "sockops": _CGROUP, "sk_skb/stream_parser": _SOCKMAP, "sk_skb/stream_verdict": _SOCKMAP,
    "sk_skb/verdict": _SOCKMAP, "sk_skb": _SOCKMAP, "sk_msg": _SOCKMAP,
    "lirc_mode2": Row("sock", "attach_lirc", wants="a device: attach_lirc(path)"),
    "flow_dissector": _NETNS, "sk_lookup": _NETNS,
    "netfilter": Row("net", "attach_netfilter", wants="a hook: attach_netfilter(hook)"),
    "cgroup_skb/ingress": _CGROUP, "cgroup_skb/egress": _CGROUP,
    **{section.base: _CGROUP for section in SECTIONS if section.base.startswith("cgroup/")},
}  # fmt: skip


def row_of(program: Program) -> tuple[Section, Row, str]:
    """A program's section, how such attach, and the rest of its name. UsageError for an unknown section."""
    name = program.origin.section
    match = resolve(name)
    if match is None:
        what = f"section {name!r}" if name else "no section"
        raise UsageError(f"{program.name or 'this program'} has {what}, which does not say where to attach it")
    return match.section, ROWS[match.section.base], match.rest


def can_attach_alone(program: Program) -> bool:
    """Does the section's name say all that attaching needs?"""
    match = resolve(program.origin.section)
    if match is None:
        return False
    row = ROWS[match.section.base]
    if not row.auto or row.target is None:
        return False
    return bool(match.rest) or row.target is _nothing


def attach(program: Program, *args: Any, **options: Any) -> Any:
    """Attach a program as its section says. args, options: of the typed function; without args the section's target.

    Returns a Link, Attachment or Group. UsageError when the section needs a target that was not given.
    """
    section, row, rest = row_of(program)
    if not args and row.target is not None and (rest or row.target is _nothing):
        found = row.target(rest)
        if row.target is _kprobe and len(found) > 1:
            found, options = found[:1], {"offset": found[1], **options}
        return row.call(program, *found, **options)
    if not args and not row.auto and row.function not in ("attach_netns", "not_alone"):
        raise UsageError(f"SEC({program.origin.section!r}) needs {row.wants}")
    if not args and row.target is not None and not rest:
        raise UsageError(f"SEC({section.base!r}) without a target needs {row.wants}")
    return row.call(program, *args, **options)

