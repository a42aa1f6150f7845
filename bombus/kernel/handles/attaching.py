"""What a program can be attached to, as methods. They work in `kernel.handles.attach`, which loads when first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bombus.btf.parse import Btf
    from bombus.kernel.handles.attachment import Attachment, Group
    from bombus.kernel.handles.links import IterLink, Link
    from bombus.kernel.handles.programs import Program


class Origin:
    """Where a program comes from: its section ("kprobe/do_unlinkat"), attach type, the maps and BTF of its object.

    shared: what attachments of one object keep together. extension: loads the program again, for the place of a
    function of another one (target, function). flags: those that it was loaded with.
    """

    __slots__ = ("attach_type", "autoattach", "btf", "extension", "flags", "maps", "section", "shared")

    def __init__(
        self, section: str = "", attach_type: str = "", autoattach: bool = True, maps: Mapping[str, Any] | None = None,
        shared: dict[str, Any] | None = None, btf: Btf | None = None,
        extension: Callable[[Program, str], Program] | None = None, flags: int = 0,
    ) -> None:  # fmt: skip
        self.section = section
        self.attach_type = attach_type
        self.autoattach = autoattach
        self.maps = {} if maps is None else maps
        self.shared = {} if shared is None else shared
        self.btf = btf
        self.extension = extension
        self.flags = flags


class Attaching:
    """Methods of `Program`. Arguments are those of the function of the same name after the program.

    Every one returns a context manager with `update`, `detach`, `pin`, `info` and `close`. Links end with their last
    holder or pin; so do these objects when they are collected.
    """

    origin = Origin()

    def attach(self, *args: Any, **options: Any) -> Link | Attachment | Group:
        """As the program's section says; args give the target where the section does not."""
        from bombus.kernel.handles.attach import attach

        return attach(self, *args, **options)  # type: ignore[arg-type, no-any-return]

    def attach_xdp(self, target: str | int, **options: Any) -> Link | Attachment:
        """See `attach.net.attach_xdp`: mode, netlink, replace, dispatcher, priority, chain."""
        return _call("net", "attach_xdp", self, target, **options)  # type: ignore[no-any-return]

    def attach_tc(self, target: str | int, direction: str = "", **options: Any) -> Link | Attachment:
        """See `attach.net.attach_tc`: tcx, handle, priority, replace."""
        return _call("net", "attach_tc", self, target, direction, **options)  # type: ignore[no-any-return]

    def attach_tcx(self, target: str | int, direction: str = "", **options: Any) -> Link:
        """See `attach.net.attach_tcx`: before, after, revision."""
        return _call("net", "attach_tcx", self, target, direction, **options)  # type: ignore[no-any-return]

    def attach_netkit(self, target: str | int, side: str = "", **options: Any) -> Link:
        """See `attach.net.attach_netkit`: before, after, revision."""
        return _call("net", "attach_netkit", self, target, side, **options)  # type: ignore[no-any-return]

    def attach_netns(self, target: Any = "/proc/thread-self/ns/net", **options: Any) -> Link:
        """See `attach.net.attach_netns`."""
        return _call("net", "attach_netns", self, target, **options)  # type: ignore[no-any-return]

    def attach_netfilter(self, hook: str | int, **options: Any) -> Link:
        """See `attach.net.attach_netfilter`: family, priority, defrag."""
        return _call("net", "attach_netfilter", self, hook, **options)  # type: ignore[no-any-return]

    def attach_lwt(self, destination: str, target: str | int, **options: Any) -> Attachment:
        """See `attach.net.attach_lwt`: headroom."""
        return _call("net", "attach_lwt", self, destination, target, **options)  # type: ignore[no-any-return]

    def attach_cgroup(self, target: Any, **options: Any) -> Link | Attachment:
        """See `attach.cgroup.attach_cgroup`: kind, mode, replace, preorder, before, after, revision."""
        return _call("cgroup", "attach_cgroup", self, target, **options)  # type: ignore[no-any-return]

    def attach_sockmap(self, target: Any, **options: Any) -> Link | Attachment:
        """See `attach.sock.attach_sockmap`: kind, link."""
        return _call("sock", "attach_sockmap", self, target, **options)  # type: ignore[no-any-return]

    def attach_socket(self, target: Any, **options: Any) -> Attachment:
        """See `attach.sock.attach_socket`: reuseport."""
        return _call("sock", "attach_socket", self, target, **options)  # type: ignore[no-any-return]

    def attach_lirc(self, target: Any) -> Attachment:
        """See `attach.sock.attach_lirc`."""
        return _call("sock", "attach_lirc", self, target)  # type: ignore[no-any-return]

    def attach_kprobe(self, function: str, **options: Any) -> Link | Attachment:
        """See `attach.probes.attach_kprobe`: offset, ret, cookie, legacy."""
        return _call("probes", "attach_kprobe", self, function, **options)  # type: ignore[no-any-return]

    def attach_ksyscall(self, name: str, **options: Any) -> Link | Attachment:
        """See `attach.probes.attach_ksyscall`: ret, cookie."""
        return _call("probes", "attach_ksyscall", self, name, **options)  # type: ignore[no-any-return]

    def attach_kprobe_multi(self, pattern: Any = "", **options: Any) -> Link:
        """See `attach.probes.attach_kprobe_multi`: addresses, cookies, ret."""
        return _call("probes", "attach_kprobe_multi", self, pattern, **options)  # type: ignore[no-any-return]

    def attach_uprobe(self, path: Any, symbol: str = "", **options: Any) -> Link | Attachment:
        """See `attach.probes.attach_uprobe`: offset, ret, pid, cookie, ref_ctr, legacy."""
        return _call("probes", "attach_uprobe", self, path, symbol, **options)  # type: ignore[no-any-return]

    def attach_uprobe_multi(self, path: Any, pattern: Any = "", **options: Any) -> Link:
        """See `attach.probes.attach_uprobe_multi`: offsets, cookies, ref_ctrs, pid, ret."""
        return _call("probes", "attach_uprobe_multi", self, path, pattern, **options)  # type: ignore[no-any-return]

    def attach_usdt(self, path: Any, provider: str, name: str, **options: Any) -> Group:
        """See `attach.probes.attach_usdt`: pid, cookie."""
        return _call("probes", "attach_usdt", self, path, provider, name, **options)  # type: ignore[no-any-return]

    def attach_tracepoint(self, category: str, name: str, **options: Any) -> Link | Attachment:
        """See `attach.perf.attach_tracepoint`: cookie."""
        return _call("perf", "attach_tracepoint", self, category, name, **options)  # type: ignore[no-any-return]

    def attach_perf_event(self, event: Any = "cpu_clock", **options: Any) -> Group:
        """See `attach.perf.attach_perf_event`: frequency, period, pid, cpus, inherit, exclude, cookie."""
        return _call("perf", "attach_perf_event", self, event, **options)  # type: ignore[no-any-return]

    def attach_raw_tracepoint(self, name: str, **options: Any) -> Link:
        """See `attach.tracing.attach_raw_tracepoint`: cookie."""
        return _call("tracing", "attach_raw_tracepoint", self, name, **options)  # type: ignore[no-any-return]

    def attach_trace(self, **options: Any) -> Link:
        """See `attach.tracing.attach_trace`: cookie. For tp_btf, fentry, fexit, fmod_ret, LSM."""
        return _call("tracing", "attach_trace", self, **options)  # type: ignore[no-any-return]

    def attach_freplace(self, target: Any = None, function: str = "") -> Link:
        """See `attach.tracing.attach_freplace`."""
        return _call("tracing", "attach_freplace", self, target, function)  # type: ignore[no-any-return]

    def attach_iter(self, **options: Any) -> IterLink:
        """See `attach.tracing.attach_iter`: map, tid, pid, pidfd, cgroup, order."""
        return _call("tracing", "attach_iter", self, **options)  # type: ignore[no-any-return]


def _call(module: str, function: str, *args: Any, **options: Any) -> Any:
    from bombus.kernel.handles.attach import call

    return call(module, function, *args, **options)
