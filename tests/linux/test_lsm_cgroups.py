"""Security programs of cgroups: the same programs and the same calls on both kernels.

Linux is asked where it has trampolines (the guest's test runs this there, too).
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from sandbox import Refused
from test_parity import UserSockets, attempt, both_sockets, running

from bombus.errors import BombusError, KernelError, NotSupported
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.world import world_of
from bombus.loader.load import Loaded, load
from bombus.object.read import open_object

pytestmark = pytest.mark.linux
OBJECT = open_object(Path(__file__).parent / "data" / "lsms.bpf.o")
CREATE, CREATE_TOO, CREATED, BIND, BIND_TOO, CONNECT, LISTEN, OWN, PEER, SET, GET, WHOLE = range(1, 13)
NAMES = ["create", "create_too", "created", "bind", "bind_too", "connect", "listen", "own", "peer", "set", "get"]


def typed(side: Any) -> Any:
    """The side with a kernel that has types, and in whose cgroup this process is."""
    if isinstance(side, UserSockets):
        side.kernel = UserKernel(running(), btf=LinuxKernel().vmlinux_btf())
        side.kernel.cgroups.mkdir(side.path)
        world_of(side.kernel).task.tgid = os.getpid()
        return side
    try:  # does the kernel attach such programs?
        with load(OBJECT, side.kernel, programs=["listen"]) as item:
            item.programs["listen"].attach_cgroup(side.path).close()
    except BombusError as error:
        raise Refused(str(error)) from None
    return side


def rows(item: Loaded) -> list[list[int]]:
    bss = item.bss
    found = [
        [int(one.who), int(one.before), *map(int, one.args), int(one.family), int(one.type), int(one.protocol),
         int(one.port)]
        for one in list(bss.rows)[: int(bss.count)]
    ]  # fmt: skip
    bss.count = 0
    return found


def say(item: Loaded, **wanted: tuple[int, int]) -> None:
    """What programs answer, and the result that they set before: 1 and nothing by default."""
    answers, results = [1] * 16, [0] * 16
    answers[WHOLE] = 0
    for name, (answer, result) in wanted.items():
        answers[NAMES.index(name) + 1] = answer
        results[NAMES.index(name) + 1] = result
    item.bss.answer = answers
    item.bss.retval = results


def calls(log: list[Any], side: Any) -> None:
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            made: list[Any] = []
            attempt(log, f"socket {family} {kind}", lambda f=family, k=kind, m=made: m.append(side.make(f, k)))
            if not made:
                continue
            with made[0] as one:
                attempt(log, "bind", lambda o=one, h=host: o.bind((h, 24001)))
                attempt(log, "name", one.getsockname)
                attempt(log, "set", lambda o=one: o.setsockopt(socket.SOL_SOCKET, 12, 3))
                attempt(log, "get", lambda o=one: o.getsockopt(socket.SOL_SOCKET, 12))
                attempt(log, "listen", lambda o=one: o.listen(7))
                if kind == socket.SOCK_DGRAM:
                    attempt(log, "connect", lambda o=one, h=host: o.connect((h, 24002)))
                attempt(log, "peer", one.getpeername)


def settle(item: Loaded, side: Any) -> None:
    """Linux takes what it put at a hook away in a work queue (Linux 6.12 kernel/bpf/trampoline.c:
    bpf_shim_tramp_link_release): until that has run, programs that are attached anew run twice."""
    for _ in range(200):
        with side.make(socket.AF_INET, socket.SOCK_DGRAM) as one, suppress(OSError):
            one.bind(("127.0.0.1", 24003))
        found = [row[0] for row in rows(item)]
        if len(found) == len({*found}):
            return
        time.sleep(0.05)


def order(item: Loaded, side: Any) -> list[Any]:
    """Cgroups and who is there for everybody: the newest first."""
    log: list[Any] = []
    with ExitStack() as stack:
        links = [stack.enter_context(item.programs[name].attach_cgroup(side.path)) for name in ("bind", "bind_too")]
        whole = stack.enter_context(item.programs["whole"].attach_trace())
        settle(item, side)
        for answers in ({}, {"bind": (0, 0)}, {"bind": (0, -5)}, {"bind": (1, -5)}, {"bind_too": (0, 0)},
                        {"bind": (1, -5), "bind_too": (0, -7)}, {"bind": (0, 0), "bind_too": (1, -9)}):  # fmt: skip
            say(item, **answers)
            with side.make(socket.AF_INET, socket.SOCK_DGRAM) as one:
                attempt(log, f"bind {answers}", lambda o=one: o.bind(("127.0.0.1", 24003)))
            log.append(["rows", rows(item)])
        say(item)
        whole.close()
        stack.enter_context(item.programs["whole"].attach_trace())
        with side.make(socket.AF_INET, socket.SOCK_DGRAM) as one:
            attempt(log, "newer", lambda: one.bind(("127.0.0.1", 24003)))
        log.append(["rows", rows(item)])
        for link in links:
            link.close()
        stack.enter_context(item.programs["bind_too"].attach_cgroup(side.path))
        settle(item, side)
        with side.make(socket.AF_INET, socket.SOCK_DGRAM) as one:
            attempt(log, "newest", lambda: one.bind(("127.0.0.1", 24003)))
        log.append(["rows", rows(item)])
    return log


def kinds(item: Loaded, side: Any) -> list[Any]:
    """Links and programs without, and what they tell."""
    log: list[Any] = []
    listen, bind = item.programs["listen"], item.programs["bind"]
    with listen.attach_cgroup(side.path) as link:
        info = link.info()
        log.append(["info", [link.type, int(info.cgroup_attach_type), int(info.cgroup_cgroup_id) > 0]])
        attempt(log, "another hook", lambda: link.update(bind))
        with bind.attach_cgroup(side.path):
            attempt(log, "another hook that is there", lambda: link.update(bind))
        attempt(log, "the same again", lambda: link.update(listen))
        attempt(log, "as a program", lambda: listen.attach_cgroup(side.path, mode="exclusive").close())
        log.append(["detached", link.detach(), int(link.info().cgroup_cgroup_id)])
    for mode in ("exclusive", "override", "multi"):
        say(item, bind=(0, 0))
        with bind.attach_cgroup(side.path, mode=mode):
            settle(item, side)
            for name in ("bind_too", "listen"):
                attempt(log, f"{mode} {name}", lambda n=name, m=mode: item.programs[n].attach_cgroup(
                    side.path, mode=m).close())  # fmt: skip
            with side.make(socket.AF_INET, socket.SOCK_DGRAM) as one:
                attempt(log, mode, lambda o=one: o.bind(("127.0.0.1", 24003)))
        with side.make(socket.AF_INET, socket.SOCK_DGRAM) as one:
            attempt(log, "after", lambda o=one: o.bind(("127.0.0.1", 24003)))
        log.append(["rows", rows(item)])
    return log


def everything(side: Any) -> list[Any]:
    log: list[Any] = []
    side = typed(side)
    with load(OBJECT, side.kernel, data={"pid": os.getpid()}) as item:
        say(item)
        with ExitStack() as stack:
            for name in NAMES:
                stack.enter_context(item.programs[name].attach_cgroup(side.path))
            calls(log, side)
            log += [["row", row] for row in rows(item)]
            for name in NAMES:
                # Linux' callers make of a positive result what they like
                for said in ((0, 0), (0, -22), (1, -22), (1, 5), (0, 7)) if name == "bind" else ((0, -22), (1, -22)):
                    say(item, **{name: said})
                    log.append([f"{name} {said}"])
                    calls(log, side)
                    log.append(["rows", rows(item)])
        calls(log, side)
        log += [["none", rows(item)], *order(item, side), *kinds(item, side)]
    return log


def test_security_programs_of_cgroups(linux_kernel: LinuxKernel) -> None:
    both_sockets(everything)


def test_security_programs_of_the_user_kernel() -> None:
    """What the guest compared, in short: nobody here but the user kernel has to attach."""
    side = typed(UserSockets())
    with load(OBJECT, side.kernel, data={"pid": os.getpid()}) as item:
        say(item, bind=(0, 0), bind_too=(1, -9))
        side.kernel.cgroups.mkdir("/elsewhere")
        with item.programs["bind"].attach_cgroup(side.path), item.programs["bind_too"].attach_cgroup("/elsewhere"):
            with side.make(socket.AF_INET, socket.SOCK_DGRAM) as one, pytest.raises(KernelError) as refused:
                one.bind(("127.0.0.1", 24003))
            with side.kernel.unix_socket(socket.SOCK_DGRAM, cgroup="/elsewhere") as other, pytest.raises(OSError):
                other.bind(b"\0name")
        assert refused.value.errno == 1
        assert [row[0] for row in rows(item)] == [BIND, BIND_TOO]
        with pytest.raises(NotSupported, match="ask the links"):
            side.kernel.bpf(query(side))


def query(side: Any) -> Any:
    from bombus.kernel.api import Attr
    from bombus.spec.attachtypes import ATTACH_TYPE

    fd = side.kernel.sites.open("cgroup", side.path)
    return Attr("BPF_PROG_QUERY", target_fd=fd, attach_type=ATTACH_TYPE["BPF_LSM_CGROUP"].id)
