"""Programs of examples/bpf attached to Linux: what they tell of a process, a cgroup or a socket of this test's own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bombus.compiler.build import build_file
from bombus.errors import KernelError
from bombus.kernel.api import Kernel
from bombus.kernel.handles import RingBuffer
from bombus.loader.load import Loaded, load
from bombus.object.read import read_object

EXAMPLES = Path(__file__).parents[2] / "examples" / "bpf"
CGROUPS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
GETPPID = 110


@contextmanager
def attached(name: str, kernel: Kernel, **data: Any) -> Iterator[Loaded]:
    """Attached by its sections. Skips where the kernel has not what it attaches to."""
    obj = read_object(build_file(str(EXAMPLES / f"{name}.py")), name=name)
    with load(obj, kernel, data=data) as loaded:
        try:
            loaded.attach()
        except KernelError as error:
            pytest.skip(f"the kernel refuses here: {error}")
        yield loaded


def text(data: bytes) -> str:
    return data.split(b"\0")[0].decode()


def number(data: bytes, at: int, size: int = 4) -> int:
    return int.from_bytes(data[at : at + size], "little")


def events(loaded: Loaded, reader: RingBuffer, count: int) -> list[bytes]:
    """At least so many events, or what came within two seconds."""
    found: list[bytes] = []
    end = time.monotonic() + 2
    while len(found) < count and time.monotonic() < end:
        reader.wait(0.1)
        found += reader.read()
    return found


def test_opensnoop(linux_kernel: Kernel, tmp_path: Path) -> None:
    path = tmp_path / "opened"
    with attached("opensnoop", linux_kernel, only=os.getpid()) as loaded, RingBuffer(loaded.maps["events"]) as reader:
        path.write_text("x")
        path.read_text()
        found = [event for event in events(loaded, reader, 2) if text(event[32:96]) == str(path)[:63]]
    assert len(found) == 2
    assert {number(event, 0) for event in found} == {os.getpid()}
    write, read = (number(event, 8, 8) for event in found)
    assert write & os.O_CREAT
    assert not read & os.O_CREAT


def test_execsnoop(linux_kernel: Kernel) -> None:
    with attached("execsnoop", linux_kernel, only=os.getpid()) as loaded, RingBuffer(loaded.maps["events"]) as reader:
        children = [subprocess.Popen([program]) for program in ("/bin/true", "/bin/false")]
        for child in children:
            child.wait()
        found = events(loaded, reader, 2)
    rows = {(number(e, 0), number(e, 4), number(e, 8), text(e[16:32]), text(e[32:])) for e in found}
    assert rows == {
        (child.pid, os.getpid(), os.getuid(), name, f"/bin/{name}")
        for child, name in zip(children, ("true", "false"), strict=True)
    }
    assert sorted(number(e, 12) for e in found) == [len("/bin/true") + 1, len("/bin/false") + 1]


def test_exitsnoop(linux_kernel: Kernel) -> None:
    with attached("exitsnoop", linux_kernel, only=os.getpid()) as loaded, RingBuffer(loaded.maps["events"]) as reader:
        start = time.monotonic_ns()
        coded = subprocess.Popen(["/bin/sh", "-c", "exit 7"])
        coded.wait()
        killed = subprocess.Popen(["/bin/sleep", "100"])
        killed.kill()
        killed.wait()
        spent = time.monotonic_ns() - start
        found = {number(event, 0): event for event in events(loaded, reader, 2)}
    assert (number(found[coded.pid], 8), number(found[coded.pid], 12)) == (7, 0)
    assert (number(found[killed.pid], 8), number(found[killed.pid], 12)) == (0, 9)
    assert all(0 < number(event, 16, 8) < spent for event in found.values())
    assert set(found) == {coded.pid, killed.pid}


def test_syscount(linux_kernel: Kernel) -> None:
    with attached("syscount", linux_kernel, only=os.getpid()) as loaded:
        for _ in range(123):
            os.getppid()
        counts = {(key.pid, key.number): sum(values) for key, values in loaded.maps["calls"].items()}
    assert counts[os.getpid(), GETPPID] == 123
    assert {pid for pid, _ in counts} == {os.getpid()}


SLEEPER = "import time\ninput()\nfor _ in range(40): time.sleep(0.005)"


def test_runqlat(linux_kernel: Kernel) -> None:
    child = subprocess.Popen([sys.executable, "-c", SLEEPER], stdin=subprocess.PIPE)
    with attached("runqlat", linux_kernel, only=child.pid) as loaded:
        child.communicate(b"\n")
        counts = [loaded.maps["histogram"][slot] for slot in range(32)]
        waiting = list(loaded.maps["started"])
    assert sum(counts) >= 20  # each sleep ends with a wait for the CPU
    assert sum(counts[24:]) == 0  # nobody waited for 16 seconds
    assert len(waiting) <= 1


def test_profile(linux_kernel: Kernel) -> None:
    child = subprocess.Popen([sys.executable, "-c", "while True: sum(range(1000))"])
    try:
        obj = read_object(build_file(str(EXAMPLES / "profile.py")), name="profile")
        with load(obj, linux_kernel, data={"only": child.pid}) as loaded:
            try:
                link = loaded.programs["sample"].attach_perf_event("cpu_clock", frequency=997, pid=child.pid)
            except KernelError as error:
                pytest.skip(f"the kernel refuses here: {error}")
            with link:
                end = time.monotonic() + 5
                while time.monotonic() < end and len(list(loaded.maps["counts"])) < 3:
                    time.sleep(0.05)
            counts = dict(loaded.maps["counts"].items())
            assert {key.pid for key in counts} == {child.pid}
            assert {bytes(key.comm)[:6] for key in counts} == {b"python"}
            stacks = loaded.maps["stacks"]
            users = [key.user for key in counts if key.user >= 0]
            assert users
            frames = memoryview(stacks.raw.lookup(users[0].to_bytes(4, "little"))).cast("Q").tolist()
            assert any(_lies_in(child.pid, frame) for frame in frames if frame)
    finally:
        child.kill()
        child.wait()


def _lies_in(pid: int, address: int) -> bool:
    """Whether an address is code of a process."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        place, rights = line.split()[:2]
        start, end = (int(part, 16) for part in place.split("-"))
        if start <= address < end:
            return "x" in rights
    return False


def test_tasks_of_an_iterator(linux_kernel: Kernel) -> None:
    done = threading.Event()
    threads = [threading.Thread(target=done.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        obj = read_object(build_file(str(EXAMPLES / "iter_task.py")), name="iter_task")
        with load(obj, linux_kernel) as loaded:
            try:
                link = loaded.programs["tasks"].attach_iter()
            except KernelError as error:
                pytest.skip(f"the kernel refuses here: {error}")
            with link:
                data = link.read_iterator()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    rows = {(number(data, at), number(data, at + 4)) for at in range(0, len(data), 8)}
    mine = {pid for pid, tgid in rows if tgid == os.getpid()}
    assert {thread.native_id for thread in threads} <= mine
    assert (os.getpid(), os.getpid()) in rows


def test_tcpconnlat(linux_kernel: Kernel) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with (
            attached("tcpconnlat", linux_kernel, only=os.getpid()) as loaded,
            RingBuffer(loaded.maps["events"]) as reader,
        ):
            start = time.monotonic_ns()
            with socket.create_connection(("127.0.0.1", port)) as client:
                spent = time.monotonic_ns() - start
                local = client.getsockname()[1]
                with socket.socket() as refused:
                    assert refused.connect_ex(("127.0.0.1", 1)) != 0
                (event,) = events(loaded, reader, 1)
            assert list(loaded.maps["begun"]) == []  # also those that failed are gone
    assert 0 < number(event, 0, 8) <= spent
    assert number(event, 8) == os.getpid()
    assert event[12:20] == socket.inet_aton("127.0.0.1") * 2
    assert (number(event, 20, 2), number(event, 22, 2)) == (local, port)


@contextmanager
def own_cgroup(name: str) -> Iterator[Path]:
    root = next((root for root in CGROUPS if (root / "cgroup.controllers").exists()), None)
    if root is None:
        pytest.skip("no cgroup v2 file system")
    path = root / f"bombus-{name}-{os.getpid()}"
    try:
        path.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup of our own: {error}")
    try:
        yield path
    finally:
        path.rmdir()


CONNECT = """\
import os, socket, sys
open(sys.argv[1] + "/cgroup.procs", "w").write(str(os.getpid()))
try:
    with socket.create_connection(("203.0.113.7", 9), 3) as s:
        print(*s.getpeername(), s.recv(5).decode())
except OSError as error:
    print(error.errno)
"""


def test_connections_are_redirected(linux_kernel: Kernel) -> None:
    """A process of a cgroup that connects to an address that is nowhere comes to a server of this test."""
    obj = read_object(build_file(str(EXAMPLES / "connect_redirect.py")), name="connect_redirect")
    with own_cgroup("redirect") as group, socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        with load(obj, linux_kernel) as loaded:
            try:
                link = loaded.programs["redirect"].attach_cgroup(str(group))
            except KernelError as error:
                pytest.skip(f"the kernel refuses here: {error}")
            port = server.getsockname()[1]
            loaded.maps["targets"].raw.update(
                int.from_bytes(socket.inet_aton("203.0.113.7"), "big").to_bytes(4, "little"),
                socket.inet_aton("127.0.0.1") + socket.htons(port).to_bytes(4, "little"),
            )
            with link:
                child = subprocess.Popen(
                    [sys.executable, "-c", CONNECT, str(group)], stdout=subprocess.PIPE, text=True
                )
                connection, peer = server.accept()
                with connection:
                    connection.sendall(b"hello")
                    out, _ = child.communicate(timeout=10)
    assert peer[0] == "127.0.0.1"
    assert out.split() == ["127.0.0.1", str(port), "hello"]


@contextmanager
def in_cgroup(name: str, program: str, kernel: Kernel, **data: Any) -> Iterator[tuple[Loaded, Path]]:
    """A program of examples/bpf on a cgroup of the test's own."""
    obj = read_object(build_file(str(EXAMPLES / f"{name}.py")), name=name)
    with own_cgroup(name) as group, load(obj, kernel, data=data) as loaded:
        try:
            link = loaded.programs[program].attach_cgroup(str(group))
        except KernelError as error:
            pytest.skip(f"the kernel refuses here: {error}")
        with link:
            yield loaded, group


def child_in(group: Path, code: str) -> list[str]:
    """Lines that Python code prints in a process of a cgroup."""
    join = "import os, sys\nopen(sys.argv[1] + '/cgroup.procs', 'w').write(str(os.getpid()))\n"
    done = subprocess.run(
        [sys.executable, "-c", join + code, str(group)], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.splitlines()


OPEN = """\
for path in ("/dev/null", "/dev/zero", "/dev/kmsg"):
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        print("opened")
    except OSError as error:
        print(error.errno)
"""


def test_devices_of_a_cgroup(linux_kernel: Kernel) -> None:
    with in_cgroup("device_guard", "device", linux_kernel) as (_, group):
        assert child_in(group, OPEN) == ["opened", "opened", "1"]


SYSCTL = """\
path = "/proc/sys/kernel/randomize_va_space"
before = open(path).read()
try:
    os.write(os.open(path, os.O_WRONLY), before.encode())
    print("written")
except OSError as error:
    print(error.errno)
"""


def test_sysctls_of_a_cgroup(linux_kernel: Kernel) -> None:
    with in_cgroup("sysctl_guard", "guard", linux_kernel) as (loaded, group):
        assert child_in(group, SYSCTL) == ["1"]
        assert loaded.maps["asked"][0] >= 1
        assert loaded.maps["asked"][1] == 1


SEND = """\
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    sent = 0
    for _ in range(20):
        try:
            one.sendto(bytes(172), ("127.0.0.1", 9))
            sent += 1
        except ConnectionRefusedError:
            sent += 1
        except PermissionError:
            break
    print(sent)
"""


def test_a_budget_for_a_cgroup(linux_kernel: Kernel) -> None:
    with in_cgroup("cgroup_egress", "egress", linux_kernel, budget=1000) as (loaded, group):
        assert child_in(group, SEND) == ["4"]  # 200 bytes each with their headers; the fifth reaches the budget
        assert loaded.maps["sent"][0] == 1000


TALK = """\
import socket
with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
    peer, _ = server.accept()
    for _ in range(10):
        client.sendall(b"x" * 100)
        peer.recv(100)
    peer.close()
print("done")
"""


def test_sockets_of_a_cgroup(linux_kernel: Kernel) -> None:
    with in_cgroup("sockops_rtt", "watch", linux_kernel) as (loaded, group):
        assert child_in(group, TALK) == ["done"]
        counts = [loaded.maps["events"][index] for index in range(16)]
    assert (counts[4], counts[5]) == (1, 1)  # established: one asked for it, one was asked
    assert counts[12] > 0  # round trips, which the program asked to be told of


def test_what_programs_see_of_this_process(linux_kernel: Kernel) -> None:
    """Raw tracepoints and kfuncs in test runs, which run as this process."""
    def run(name: str, program: str) -> Loaded:
        loaded = load(read_object(build_file(str(EXAMPLES / f"{name}.py")), name=name), linux_kernel)
        handle = loaded.programs[program]
        if handle.type.short == "xdp":
            handle.test_run(bytes(60))
        else:
            handle.test_run(ctx=bytes(24))
        return loaded

    with run("task_parents", "look") as loaded:
        family = loaded.maps["families"][0]
        assert (family.own, family.parent) == (os.getpid(), os.getppid())
        assert bytes(family.comm).rstrip(b"\0") == Path("/proc/self/comm").read_bytes().rstrip()
    with run("kfunc_task", "find") as loaded:
        assert loaded.maps["tgids"][0] == os.getpid()
    with run("task_versions", "look") as loaded:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        assert loaded.maps["started"][0] // 10_000_000 == ticks  # since boot, in 100ths of a second
        assert [loaded.maps["started"][index] for index in (1, 2, 3)] == [0, 1, 0]
