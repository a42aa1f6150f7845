"""What is attached without a link goes when its process is killed, at whichever step, and nothing else goes."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sandbox import CLONE_NEWNET, Refused, in_namespace, own_cgroup, run, veth
from test_attach_kinds import ITERS, algorithms

from bombus.errors import KernelError
from bombus.isa import build as b
from bombus.kernel.api import Attr
from bombus.kernel.handles import Map, Program
from bombus.kernel.linux import guard, perf, rtnl, tracefs
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.kernel.linux.undo import attached_ids
from bombus.loader.load import load

pytestmark = pytest.mark.linux
ZERO, TWO = (bytes.fromhex(f"b70000000{number}0000009500000000000000") for number in (0, 2))
CONNECT4 = 10  # BPF_CGROUP_INET4_CONNECT
PATIENCE = 60.0
EGRESS = 0xFFFFFFF3


def goes(there: Callable[[], object]) -> bool:
    """Does it go, some time? What undoes it is another process."""
    end = time.monotonic() + PATIENCE
    while there():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def guards() -> list[int]:
    """Guards of processes in this network namespace, where every test is alone."""
    found, here = [], os.stat("/proc/self/ns/net").st_ino
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "comm").read_text() == "bombus-guard\n" and (folder / "ns/net").stat().st_ino == here:
                found.append(int(folder.name))
        except OSError:
            continue
    return found


class Kind:
    """One kind of attachment: how it is made, and whether it is there. Children make it, over the same programs."""

    def __init__(self, kernel: LinuxKernel) -> None:
        self.kernel = kernel

    def attach(self) -> Any:
        raise NotImplementedError

    def there(self) -> object:
        raise NotImplementedError


class Xdp(Kind):
    def __init__(self, kernel: LinuxKernel) -> None:
        super().__init__(kernel)
        self.programs = [Program.load(kernel, "xdp", TWO) for _ in range(2)]
        self.index = kernel.sites.ifindex("vb")

    def attach(self) -> Any:
        return self.programs[0].attach_xdp("vb", netlink=True)

    def update(self, made: Any) -> None:
        made.update(self.programs[1])

    def there(self) -> object:
        return self.kernel.sites.xdp_query(self.index).ids


class Tc(Kind):
    def __init__(self, kernel: LinuxKernel) -> None:
        super().__init__(kernel)
        self.programs = [Program.load(kernel, "sched_cls", ZERO) for _ in range(2)]

    def attach(self) -> Any:
        return self.programs[0].attach_tc("va", "egress", tcx=False)

    def update(self, made: Any) -> None:
        made.update(self.programs[1])

    def there(self) -> object:
        return "clsact" in run("tc", "qdisc", "show", "dev", "va")


class Lwt(Kind):
    def __init__(self, kernel: LinuxKernel) -> None:
        super().__init__(kernel)
        self.program = Program.load(kernel, "lwt_out", ZERO)

    def attach(self) -> Any:
        return self.program.attach_lwt("10.77.0.0/16", "va")

    def there(self) -> object:
        return "10.77." in run("ip", "route", "show")


class Cgroup(Kind):
    mode = "multi"

    def __init__(self, kernel: LinuxKernel, path: Path) -> None:
        super().__init__(kernel)
        code = b.program(b.mov(0, 1), b.exit_())
        self.programs = [Program.load(kernel, "cgroup_sock_addr", code, attach_type=CONNECT4) for _ in range(2)]
        self.path, self.fd = path, os.open(path, os.O_RDONLY)

    def attach(self) -> Any:
        return self.programs[0].attach_cgroup(self.path, kind="BPF_CGROUP_INET4_CONNECT", mode=self.mode)

    def update(self, made: Any) -> None:
        made.update(self.programs[1])

    def there(self) -> object:
        return attached_ids(self.kernel, self.fd, CONNECT4)


class Alone(Cgroup):
    mode = "exclusive"


class Sockmap(Kind):
    def __init__(self, kernel: LinuxKernel) -> None:
        super().__init__(kernel)
        self.map = Map.create(kernel, "sockmap", 4, 4, 4)
        self.programs = [Program.load(kernel, "sk_skb", b.program(b.mov(0, 1), b.exit_())) for _ in range(2)]

    def attach(self) -> Any:
        return self.programs[0].attach_sockmap(self.map, kind="BPF_SK_SKB_STREAM_VERDICT", link=False)

    def update(self, made: Any) -> None:
        made.update(self.programs[1])

    def there(self) -> object:
        return attached_ids(self.kernel, self.map.fd, 5)  # BPF_SK_SKB_STREAM_VERDICT


class StructOps(Kind):
    def __init__(self, kernel: LinuxKernel) -> None:
        super().__init__(kernel)
        self.name = f"bg{os.getpid()}"
        data = self.name.encode().ljust(len(b"bombus_plain"), b"\0")
        maps = tuple(
            replace(m, data=m.data.replace(b"bombus_plain", data)) if m.data and m.values else m for m in ITERS.maps
        )
        self.obj = replace(ITERS, maps=maps)

    def attach(self) -> Any:
        # A map can be registered once.
        names = ["bumble_init", "bumble_ssthresh", "bumble_avoid", "bumble_undo"]
        self.item = load(self.obj, self.kernel, programs=names)
        return self.item.struct_ops["bumble"].attach()

    def there(self) -> object:
        return self.name in algorithms()


class Probe(Kind):
    def __init__(self, kernel: LinuxKernel) -> None:
        super().__init__(kernel)
        self.program = Program.load(kernel, "kprobe", ZERO)
        if not (tracefs.root() / "uprobe_events").exists():
            raise Refused("no uprobes through tracefs")
        self.top = os.stat(tracefs._PID_NAMESPACE).st_ino

    def attach(self) -> Any:
        return self.program.attach_uprobe("libc.so.6", "getppid", ret=False, legacy=True)

    def there(self) -> object:
        text = (tracefs.root() / "uprobe_events").read_text()
        return [line for line in text.splitlines() if any(f"bombus_{pid}_{self.top}/" in line for pid in CHILDREN)]


CHILDREN: list[int] = []
KINDS = {"xdp": Xdp, "tc": Tc, "lwt": Lwt, "cgroup": Cgroup, "alone": Alone, "sockmap": Sockmap,
         "struct_ops": StructOps, "probe": Probe}  # fmt: skip
UPDATED = ["xdp", "tc", "cgroup", "alone", "sockmap"]


@contextmanager
def scene(name: str) -> Iterator[Kind]:
    veth()
    with own_cgroup(f"-{name}") as path:
        kind = KINDS[name]
        yield kind(LinuxKernel(), path) if issubclass(kind, Cgroup) else kind(LinuxKernel())


def child(action: Callable[[], object]) -> int:
    """Fork: the child does something and is killed, if it was not before. Its code, or minus its signal."""
    pid = os.fork()
    if pid == 0:
        CHILDREN.append(os.getpid())
        try:
            kept = action()  # what it attached must live on
            os.kill(os.getpid(), signal.SIGKILL)
            del kept
        except BaseException as error:
            print(f"in the child: {type(error).__name__}: {error}", file=sys.stderr)
        finally:
            os._exit(1)
    CHILDREN.append(pid)
    _, status = os.waitpid(pid, 0)
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def killed_at(step: int) -> None:
    """From now on this process is killed before, or after, the call with a number of those that change something."""
    left = [step]

    def count() -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*words: Any, **options: Any) -> Any:
            count()
            result = function(*words, **options)
            count()
            return result

        return wrapped

    real = LinuxKernel.bpf

    def bpf(self: LinuxKernel, attr: Attr) -> int:
        changes = attr.command.name in ("BPF_PROG_ATTACH", "BPF_PROG_DETACH", "BPF_MAP_UPDATE_ELEM")
        return counted(real)(self, attr) if changes else real(self, attr)

    LinuxKernel.bpf = bpf  # type: ignore[method-assign]
    for module, names in ((rtnl, ("xdp_set", "tc_qdisc", "tc_attach", "route_encap")), (tracefs, ("_append",)),
                          (perf, ("start",)), (guard.Guard, ("send",))):  # fmt: skip
        for name in names:
            setattr(module, name, counted(getattr(module, name)))


@pytest.mark.parametrize("name", list(KINDS))
def test_killed_at_each_step(name: str) -> None:
    def body() -> int:
        with scene(name) as kind:
            assert not kind.there()
            said, say = os.pipe()
            step = 0
            while True:
                step += 1

                def action(step: int = step) -> object:
                    killed_at(step)
                    made = kind.attach()
                    assert kind.there()
                    if name in UPDATED:
                        kind.update(made)  # type: ignore[attr-defined]
                        assert kind.there()
                    killed_at(1 << 30)
                    os.write(say, b"whole")
                    return made

                assert child(action) == -signal.SIGKILL
                assert goes(kind.there), f"it stays of a process that was killed at step {step}"
                if select.select([said], [], [], 0)[0]:
                    break
            assert goes(guards)
            return step

    assert in_namespace(body) >= 5


def test_detached_or_kept() -> None:
    """What was detached in order is not undone again, though the same is there again; what is kept stays."""

    def body() -> None:
        with scene("xdp") as kind:
            assert isinstance(kind, Xdp)
            other = Program.load(kind.kernel, "xdp", TWO)

            def detach() -> None:
                kind.attach().close()
                kind.programs[0].attach_xdp("vb", netlink=True).keep()

            for how in ("detached", "replaced", "off", "environment"):

                def action(how: str = how) -> object:
                    if how == "detached":
                        return detach()
                    elif how == "replaced":
                        held = kind.attach()
                        kind.kernel.sites.xdp_set(kind.index, other.fd, 0)
                    elif how == "off":
                        with Program.from_id(LinuxKernel(guard=False), kind.programs[0].id) as program:
                            held = program.attach_xdp("vb", netlink=True)
                        assert guard._guard is None
                    else:
                        os.environ[guard.VARIABLE] = "off"
                        held = kind.attach()
                        assert guard._guard is None
                    return held

                assert child(action) == -signal.SIGKILL
                assert goes(guards)
                found = list(kind.there().values())  # type: ignore[attr-defined]
                assert found == [other.id if how == "replaced" else kind.programs[0].id], how
                kind.kernel.sites.xdp_set(kind.index, -1, 0)

    in_namespace(body)


def test_links_cost_nothing() -> None:
    def body() -> None:
        veth()
        kernel = LinuxKernel()
        xdp, tc = Program.load(kernel, "xdp", TWO), Program.load(kernel, "sched_cls", ZERO)
        with xdp.attach_xdp("vb"), tc.attach_tc("va", "ingress"):
            assert guard._guard is None and not guards()

    in_namespace(body)


def test_one_guard_for_all_and_it_ends() -> None:
    def body() -> None:
        with scene("xdp") as kind:

            def action() -> object:
                held = [kind.attach()]
                assert len(guards()) == 1
                tc = Program.load(kind.kernel, "sched_cls", ZERO)
                held += [tc.attach_tc("va", way, tcx=False) for way in ("ingress", "egress")]
                assert len(guards()) == 1
                while held:
                    held.pop().close()
                assert len(guards()) == 1
                return held

            assert child(action) == -signal.SIGKILL
            assert goes(guards)
            assert "clsact" not in run("tc", "qdisc", "show", "dev", "va")

    in_namespace(body)


def test_signals_to_the_group() -> None:
    """Ctrl-C, hanging up, and a service manager's SIGTERM do not reach the guard, or do not end it."""

    def body() -> None:
        with scene("xdp") as kind:

            def action() -> object:
                os.setpgid(0, 0)
                got = []
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, lambda number, _: got.append(number))
                held = kind.attach()
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    os.killpg(0, number)
                    (mine,) = guards()
                    os.kill(mine, number)
                assert len(got) == 3 and kind.there()
                return held

            assert child(action) == -signal.SIGKILL
            assert goes(kind.there) and goes(guards)

    in_namespace(body)


def test_forked_children() -> None:
    """They neither end an attachment when they end, nor keep it when its maker is killed; their own have guards."""

    def body() -> None:
        with scene("xdp") as kind:
            assert isinstance(kind, Xdp)
            tc = Program.load(kind.kernel, "sched_cls", ZERO)
            stay, wake = os.pipe()
            ready, told = os.pipe()

            def action() -> object:
                made = kind.attach()
                if os.fork() == 0:
                    os._exit(0)
                os.wait()
                if os.fork() == 0:
                    del made
                    os._exit(0)
                os.wait()
                assert kind.there()
                if os.fork() == 0:
                    os.close(wake)
                    held = tc.attach_tc("va", "egress", tcx=False)
                    os.write(told, b"x")
                    os.read(stay, 1)
                    del held
                    os.kill(os.getpid(), signal.SIGKILL)
                assert os.read(ready, 1) == b"x"
                assert len(guards()) == 2 and kind.there()
                return made

            assert child(action) == -signal.SIGKILL
            assert goes(kind.there) and goes(lambda: len(guards()) > 1)
            assert kind.kernel.sites.tc_filters(kind.kernel.sites.ifindex("va"), EGRESS)
            os.close(wake)
            assert goes(lambda: "clsact" in run("tc", "qdisc", "show", "dev", "va")) and goes(guards)

    in_namespace(body)


def test_another_program_in_its_place() -> None:
    """A process that runs another program lives: what it attached goes with it, then."""

    def body() -> None:
        with scene("xdp") as kind:
            stay, wake = os.pipe()
            pid = os.fork()
            if pid == 0:
                held = kind.attach()
                os.dup2(stay, 0)
                os.execv("/bin/cat", ["cat"])
                del held
            assert goes(lambda: Path(f"/proc/{pid}/comm").read_text() != "cat\n")
            assert kind.there() and len(guards()) == 1
            os.close(wake)
            os.waitpid(pid, 0)
            assert goes(kind.there) and goes(guards)

    in_namespace(body)


def test_closed_descriptors_and_a_guard_that_is_gone() -> None:
    """A daemon closes all descriptors; the guard of before does its work, and the next attachment has another one."""

    def body() -> None:
        with scene("xdp") as kind:
            assert isinstance(kind, Xdp)
            program = Program.load(kind.kernel, "sched_cls", ZERO)

            def action() -> object:
                kind.attach().close()
                control = guard._guard._control.fileno()  # type: ignore[union-attr]
                other = socket.socket()
                os.dup2(other.fileno(), control)  # its number is another's now
                with pytest.raises(KernelError, match="BOMBUS_GUARD=off"):
                    kind.attach()
                assert not kind.there()
                held = [kind.attach()]
                (mine,) = [pid for pid in guards() if pid != min(guards())] or guards()
                os.kill(mine, signal.SIGKILL)
                goes(lambda: mine in guards())
                with pytest.raises(KernelError, match="guard"):
                    program.attach_tc("va", "egress", tcx=False)
                held.append(program.attach_tc("va", "egress", tcx=False))
                return held

            assert child(action) == -signal.SIGKILL
            # Its guard was killed: that one stays. The other has one.
            assert goes(lambda: "filter" in run("tc", "filter", "show", "dev", "va", "egress")) and goes(guards)
            assert kind.there()
            kind.kernel.sites.xdp_set(kind.index, -1, 0)

    in_namespace(body)


def in_another(namespace: int, action: Callable[[], Any]) -> Any:
    """Do something in a thread that is in another network namespace."""
    libc, found = ctypes.CDLL(None, use_errno=True), []

    def body() -> None:
        if libc.setns(namespace, CLONE_NEWNET):
            raise Refused(f"setns: {os.strerror(ctypes.get_errno())}")
        found.append(action())

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    return found[0]


def test_namespaces_that_a_thread_was_in() -> None:
    """The guard undoes it in the namespace where it was made, though the guard and all of the process are elsewhere."""

    def body() -> None:
        kernel = LinuxKernel()
        here = os.open("/proc/self/ns/net", os.O_RDONLY)
        if ctypes.CDLL(None).unshare(CLONE_NEWNET):
            raise Refused("unshare")
        there = os.open("/proc/self/ns/net", os.O_RDONLY)
        ctypes.CDLL(None).setns(here, CLONE_NEWNET)
        veth()
        index = in_another(there, lambda: (veth("inner", "other"), kernel.sites.ifindex("other"))[1])
        xdp, tc = Program.load(kernel, "xdp", TWO), Program.load(kernel, "sched_cls", ZERO)

        def state() -> object:
            return kernel.sites.xdp_query(index).ids or "clsact" in run("tc", "qdisc", "show", "dev", "inner")

        def action() -> object:
            held = [xdp.attach_xdp("vb", netlink=True)]  # the guard starts in this one
            held += in_another(there, lambda: [
                xdp.attach_xdp("other", netlink=True), tc.attach_tc("inner", "egress", tcx=False)
            ])  # fmt: skip
            assert in_another(there, state) and kernel.sites.xdp_query(kernel.sites.ifindex("vb")).ids
            return held

        assert child(action) == -signal.SIGKILL
        assert goes(lambda: in_another(there, state)) and goes(guards)
        assert not kernel.sites.xdp_query(kernel.sites.ifindex("vb")).ids

    in_namespace(body)


def test_the_program_as_it_is_run() -> None:
    """A whole Python, started and killed from outside, in the middle of a `with`."""

    def body() -> None:
        veth()
        kernel = LinuxKernel()
        code = (
            "from bombus.kernel.handles import Program\nfrom bombus.kernel.linux.kernel import LinuxKernel\n"
            f"program = Program.load(LinuxKernel(), 'xdp', bytes.fromhex('{TWO.hex()}'))\n"
            "with program.attach_xdp('vb', netlink=True):\n    print('there', flush=True)\n    input()\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None and process.stdout.readline() == "there\n"
            assert kernel.sites.xdp_query(kernel.sites.ifindex("vb")).ids
            process.kill()
        assert goes(lambda: kernel.sites.xdp_query(kernel.sites.ifindex("vb")).ids) and goes(guards)

    in_namespace(body)
