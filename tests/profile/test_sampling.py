"""`bombus profile` on processes that the test starts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bombus.cli import output
from bombus.cli.main import main
from bombus.errors import KernelError, NotSupported, UsageError
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.profile import Filter, Profile, Sampler

pytestmark = pytest.mark.linux
SOURCE = """
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <sys/wait.h>
volatile unsigned long sink;
__attribute__((noinline)) void busy_leaf(void) { for (int i = 0; i < 100000; i++) sink += i; }
__attribute__((noinline)) void busy_middle(void) { busy_leaf(); sink++; }
__attribute__((noinline)) void calls_kernel(void)
{
    for (int i = 0; i < 200; i++) { getppid(); read(-1, 0, 0); }
    sink++;
}
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
int main(int argc, char **argv)
{
    double end = now() + atof(argv[1]);
    if (argc > 2 && fork() == 0) { while (now() < end) busy_leaf(); return 0; }
    while (now() < end) { busy_middle(); calls_kernel(); }
    if (argc > 2) wait(NULL);
    return 3;
}
"""


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    folder = tmp_path_factory.mktemp("work")
    (folder / "work.c").write_text(SOURCE)
    # Without optimisation every function has a frame that the kernel can walk.
    subprocess.run(["gcc", "-O0", "-o", folder / "worker", folder / "work.c"], check=True)
    return folder / "worker"


@pytest.fixture
def process(worker: Path) -> Iterator[int]:
    child = subprocess.Popen([worker, "30"])
    yield child.pid
    child.kill()
    child.wait()


def run(sampler: Sampler, enough: Callable[[int, int, int], bool]) -> Profile:
    """Sample until `enough` says so of (samples, lost, refused), the command ends, or 30 s are over."""
    sampler.start()
    end = time.monotonic() + 30
    while time.monotonic() < end and sampler.running() and not enough(*sampler.accounts()):
        sampler.look()
        time.sleep(0.02)
    sampler.stop()
    return sampler.result()


def at_end(samples: int, lost: int, refused: int) -> bool:
    return False


def make(kernel: LinuxKernel, **options: object) -> Sampler:
    try:
        return Sampler(kernel, **options)  # type: ignore[arg-type]
    except (KernelError, NotSupported) as error:
        if isinstance(error, KernelError) and error.call != "perf_event_open":
            raise
        pytest.skip(f"the kernel refuses: {error}")


def shares(profile: Profile) -> dict[str, float]:
    total = profile.samples
    return {name: whole / total for name, _, _, whole in profile.functions()}


def test_everything(linux_kernel: LinuxKernel, process: int) -> None:
    """All CPUs: our process among others, no idle tasks; a filter chooses tasks."""

    def ours(sampler: Sampler) -> bool:
        counted = (int.from_bytes(n, "little") for key, n in sampler.counts.raw.pairs()
                   if int.from_bytes(key[:4], "little") == process)  # fmt: skip
        return sum(counted) >= 20

    with make(linux_kernel, everything=True, event="cpu-clock", frequency=199) as sampler:
        found = run(sampler, lambda *_: ours(sampler))
    mine = [stack for stack in found.stacks if stack.pid == process]
    assert mine and any("busy" in f.name or "calls" in f.name for stack in mine for f in stack.frames)
    assert all(stack.tid for stack in found.stacks)
    only = Filter.parse(f"pid == {process}")
    with make(linux_kernel, everything=True, event="cpu-clock", frequency=199, filter=only) as sampler:
        found = run(sampler, lambda samples, *_: samples >= 5)
    assert found.samples >= 5 and {stack.pid for stack in found.stacks} == {process}
    for options in ({}, {"everything": True, "pid": process}, {"everything": True, "command": ["true"]}):
        with pytest.raises(UsageError):
            Sampler(linux_kernel, **options)  # type: ignore[arg-type]


def test_process(linux_kernel: LinuxKernel, process: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with make(linux_kernel, pid=process, frequency=997) as sampler:
        profile = run(sampler, lambda samples, lost, refused: samples >= 300)
    assert profile.samples > 20 and profile.lost == 0 and profile.event in ("cycles", "cpu-clock")
    part = shares(profile)
    assert part["main"] > 0.9 and part["busy_middle"] > 0.2 and part["busy_leaf"] > 0.2
    leaf = next(stack for stack in profile.stacks if stack.frames[0].name == "busy_leaf")
    assert [frame.name for frame in leaf.frames[:3]] == ["busy_leaf", "busy_middle", "main"]
    assert leaf.pid == process and leaf.comm == "worker" and leaf.kernel == 0
    assert any(stack.kernel and stack.frames[0].module == "[kernel]" for stack in profile.stacks)
    assert len(os.listdir("/proc/self/fd")) == before, "links, events and maps are closed"


def test_command_with_children(linux_kernel: LinuxKernel, worker: Path) -> None:
    """The processes are gone when their addresses get names."""
    with make(linux_kernel, command=[str(worker), "0.6", "fork"], frequency=997) as sampler:
        profile = run(sampler, at_end)
        assert sampler.command is not None and sampler.command.wait() == 3
    assert len({stack.pid for stack in profile.stacks}) == 2, "the child is sampled too"
    part = shares(profile)
    assert part["main"] > 0.8 and part["busy_leaf"] > 0.3


def stacks_of_perf(text: str) -> Counter[tuple[str, ...]]:
    """Functions of user space, innermost first, of each sample that `perf script` prints."""
    found: Counter[tuple[str, ...]] = Counter()
    for block in text.split("\n\n"):
        lines = [line.split(None, 1)[1] for line in block.splitlines()[1:] if line.startswith((" ", "\t"))]
        names = [line.split("+0x")[0] for line in lines if "kernel" not in line.rpartition("(")[2]]
        if names:
            found[tuple(names)] += 1
    return found


def test_beside_perf(linux_kernel: LinuxKernel, process: int, tmp_path: Path) -> None:
    """The same process sampled by perf: the stack that it is in most of the time is the same."""
    if shutil.which("perf") is None:
        pytest.skip("no perf")
    record = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "997", "-g", "-p", str(process)]
    with subprocess.Popen([*record, "-o", tmp_path / "data", "sleep", "1"], stderr=subprocess.DEVNULL) as perf, \
            make(linux_kernel, pid=process, frequency=997, event="cpu-clock") as sampler:  # fmt: skip
        profile = run(sampler, lambda samples, lost, refused: perf.poll() is not None and samples > 100)
    done = subprocess.run(["perf", "script", "-i", tmp_path / "data"], capture_output=True, text=True)
    theirs = stacks_of_perf(done.stdout)
    if perf.returncode or not theirs:
        pytest.skip(f"perf does not sample here: {done.stderr[-200:]}")
    ours: Counter[tuple[str, ...]] = Counter()
    for stack in profile.stacks:
        ours[tuple(frame.name for frame in stack.frames[stack.kernel :])] += stack.count
    most, count = theirs.most_common(1)[0]
    assert most[:3] == ("busy_leaf", "busy_middle", "main")
    assert ours.most_common(1)[0][0][:3] == most[:3], (ours.most_common(3), theirs.most_common(3))
    assert abs(ours[ours.most_common(1)[0][0]] / profile.samples - count / theirs.total()) < 0.3


JIT = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
/* push rbp; mov rbp, rsp; mov ecx, 1000000; 1: dec ecx; jnz 1b; pop rbp; ret */
static const unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0xb9, 0x40, 0x42, 0x0f, 0x00, 0xff, 0xc9, 0x75, 0xfc,
                                     0x5d, 0xc3};
int main(int argc, char **argv)
{
    char path[64];
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(at, code, sizeof(code));
    snprintf(path, sizeof(path), "/tmp/perf-%d.map", getpid());
    FILE *map = fopen(path, "w");
    fprintf(map, "%lx %zx made::at::run_time\n", (unsigned long)at, sizeof(code));
    fclose(map);
    for (int i = 0; i < atoi(argv[1]); i++)
        ((void (*)(void))at)();
    puts(path);
    return 0;
}
"""


def test_jit_code(linux_kernel: LinuxKernel, tmp_path: Path) -> None:
    """Code that a process made itself has the names of its perf map, also when the process is gone."""
    if shutil.which("gcc") is None or os.uname().machine != "x86_64":
        pytest.skip("no gcc for x86-64")
    (tmp_path / "jit.c").write_text(JIT)
    subprocess.run(["gcc", "-O0", "-o", tmp_path / "jit", tmp_path / "jit.c"], check=True)
    with make(linux_kernel, command=[str(tmp_path / "jit"), "400"], frequency=997) as sampler:
        profile = run(sampler, at_end)
        assert sampler.command is not None and sampler.command.wait() == 0
        Path(f"/tmp/perf-{sampler.command.pid}.map").unlink()
    stack = profile.stacks[0]
    assert [(f.name, f.module.rpartition("/")[2]) for f in stack.frames[:2]] == [
        ("made::at::run_time", "[jit]"), ("main", "jit"),
    ]  # fmt: skip
    assert any(path[-1] == "made::at::run_time_[j]" for path, _ in profile.paths())


def test_threads(linux_kernel: LinuxKernel) -> None:
    code = "import threading,hashlib\ndef f():\n while True: hashlib.sha256(b'x'*1000000).digest()\n" \
           "for _ in range(3): threading.Thread(target=f, daemon=True).start()\nprint(1, flush=True)\nf()"  # fmt: skip
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            with make(linux_kernel, pid=child.pid, frequency=499) as sampler:
                profile = run(sampler, lambda samples, lost, refused: samples >= 150)
        finally:
            child.kill()
    assert len({stack.tid for stack in profile.stacks}) == 4 and {stack.pid for stack in profile.stacks} == {child.pid}


@pytest.mark.parametrize(
    ("text", "all_", "none"),
    [
        ("pid == {pid}", True, False),
        ("pid != {pid}", False, True),
        ("uid == {uid}, gid == {gid}, cpu < 4096", True, False),
        ("tid == 1 || tid == {pid}", True, False),
        ("period == 0", False, True),
        ("period >= 1, time > 0", True, False),
        ("ip & 0xffffffffffffffff", True, False),
        ("ip == 0 || time == 0", False, True),
        ("mem_op == 31", False, True),
        ("cgroup != 0", True, False),
    ],
)
def test_filters(linux_kernel: LinuxKernel, process: int, text: str, all_: bool, none: bool) -> None:
    filled = text.format(pid=process, uid=os.getuid(), gid=os.getgid())
    with make(linux_kernel, pid=process, frequency=997, filter=Filter.parse(filled)) as sampler:
        sampler.start()
        end = time.monotonic() + 30
        while sum(sampler.accounts()) < 20 and time.monotonic() < end:
            time.sleep(0.02)
        sampler.stop()
        samples, lost, filtered = sampler.accounts()
    assert samples + filtered > 0 and lost == 0
    if all_:
        assert filtered == 0
    if none:
        assert samples == 0


def test_kernel_addresses_by_filter(linux_kernel: LinuxKernel, process: int) -> None:
    with make(linux_kernel, pid=process, frequency=997, filter=Filter.parse("ip >= 0x8000000000000000")) as sampler:
        profile = run(sampler, lambda samples, lost, refused: samples >= 10 and refused >= 10)
    assert profile.samples > 0 and profile.filtered > 0
    assert all(stack.kernel for stack in profile.stacks)


def test_periods_and_events(linux_kernel: LinuxKernel) -> None:
    touch = "for at in range(0, 1 << 20, 4096): m[at] = 1"
    code = f"import mmap\nfor _ in range(40):\n m = mmap.mmap(-1, 1 << 20)\n {touch}"
    with make(linux_kernel, command=[sys.executable, "-c", code], event="page-faults", period=10) as sampler:
        profile = run(sampler, at_end)
    assert profile.event == "page-faults" and profile.period == 10 and profile.frequency == 0
    assert profile.samples >= 40 * 256 // 10 // 2


def test_no_room_is_told(linux_kernel: LinuxKernel, process: int) -> None:
    with make(linux_kernel, pid=process, frequency=2000, entries=1) as sampler:
        profile = run(sampler, lambda samples, lost, refused: lost > 0)
    assert profile.lost > 0 and len(profile.stacks) == 1


def test_refusals(linux_kernel: LinuxKernel) -> None:
    for options, text in (
        ({}, "process or a command"), ({"pid": 1, "command": ["x"]}, "process or a command"),
        ({"pid": 0x7FFF_FFF0}, "no process"), ({"pid": os.getpid(), "event": "nope"}, "no event 'nope'"),
        ({"pid": os.getpid(), "frequency": 0}, "frequency"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=text):
            Sampler(linux_kernel, **options)  # type: ignore[arg-type]
    sampler = make(linux_kernel, command=["/nonexistent/program"])
    with sampler, pytest.raises(UsageError, match="No such file"):
        sampler.start()


def test_the_user_kernel_says_no(user_kernel: object) -> None:
    with pytest.raises(NotSupported):
        Sampler(user_kernel, pid=1)  # type: ignore[arg-type]


def bombus(capfd: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    output.reset()
    capfd.readouterr()
    code = main([str(arg) for arg in args])
    out, err = capfd.readouterr()
    output.reset()
    return code, out, err


def test_command_line(
    linux_kernel: LinuxKernel, worker: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with make(linux_kernel, command=["true"]):
        pass
    svg = tmp_path / "out.svg"
    code, out, err = bombus(capfd, "profile", "-F", 997, "-o", svg, "--limit", 3, "--", worker, "0.3")
    assert code == 0, err
    assert "samples of" in out and "busy_leaf" in out and "more functions" in out and f"Written to {svg}" in err
    assert "busy_middle" in svg.read_text()
    for name, check in (
        ("a.folded", lambda data: b"worker;" in data and b";main;busy_middle" in data),
        ("a.pb.gz", lambda data: data[:2] == b"\x1f\x8b"),
        ("a.json", lambda data: json.loads(data)["stacks"][0]["comm"] == "worker"),
    ):
        code, out, err = bombus(capfd, "profile", "-F", 997, "-o", tmp_path / name, "-j", worker, "0.2")
        assert code == 0 and json.loads(out)["samples"] > 0 and check((tmp_path / name).read_bytes()), err
    code, out, err = bombus(capfd, "profile", "--duration", "0.2", "-F", 997, "-j", worker, "60")
    assert code == 0 and json.loads(out)["seconds"] < 30, "the command is ended"


def test_command_line_refusals(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for args, text in (
        ((), "give a process"), (("-p", 1, "ls"), "give a process"), (("--duration", 0, "ls"), "above 0"),
        (("-o", "x.png", "ls"), "ends in .svg"), (("--filter", "pid = 1", "ls"), "  pid = 1\n      ^"),
    ):  # fmt: skip
        code, _, err = bombus(capfd, "profile", *args)
        assert code == 2 and text in err, err
    code, _, _ = bombus(capfd, "profile", "-o", tmp_path / "no" / "x.svg", "ls")
    assert code == 1
