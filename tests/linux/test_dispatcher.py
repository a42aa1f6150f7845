"""XDP programs that share an interface, beside libxdp's tools. Where the kernel replaces no functions, the guest does.

dispatch.bpf.c: each program writes its number (first 1, dropper 2, plain 3, large 4) into a map that all share.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from sandbox import Refused, in_namespace, mount_bpffs, run, veth

from bombus.cli import output
from bombus.cli.main import main
from bombus.errors import KernelError, NeedsKernel, NotSupported, UsageError
from bombus.kernel.handles import Attachment, Link, Program
from bombus.kernel.handles.attach import dispatchprog
from bombus.kernel.handles.attach.dispatcher import attached, leave, members
from bombus.kernel.handles.attach.runconfig import bits, run_config
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.kernels import open_kernel
from bombus.loader.load import Loaded, load
from bombus.object.read import open_object
from bombus.spec.version import KernelVersion

pytestmark = pytest.mark.linux
FILE = Path(__file__).parent / "data" / "dispatch.bpf.o"
OBJECT = open_object(FILE)
LOADER = shutil.which("xdp-loader", path="/usr/sbin:/sbin") or ""
FRAME = bytes(64)
PASS, DROP = 2, 1
BPFFS = Path("/sys/fs/bpf")
SHARED = BPFFS / "dispatch_order"


def index(name: str = "vb") -> int:
    return socket.if_nametoindex(name)


@contextmanager
def scene() -> Iterator[tuple[LinuxKernel, Loaded]]:
    """A veth pair, and the object with its map pinned, so that what xdp-loader loads shares it."""
    kernel = LinuxKernel()
    for name in ("all", "default"):  # or IPv6 sends packets of its own, which the programs see
        Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
    veth()
    try:
        with load(OBJECT, kernel) as item:
            yield kernel, item
    finally:
        SHARED.unlink(missing_ok=True)


def body_of(function: Callable[[LinuxKernel, Loaded], Any]) -> Any:
    """Run a test in namespaces of its own; where the kernel replaces no functions, it is skipped with the reason."""

    def body() -> Any:
        mount_bpffs(str(BPFFS))
        with scene() as (kernel, item):
            try:
                item.programs["plain"].attach_xdp("vb", dispatcher=True).close()
            except NotSupported as error:
                assert "the kernel refuses" in str(error)
                assert left() == [] and attached(kernel, kernel.sites, index()) is None
                raise Refused(str(error)) from None
            result = function(kernel, item)
            assert attached(kernel, kernel.sites, index()) is None, "left on the interface"
            assert left() == [], "left in the file system"
            return result

    return in_namespace(body, mounts=True)


def left() -> list[str]:
    """What there is in the directory of pins."""
    folder = BPFFS / "xdp"
    return sorted(str(path.relative_to(folder)) for path in folder.glob("*")) if folder.exists() else []


def loader(*words: str) -> str:
    if not LOADER:
        raise Refused("xdp-loader is not installed")
    done = subprocess.run([LOADER, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"xdp-loader {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout


def status() -> list[tuple[int, str, int, str]]:
    """What xdp-loader says of vb: (priority, name, id, actions) of each program."""
    text = loader("status", "vb")
    assert "xdp_dispatcher" in text, text
    return [
        (int(m[1]), m[2], int(m[3]), m[4])
        for m in re.finditer(r"^\s*=>\s+(\d+)\s+(\S+)\s+(\d+)\s+\w+\s+(\S+)\s*$", text, re.MULTILINE)
    ]


def names() -> list[str]:
    return [name for _, name, _, _ in status()]


def dispatch(kernel: LinuxKernel, item: Loaded) -> tuple[int, list[int]]:
    """One packet through the dispatcher: the verdict, and the programs that ran, in their order."""
    found = attached(kernel, kernel.sites, index())
    assert found is not None
    with found[0] as program:
        table = item.maps["dispatch_order"]
        table[0] = 0
        verdict = program.test_run(FRAME).retval
        value = int(table[0])
    return verdict, [int(digit) for digit in f"{value:x}" if value]


def ours(item: Loaded, name: str, **options: Any) -> Attachment:
    made = item.programs[name].attach_xdp("vb", dispatcher=True, **options)
    assert isinstance(made, Attachment)
    return made


@pytest.mark.parametrize("name", ["linux", "user:6.12", "user:6.1"])
def test_the_program_itself(name: str) -> None:
    """Kernels take it; places without a program let the packet pass; its configuration can be read back."""
    kernel = open_kernel(name)
    for count in (0, 1, 4, 10):
        slots = tuple(dispatchprog.Slot(9 * number, 1 << number % 5, number < 2) for number in range(count))
        config = dispatchprog.Config(2, slots)
        with dispatchprog.load(kernel, config) as program:
            assert program.test_run(FRAME).retval == PASS
            assert dispatchprog.read_config(program) == config and program.name == "xdp_dispatcher"
            assert len(program.map_ids()) == 1
            assert [number for number, _ in members(program)] == [0] * count
    with pytest.raises(UsageError, match="room for 10"):
        dispatchprog.load(kernel, dispatchprog.Config(2, tuple([dispatchprog.Slot(1, 1, False)] * 11)))
    with Program.load(kernel, "xdp", bytes.fromhex("b7000000020000009500000000000000")) as other:
        assert dispatchprog.read_config(other) is None and members(other) == []


def test_what_objects_say_of_their_programs() -> None:
    found = {name: run_config(OBJECT.btf, name) for name in ("first", "dropper", "plain")}
    assert found == {"first": (20, 0b1100), "dropper": (60, 0b10), "plain": (50, 0b100)}
    assert run_config(None, "first") == (50, 0b100)
    assert bits("XDP_DROP") == bits(["drop"]) == 2 and bits(()) == 0
    with pytest.raises(UsageError, match="'pas' is no XDP action"):
        bits(["pas"])


def test_where_there_are_no_dispatchers() -> None:
    kernel = open_kernel("user:6.12")
    kernel.net.veth("va", "vb")  # type: ignore[attr-defined]
    with load(OBJECT, kernel, pin_root="") as item:
        with pytest.raises(NotSupported, match="dispatchers on the user kernel"):
            item.programs["plain"].attach_xdp("vb", dispatcher=True)
        with pytest.raises(UsageError, match="go with dispatcher=True"):
            item.programs["plain"].attach_xdp("vb", priority=3)
        with pytest.raises(UsageError, match="do not go with a dispatcher"):
            item.programs["plain"].attach_xdp("vb", dispatcher=True, netlink=True)
        with pytest.raises(UsageError, match="priority -1"):
            item.programs["plain"].attach_xdp("vb", dispatcher=True, priority=-1)


def test_kernels_that_are_too_old() -> None:
    class Old(LinuxKernel):
        version = KernelVersion(5, 9)  # type: ignore[assignment]

    with load(OBJECT, Old(), pin_root="") as item, pytest.raises(NeedsKernel, match=r"5\.10"):
        item.programs["plain"].attach_xdp(1, dispatcher=True)


def test_joining_what_xdp_loader_made() -> None:
    """xdp-loader loads, bombus joins, xdp-loader unloads its own, ours stays; and the other way round."""

    def body(kernel: LinuxKernel, item: Loaded) -> None:
        loader("load", "-p", str(BPFFS), "-n", "plain", "vb", str(FILE))
        with ours(item, "first") as mine:
            assert names() == ["first", "plain"]
            assert status()[0] == (20, "first", mine.prog_id, "XDP_PASS,XDP_TX")
            assert dispatch(kernel, item) == (PASS, [1, 3])
            loader("unload", "vb", "-i", str(status()[1][2]))
            assert names() == ["first"] and dispatch(kernel, item) == (PASS, [1])
            loader("load", "-p", str(BPFFS), "-n", "dropper", "vb", str(FILE))
            assert [row[:2] for row in status()] == [(20, "first"), (60, "dropper")]
            assert status()[1][3] == "XDP_DROP"
            # whose answer lets the next one run, of which there is none: then packets pass
            assert dispatch(kernel, item) == (PASS, [1, 2])
        assert names() == ["dropper"] and dispatch(kernel, item) == (PASS, [2])
        loader("unload", "vb", "-a")

    body_of(body)


def test_beside_xdp_filter() -> None:
    """A tool that has its own objects, and finds its program among the others'."""

    def body(kernel: LinuxKernel, item: Loaded) -> None:
        def tool(*words: str) -> str:
            done = subprocess.run(["xdp-filter", *words], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done
            return done.stdout

        if not shutil.which("xdp-filter"):
            raise Refused("xdp-filter is not installed")
        with ours(item, "plain"):
            tool("load", "vb", "-f", "ethernet")
            assert len(names()) == 2 and {name[:7] for name in names()} == {"plain", "xdpfilt"}
            assert "vb" in tool("status")
            with ours(item, "first"):
                assert dispatch(kernel, item) == (PASS, [1, 3])
                tool("unload", "vb")
                assert names() == ["first", "plain"]

    body_of(body)


def test_xdp_loader_unloads_all() -> None:
    def body(kernel: LinuxKernel, item: Loaded) -> None:
        mine = ours(item, "first")
        loader("load", "-p", str(BPFFS), "-n", "plain", "vb", str(FILE))
        loader("unload", "vb", "-a")
        assert attached(kernel, kernel.sites, index()) is None
        mine.close()  # it is gone already

    body_of(body)


def test_order_and_actions() -> None:
    def body(kernel: LinuxKernel, item: Loaded) -> None:
        with ours(item, "plain") as plain, ours(item, "dropper", chain=("drop", "pass")) as dropper:
            assert plain.info()["priority"] == 50 and plain.info()["chain"] == ["pass"]
            assert dropper.info()["priority"] == 60 and dropper.info()["chain"] == ["drop", "pass"]
            with ours(item, "large", priority=60), ours(item, "first", priority=70, chain="XDP_TX"):
                # the same priority: by name. The last answer counts, since none lets another run.
                assert dispatch(kernel, item) == (PASS, [3, 2, 4, 1])
                found = attached(kernel, kernel.sites, index())
                assert found is not None
                with found[0] as program:
                    rows = members(program)
                assert [(row.priority, row.words) for _, row in rows] == [
                    (50, ["pass"]), (60, ["drop", "pass"]), (60, ["pass"]), (70, ["tx"])
                ]  # fmt: skip
                assert [number for number, _ in rows][:2] == [plain.prog_id, dropper.prog_id]
            with ours(item, "first", priority=4_000_000_000):
                assert dispatch(kernel, item) == (PASS, [3, 2, 1])
            with ours(item, "first", priority=0, chain=()):
                assert dispatch(kernel, item) == (PASS, [1])
            with ours(item, "dropper", priority=51):  # as it says itself: another one runs after a drop
                assert dispatch(kernel, item) == (PASS, [3, 2, 2])
            with ours(item, "dropper", priority=51, chain="pass"):
                assert dispatch(kernel, item) == (DROP, [3, 2])
            before = dropper.prog_id
            dropper.update(item.programs["large"])
            assert dispatch(kernel, item) == (PASS, [3, 4]) and dropper.prog_id != before

    body_of(body)


def test_packets_meet_all_programs() -> None:
    def body(kernel: LinuxKernel, item: Loaded) -> None:
        with ours(item, "first"), ours(item, "dropper", mode="native") as last:
            assert last.info()["mode"] == "native"
            table = item.maps["dispatch_order"]
            table[0] = 0
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
                out.bind(("va", 0))
                out.send(bytes(60))
            end = time.monotonic() + 30
            while not int(table[0]) and time.monotonic() < end:
                time.sleep(0.02)
            assert f"{int(table[0]):x}".startswith("12")
            with pytest.raises(UsageError, match="attached in native mode"):
                ours(item, "plain", mode="skb")
        with ours(item, "plain", mode="skb") as mine:
            assert mine.info()["mode"] == "skb" and "skb" in loader("status", "vb")

    body_of(body)


def test_what_is_refused() -> None:
    def body(kernel: LinuxKernel, item: Loaded) -> None:
        plain = item.programs["plain"]
        with ours(item, "first"):
            for options in ({}, {"netlink": True}, {"mode": "skb", "netlink": True}):
                with pytest.raises(KernelError, match=r"has an XDP dispatcher .* 1 program: dispatcher=True joins it"):
                    plain.attach_xdp("vb", **options)
            many = [ours(item, "plain") for _ in range(9)]
            assert len(names()) == 10
            with pytest.raises(UsageError, match="has 10 programs"):
                ours(item, "plain")
            for one in many:
                one.close()
            with pytest.raises(KernelError, match="not pinned in"):
                os.environ["LIBXDP_BPFFS"] = "/run/bombus-bpf"
                try:
                    os.mkdir("/run/bombus-bpf")
                    mount_bpffs("/run/bombus-bpf")
                    ours(item, "plain")
                finally:
                    del os.environ["LIBXDP_BPFFS"]
                    ctypes.CDLL(None).umount(b"/run/bombus-bpf")
                    os.rmdir("/run/bombus-bpf")
            assert len(left()) == 1
        with plain.attach_xdp("vb"), pytest.raises(KernelError, match=r"'plain'.*no dispatcher"):
            ours(item, "first")
        with plain.attach_xdp("vb", netlink=True), pytest.raises(KernelError, match="no dispatcher"):
            ours(item, "first")
        bare = Program.load(kernel, "xdp", bytes.fromhex("b7000000020000009500000000000000"))
        with bare, pytest.raises(NotSupported, match=r"load its object with bombus\.load"):
            bare.attach_xdp("vb", dispatcher=True)
        later = dispatchprog.Config(2, ()).to_bytes()
        assert dispatchprog.Config.parse(bytes((236, 3)) + later[2:]) == dispatchprog.Config(3, ())
        os.environ["LIBXDP_BPFFS"] = "/proc"
        try:
            with pytest.raises(UsageError, match="/proc is no bpf file system"):
                ours(item, "plain")
        finally:
            del os.environ["LIBXDP_BPFFS"]

    body_of(body)


def test_frags_only_when_all_can() -> None:
    def body(kernel: LinuxKernel, item: Loaded) -> None:
        def frags() -> bool:
            found = attached(kernel, kernel.sites, index())
            assert found is not None
            with found[0] as program:
                config = dispatchprog.read_config(program)
            assert config is not None
            return config.frags

        with ours(item, "large"):
            assert frags()
            with ours(item, "plain"):
                assert not frags() and sorted(names()) == ["large", "plain"]
            assert frags()
            run("ip", "link", "set", "vb", "mtu", "3400")
            run("ip", "link", "set", "va", "mtu", "9000")  # too large for programs without frags on the other side
            with pytest.raises(KernelError):
                ours(item, "plain")
            assert names() == ["large"] and len(left()) == 1

    body_of(body)


def current_ids(kernel: LinuxKernel) -> list[int]:
    """Ids of the programs of vb's dispatcher, in their order."""
    found = attached(kernel, kernel.sites, index())
    if found is None:
        return []
    with found[0] as program:
        return [number for number, _ in members(program)]


STEPS = ("mkdir", "symlink", "unlink", "rmdir")


def dying(at: int, action: Callable[[], object]) -> int | None:
    """Fork a process that does something and is killed before its changing call number `at`. None when it was not."""
    child = os.fork()
    if child == 0:
        os.environ["BOMBUS_GUARD"] = "off"  # which would mend it at once
        left_over = [at]

        def counted(call: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*words: Any, **options: Any) -> Any:
                left_over[0] -= 1
                if not left_over[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*words, **options)

            return wrapped

        from bombus.kernel.linux import rtnl

        for name in STEPS:
            setattr(os, name, counted(getattr(os, name)))
        rtnl.xdp_set = counted(rtnl.xdp_set)
        for kind in (Link, Program):
            kind.pin = counted(kind.pin)  # type: ignore[method-assign]
        Link.create = counted(Link.create)  # type: ignore[method-assign]
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, code = os.waitpid(child, 0)
    if os.WIFEXITED(code):
        assert os.WEXITSTATUS(code) == 0
        return None
    assert os.WTERMSIG(code) == signal.SIGKILL
    return at


@pytest.mark.parametrize("what", ["first", "second", "leave", "last"])
def test_killed_on_the_way(what: str) -> None:
    """Whichever call it was: packets meet the programs of before or of afterwards; the next change mends the rest."""

    own, base = what in ("leave", "last"), what in ("second", "leave")

    def body(kernel: LinuxKernel, item: Loaded) -> int:
        def runs() -> list[int]:
            return dispatch(kernel, item)[1] if attached(kernel, kernel.sites, index()) is not None else []

        def there(number: int) -> int:
            """The id of our program that writes a number; 0 when it is not there."""
            ids = current_ids(kernel)
            return ids[runs().index(number)] if number in runs() else 0

        if base:
            ours(item, "plain").keep()
        full, bare = [1, 3] if base else [1], [3] if base else []
        at, seen = 1, set()
        while True:
            if own and not there(1):
                ours(item, "first").keep()
            before, after = (full, bare) if own else (bare, full)
            assert runs() == before
            number = there(1)

            def action(number: int = number) -> None:
                if own:
                    leave(kernel, kernel.sites, index(), number)
                else:
                    ours(item, "first").keep()

            died = dying(at, action)
            assert runs() in (before, after), at
            assert all(current_ids(kernel)) and len(current_ids(kernel)) == len(runs())
            seen.add(tuple(runs()))
            leave(kernel, kernel.sites, index(), there(1))  # the next change mends, also when there is nothing to do
            assert runs() == bare and len(left()) == len(bare), (at, left())
            if died is None:
                break
            at += 1
        assert seen == {tuple(before), tuple(after)}
        if base:
            leave(kernel, kernel.sites, index(), there(3))
        return at

    assert body_of(body) > 5


def test_all_at_once() -> None:
    """Processes of bombus and xdp-loader join and leave at the same time; at the end those are there that stayed."""

    def body(kernel: LinuxKernel, item: Loaded) -> None:
        def patient(*words: str) -> str:
            # libxdp gives up when the dispatcher that it saw is gone before it has the lock.
            for _ in range(50):
                done = subprocess.run([LOADER, *words], capture_output=True, text=True, check=False)
                if done.returncode == 0:
                    return done.stdout
            raise AssertionError(f"{words}: {done.stderr}")

        def theirs() -> None:
            for _ in range(2):
                patient("load", "-p", str(BPFFS), "-n", "dropper", "vb", str(FILE))
                found = None
                while found is None:
                    found = re.search(r"=>\s+\d+\s+dropper\s+(\d+)", patient("status", "vb"))
                patient("unload", "vb", "-i", found[1])

        def mine() -> None:
            for _ in range(3):
                with ours(item, "first"):
                    assert all(current_ids(kernel))

        if not LOADER:
            raise Refused("xdp-loader is not installed")
        with ours(item, "plain"):
            children = []
            for action in (theirs, mine, mine):
                child = os.fork()
                if child == 0:
                    try:
                        action()
                    except BaseException:
                        traceback.print_exc()
                        os._exit(1)
                    os._exit(0)
                children.append(child)
            assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
            assert names() == ["plain"] and len(left()) == 1

    body_of(body)


def test_killed_afterwards() -> None:
    """The program of a process that is killed goes; those of others stay."""

    def body(kernel: LinuxKernel, item: Loaded) -> None:
        loader("load", "-p", str(BPFFS), "-n", "dropper", "vb", str(FILE))
        ready, told = os.pipe()
        for update in (False, True):
            pid = os.fork()
            if pid == 0:
                mine = ours(item, "first")
                if update:
                    mine.update(item.programs["plain"])
                os.write(told, b"x")
                signal.pause()
            assert os.read(ready, 1) == b"x"
            assert names() == (["plain", "dropper"] if update else ["first", "dropper"]), names()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            end = time.monotonic() + 60
            while len(current_ids(kernel)) != 1 and time.monotonic() < end:
                time.sleep(0.05)
            assert names() == ["dropper"]
        loader("unload", "vb", "-a")

    body_of(body)


def test_others_change_it_meanwhile() -> None:
    """What the interface has changes between the questions: it starts again from what is there then."""

    def body(kernel: LinuxKernel, item: Loaded) -> None:
        from bombus.kernel.handles.attach import dispatcher

        loader("load", "-p", str(BPFFS), "-n", "dropper", "vb", str(FILE))
        real, did = dispatcher._set, []

        def interrupted(*words: Any) -> None:
            if not did:
                did.append(1)
                # libxdp waits for the lock only when it pins; the swap itself is anyone's at any time
                run("ip", "link", "set", "vb", "xdp", "off")
            real(*words)

        dispatcher._set = interrupted
        try:
            with ours(item, "first"):
                assert did and dispatch(kernel, item) == (PASS, [1])
        finally:
            dispatcher._set = real
        for name in left():  # what libxdp pinned for the dispatcher that was torn away
            for pin in (BPFFS / "xdp" / name).iterdir():
                pin.unlink()
            (BPFFS / "xdp" / name).rmdir()

    body_of(body)


def command(*words: str, code: int = 0) -> str:
    """What a command line of bombus writes."""
    output.reset()
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        assert main(list(words)) == code, (words, out.getvalue(), err.getvalue())
    return out.getvalue() + err.getvalue()


def test_command_line() -> None:
    def body(kernel: LinuxKernel, item: Loaded) -> None:
        file = ("file", str(FILE), "program")
        command("net", "attach", "xdp", *file, "first", "dev", "vb", "dispatcher")
        command("net", "attach", "xdpdrv", *file, "plain", "dev", "vb", "dispatcher", "priority", "7",
                "chain", "pass,drop")  # fmt: skip
        assert dispatch(kernel, item) == (PASS, [3, 1])
        plain, first = current_ids(kernel)
        (row,) = json.loads(command("net", "show", "dev", "vb", "--json"))[0]["xdp"]
        assert row["dispatcher"] == [
            {"id": plain, "name": "plain", "priority": 7, "chain": ["drop", "pass"], "frags": False},
            {"id": first, "name": "first", "priority": 20, "chain": ["pass", "tx"], "frags": False},
        ]
        said = command("net", "show", "dev", "vb")
        assert f"\tid {plain} plain priority 7 chain drop,pass\n" in said
        links = {one["prog_id"]: one for one in json.loads(command("link", "show", "--json"))}
        assert links[first]["dispatcher"] == {"priority": 20, "chain": ["pass", "tx"], "frags": False}
        assert "xdp dispatcher: priority 20 chain pass,tx" in command("link", "show")
        alone = ("prog", "load", str(FILE), "/sys/fs/bpf/alone")
        command(*alone)
        said = command("net", "attach", "xdp", "pinned", "/sys/fs/bpf/alone", "dev", "vb", code=1)
        assert "has an XDP dispatcher (libxdp), which `dispatcher` after its name joins" in said
        said = command("net", "attach", "xdp", "pinned", "/sys/fs/bpf/alone", "dev", "vb", "dispatcher", code=2)
        assert "name its object, file OBJ" in said
        said = command("net", "attach", "xdp", "file", str(FILE), "dev", "vb", "dispatcher", code=2)
        assert "has 4 XDP programs" in said
        said = command("net", "detach", "xdp", "dev", "vb", "pinned", "/sys/fs/bpf/alone", code=2)
        assert "is not in the dispatcher" in said
        os.unlink("/sys/fs/bpf/alone")
        command("net", "detach", "xdp", "dev", "vb", "id", str(first))
        assert dispatch(kernel, item) == (PASS, [3])
        run("ip", "link", "add", "vc", "type", "veth", "peer", "name", "vd")
        # a program that is in one dispatcher can join another
        command("net", "attach", "xdp", "id", str(plain), "dev", "vd", "dispatcher")
        assert "plain priority 50 chain pass" in command("net", "show", "dev", "vd")
        command("net", "detach", "xdp", "dev", "vd")
        command("net", "detach", "xdp", "dev", "vb")

    body_of(body)
