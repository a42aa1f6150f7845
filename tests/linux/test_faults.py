"""Nothing is left when a process dies on the way, and nothing grows when it does not.

BOMBUS_TEST_CYCLES sets the number of cycles of loading and unloading (1,000).
"""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sandbox import in_namespace, own_cgroup, run, veth

from bombus.cli.main import main
from bombus.errors import KernelError, LoadError, NotSupported
from bombus.isa import build as b
from bombus.kernel.api import Attr
from bombus.kernel.handles import Map, Program, RingBuffer, ids
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.kernel.linux.perf import cpu_list
from bombus.loader.load import load
from bombus.object.read import open_object

pytestmark = pytest.mark.linux
OBJECT = open_object(Path(__file__).parent / "data" / "attach.bpf.o")
CYCLES = int(os.environ.get("BOMBUS_TEST_CYCLES", "1000"))
RETURN_2 = bytes.fromhex("b7000000020000009500000000000000")
NAMES = ["xdp_pass", "tc_in", "cg_in", "tp_getppid", "raw_enter", "filter", "lookup", "up", "sample"]


class Killed(LinuxKernel):
    """Kills its own process just before, or just after, the call with a number: of bpf(2), perf events, netlink,
    sockets."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def bpf(self, attr: Attr) -> int:
        return self.counted(lambda: super(Killed, self).bpf(attr))

    @property
    def sites(self) -> Any:
        return KilledSites(self, super().sites)

    def counted(self, call: Callable[[], Any]) -> Any:
        self._count()
        result = call()
        self._count()
        return result

    def _count(self) -> None:
        self.at -= 1
        if self.at == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class KilledSites:
    def __init__(self, kernel: Killed, sites: Any) -> None:
        self._kernel, self._sites = kernel, sites

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._sites, name)
        return lambda *words, **options: self._kernel.counted(lambda: method(*words, **options))


def ours() -> set[int]:
    """Links whose program has a name of ours. Others load and attach on this machine meanwhile."""
    kernel, found = LinuxKernel(), set()
    for number in ids(kernel, "prog"):
        try:
            with Program.from_id(kernel, number) as program:
                if program.name in MARKED:
                    found.add(number)
        except KernelError:
            continue
    return found


MARKED = {f"fault{i}" for i in range(len(NAMES))}


def steps(at: int, cgroup: Path) -> None:
    """Load and attach everything; the process dies at call number `at`, if it has so many."""
    from dataclasses import replace

    programs = tuple(
        replace(p, name=f"fault{NAMES.index(p.name)}") for p in OBJECT.programs if p.name in NAMES
    )
    kernel = Killed(at)
    item = load(replace(OBJECT, programs=programs), kernel, data={"pid": os.getpid()})
    by = {name: item.programs[f"fault{number}"] for number, name in enumerate(NAMES)}
    held: list[Any] = [by["xdp_pass"].attach_xdp("vb"), by["tc_in"].attach_tcx("va", "ingress"),
                       by["cg_in"].attach_cgroup(cgroup), by["tp_getppid"].attach(), by["raw_enter"].attach(),
                       by["lookup"].attach(), by["up"].attach("libc.so.6", "getppid"),
                       by["sample"].attach("cpu_clock", frequency=1)]  # fmt: skip
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    held += [by["filter"].attach(right), left]
    os._exit(7)


def test_a_killed_process_leaves_nothing() -> None:
    def body() -> int:
        veth()
        with own_cgroup() as cgroup:
            calls, at = 0, 1
            while True:
                child = os.fork()
                if child == 0:
                    os.close(1)
                    steps(at, cgroup)
                _, status = os.waitpid(child, 0)
                calls = at
                if os.WIFEXITED(status):
                    assert os.WEXITSTATUS(status) == 7
                    break
                assert os.WTERMSIG(status) == signal.SIGKILL
                at += 1
            end = time.monotonic() + 10
            while ours() and time.monotonic() < end:  # programs go after a grace period
                time.sleep(0.05)
            assert not ours()
            assert LinuxKernel().sites.xdp_query(LinuxKernel().sites.ifindex("vb")).ids == {}
            assert "prog" not in run("ip", "link", "show", "vb")
            return calls

    assert in_namespace(body) > 80


def test_what_netlink_attached_goes_at_exit() -> None:
    """Without links the kernel keeps programs; a process that ends in order takes them away, a killed one cannot.

    Nor can another one for it: this is without the guard (test_guard.py).
    """

    def child(how: str) -> None:
        kernel = LinuxKernel(guard=False)
        xdp = Program.load(kernel, "xdp", RETURN_2)
        tc = Program.load(kernel, "sched_cls", RETURN_2)
        held = [xdp.attach_xdp("vb", netlink=True), tc.attach_tc("va", "egress", tcx=False)]
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        import weakref

        weakref.finalize._exitfunc()  # what the interpreter does at its end; os._exit does not  # type: ignore
        del held
        os._exit(0)

    def body() -> None:
        veth()
        sites = LinuxKernel().sites
        for how in ("end", "kill"):
            pid = os.fork()
            if pid == 0:
                child(how)
            os.waitpid(pid, 0)
            vb, va = sites.ifindex("vb"), sites.ifindex("va")
            kept = bool(sites.xdp_query(vb).ids), bool(sites.tc_filters(va, 0xFFFFFFF3))
            assert kept == ((True, True) if how == "kill" else (False, False)), how
        for words in (["xdp", "dev", "vb"], ["clsact_egress", "dev", "va"]):
            assert main(["net", "detach", *words]) == 0
        assert not sites.xdp_query(vb).ids and not sites.tc_filters(va, 0xFFFFFFF3)
        assert main(["net", "detach", "clsact_egress", "dev", "va"]) == 1
        assert sites.tc_qdisc(va, add=False)

    in_namespace(body)


def memory() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def cycles(what: Callable[[], None], count: int, room: int) -> None:
    for _ in range(10):
        what()
    gc.collect()
    fds, before = len(os.listdir("/proc/self/fd")), memory()
    for _ in range(count):
        what()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == fds
    assert memory() - before < room, f"{memory() - before} bytes more after {count} cycles"


def free(attach: Callable[[], Any]) -> Any:
    """Attach, once nobody looks at the link before any more: who lists links (bpftool) holds each for a moment."""
    for _ in range(100):
        try:
            return attach()
        except KernelError as error:
            if error.errno != errno.EBUSY:
                raise
        time.sleep(0.01)
    return attach()


def test_loading_and_attaching_again_and_again() -> None:
    def body() -> None:
        veth()
        kernel = LinuxKernel()
        names = ["xdp_pass", "tc_plain"]

        def once() -> None:
            with load(OBJECT, kernel, programs=names, data={"pid": 1}) as item:
                item.bss.hits[0] += 1
                with free(lambda: item.programs["xdp_pass"].attach("vb")):
                    item.programs["tc_plain"].attach_tc("va", "egress").close()

        cycles(once, CYCLES // 20, 6 << 20)  # detaching waits for a grace period of the kernel

        def plain() -> None:
            with load(OBJECT, kernel, programs=names, data={"pid": 1}) as item:
                item.bss.hits[0] += 1

        cycles(plain, CYCLES, 6 << 20)

        def refused() -> None:
            with pytest.raises(LoadError):
                Program.load(kernel, "xdp", bytes.fromhex("9500000000000000"))
            with pytest.raises(KernelError):
                load(OBJECT, kernel, programs=names, max_entries={"sockets": 0})

        cycles(refused, CYCLES // 20, 6 << 20)

    in_namespace(body)


def test_logs_grow_until_they_fit() -> None:
    kernel = LinuxKernel()
    body = bytes.fromhex("b700000000000000") * 2000 + bytes.fromhex("9500000000000000")
    with Program.load(kernel, "xdp", body, log_level=2, log_size=256) as program:
        assert "processed 2001 insns" in program.log and len(program.log) > 10_000


def test_signals_do_not_break_calls() -> None:
    """EINTR and the verifier's EAGAIN: a timer that fires all the time."""

    def body() -> None:
        fired = [0]

        def tick(*_: object) -> None:
            fired[0] += 1

        signal.signal(signal.SIGALRM, tick)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        kernel = LinuxKernel()
        for _ in range(20):
            with load(OBJECT, kernel, programs=["cg_connect4"]) as item:
                item.bss.hits[1] = 5
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert fired[0] > 3

    in_namespace(body, net=False)


@pytest.mark.parametrize(
    ("code", "times", "call", "answer"),
    [
        (errno.EAGAIN, 4, "load", 0), (errno.EAGAIN, 5, "load", errno.EAGAIN), (errno.EINTR, 50, "load", 0),
        (errno.EINTR, 50, "map", 0), (errno.EAGAIN, 1, "map", errno.EAGAIN), (errno.EINTR, 1, "run", errno.EINTR),
        (errno.ENOSPC, 1, "map", errno.ENOSPC), (errno.ENOMEM, 1, "load", errno.ENOMEM),
    ],
)  # fmt: skip
def test_which_calls_start_again(code: int, times: int, call: str, answer: int) -> None:
    """libbpf asks five times for a load that a signal interrupted; a test run may have happened: it is asked once."""
    kernel = LinuxKernel()
    program = Program.load(kernel, "xdp", RETURN_2)
    real, left = kernel._syscall, [times]

    def syscall(*words: Any) -> int:
        if left[0]:
            left[0] -= 1
            ctypes.set_errno(code)
            return -1
        return int(real(*words))

    calls: dict[str, Callable[[], Any]] = {
        "load": lambda: kernel.bpf(Attr("BPF_PROG_LOAD", prog_type=6, insns=RETURN_2, insn_cnt=2, license=b"GPL\0")),
        "map": lambda: kernel.bpf(Attr("BPF_MAP_CREATE", map_type=2, key_size=4, value_size=4, max_entries=1)),
        "run": lambda: program.test_run(bytes(64)),
    }
    kernel._syscall = syscall  # type: ignore[assignment]
    if answer:
        with pytest.raises(KernelError) as caught:
            calls[call]()
        assert caught.value.errno == answer
    else:
        os.close(calls[call]())
    assert left == [0]
    kernel._syscall = real
    program.close()


class Refusing(LinuxKernel):
    """Answers the call with a number by an error."""

    def __init__(self, at: int, code: int) -> None:
        super().__init__()
        self.at, self.code = at, code

    def bpf(self, attr: Attr) -> int:
        self.at -= 1
        if self.at == 0:
            raise KernelError(self.code, attr.command.name)
        return super().bpf(attr)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.ENOMEM, errno.EMFILE, errno.EPERM])
def test_a_refusal_at_any_step_leaves_nothing(code: int) -> None:
    """Of loading, attaching and reading: what was made until then is closed, and the error is the kernel's."""

    def body() -> int:
        veth()

        def once(at: int) -> bool:
            kernel = Refusing(at, code)
            with ExitStack() as stack:
                item = stack.enter_context(
                    load(OBJECT, kernel, programs=["xdp_pass", "tc_in"], data={"pid": 1})
                )
                stack.enter_context(item.programs["xdp_pass"].attach_xdp("vb"))
                stack.enter_context(item.programs["tc_in"].attach_tcx("va", "ingress"))
                item.bss.hits[0] += 1
            return kernel.at > 0

        once(0)
        gc.collect()
        fds, at, refused = len(os.listdir("/proc/self/fd")), 1, 0
        while True:
            try:
                if once(at):
                    break
            except NotSupported:  # a probe took the refusal for "no"; these codes say so
                assert code in (errno.ENOSPC, errno.EPERM)
            except KernelError as error:
                assert error.errno == code
                refused += 1
            gc.collect()
            assert len(os.listdir("/proc/self/fd")) == fds, at
            at += 1
        assert LinuxKernel().sites.xdp_query(LinuxKernel().sites.ifindex("vb")).ids == {}
        return refused

    assert in_namespace(body) >= 4


def test_signals_do_not_end_waiting() -> None:
    """A reader that signals interrupt all the time waits on, and gets its event."""

    def body() -> None:
        fired = [0]

        def tick(*_: object) -> None:
            fired[0] += 1

        kernel = LinuxKernel()
        with Map.create(kernel, "ringbuf", 0, 0, 4096) as ring, RingBuffer(ring) as reader:
            code = b.program(b.st("u32", 10, -4, 7), b.ld_imm64(1, ring.fd, 1), b.mov(2, b.R10), b.add(2, -4),
                             b.mov(3, 4), b.mov(4, 0), b.call(130), b.mov(0, 2), b.exit_())  # fmt: skip
            with Program.load(kernel, "xdp", code) as program:
                signal.signal(signal.SIGALRM, tick)
                signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
                assert reader.poll(0.1) == []
                timer = threading.Timer(0.1, program.test_run, (bytes(64),))
                timer.start()
                assert reader.poll(60) == [bytes((7, 0, 0, 0))]
                timer.join()
                signal.setitimer(signal.ITIMER_REAL, 0)
        assert fired[0] > 3

    in_namespace(body, net=False)


def test_lists_of_cpus_may_have_gaps() -> None:
    assert cpu_list("0-2,5,8-9\n") == [0, 1, 2, 5, 8, 9] and cpu_list("3") == [3]
    with pytest.raises(ValueError):
        cpu_list("")


def test_no_program_is_left_by_the_tests_above() -> None:
    assert not ours()
