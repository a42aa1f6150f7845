"""A process in a user namespace, without any right in the first one, loads, attaches and runs by a token.

The parent makes a bpf file system that belongs to the child's namespace and says what it delegates; no directory gets a
mount. Linux 6.9; see tools/testing/selftests/bpf/prog_tests/token.c of the kernel.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sandbox import CLONE_NEWNET, run, veth
from test_attach_kinds import ATTACH, frames, hits, until

from bombus import open_kernel
from bombus.errors import KernelError, LoadError
from bombus.isa import build as b
from bombus.kernel.handles import Map, Program, Token
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.kernel.linux.token import VARIABLE
from bombus.loader.load import load

pytestmark = pytest.mark.linux
CLONE_NEWUSER, CLONE_NEWNS = 0x1000_0000, 0x0002_0000
FSOPEN, FSCONFIG, FSMOUNT = 430, 431, 432
SET_STRING, CREATE = 1, 6  # include/uapi/linux/mount.h: enum fsconfig_command
PASS = b.program(b.mov(0, 2), b.exit_())
ALL = {"delegate_cmds": "any", "delegate_maps": "any", "delegate_progs": "any", "delegate_attachs": "any"}


def libc(*words: Any) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    done: int = library.syscall(*words)
    if done < 0:
        raise OSError(ctypes.get_errno(), f"system call {words[0]}")
    return done


def mounted(context: int, options: dict[str, str]) -> int:
    """By the parent, who may delegate: the file system of the child's context, as a mount in no directory."""
    for name, value in options.items():
        libc(FSCONFIG, context, SET_STRING, name.encode(), value.encode(), 0)
    libc(FSCONFIG, context, CREATE, None, None, 0)
    return libc(FSMOUNT, context, 0, 0)


def in_container(function: Callable[[str], Any], options: dict[str, str]) -> Any:
    """Run a function in namespaces of its own, with the path of a bpf file system; its value (JSON)."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    child = os.fork()
    if child == 0:
        here.close()
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS):
                raise OSError(ctypes.get_errno(), "unshare")
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text("0 0 1")
            Path("/proc/self/gid_map").write_text("0 0 1")
            socket.send_fds(there, [b"x"], [libc(FSOPEN, b"bpf", 0)])
            _, fds, _, _ = socket.recv_fds(there, 1, 1)
            answer = json.dumps({"value": function(f"/proc/self/fd/{fds[0]}")})
        except BaseException:
            answer = json.dumps({"failed": traceback.format_exc()})
        there.sendall(answer.encode())
        os._exit(0)
    there.close()
    data = b""
    try:
        text, fds, _, _ = socket.recv_fds(here, 1 << 16, 1)
        if fds:
            mount = mounted(fds[0], options)
            socket.send_fds(here, [b"x"], [mount])
            os.close(mount)
        else:
            data = text
        while chunk := here.recv(1 << 16):
            data += chunk
    finally:
        here.close()
        os.waitpid(child, 0)
    answer = json.loads(data)
    if "failed" in answer and "unshare" in answer["failed"]:
        pytest.skip("the kernel refuses here: no user namespaces")
    assert "value" in answer, answer["failed"]
    return answer["value"]


def code(what: Callable[[], Any]) -> str:
    try:
        what().close()
    except KernelError as error:
        return f"{errno.errorcode[error.errno or 0]} {error.hint}"
    return "done"


def test_a_whole_object_loads_attaches_and_runs() -> None:
    def inside(path: str) -> list[int]:
        run("ip", "link", "set", "lo", "up")
        veth()
        kernel = open_kernel("linux", token=path)
        with load(ATTACH, kernel, programs=["xdp_pass", "tc_in"], data={"pid": 1}) as item:
            assert item.programs["xdp_pass"].info()["btf_id"]  # BTF, maps and names came through
            with item.programs["xdp_pass"].attach("vb"), item.programs["tc_in"].attach("vb"):
                frames()
                until(lambda: hits(item, 0) >= 3 and hits(item, 2) >= 3)
            item.programs["xdp_pass"].pin(f"{path}/mine")
            with Program.pinned(kernel, f"{path}/mine") as again:
                assert again.name == "xdp_pass"
            return [hits(item, 0), hits(item, 2)]

    assert min(in_container(inside, ALL)) >= 3


def test_what_is_not_delegated_is_refused() -> None:
    def inside(path: str) -> dict[str, str]:
        kernel = LinuxKernel(path)
        return {
            "socket": code(lambda: Program.load(kernel, "socket_filter", PASS)),
            "xdp": code(lambda: Program.load(kernel, "xdp", PASS)),
            "hash": code(lambda: Map.create(kernel, "hash", 4, 4, 4)),
            "array": code(lambda: Map.create(kernel, "array", 4, 4, 4)),
            "none": code(lambda: Map.create(LinuxKernel(""), "hash", 4, 4, 4)),
        }

    options = {"delegate_cmds": "map_create:prog_load", "delegate_maps": "hash", "delegate_progs": "xdp",
               "delegate_attachs": "any"}  # fmt: skip
    found = in_container(inside, options)
    assert found["xdp"] == found["hash"] == "done"
    for name in ("array", "socket"):
        assert found[name].startswith("EPERM the BPF token does not delegate this"), found
    assert found["none"].startswith("EPERM its capabilities are those of a user namespace")


def test_a_mount_that_delegates_nothing() -> None:
    def inside(path: str) -> list[str]:
        calls = (
            lambda: Map.create(LinuxKernel(path), "hash", 4, 4, 4), lambda: Token.create(LinuxKernel(""), path),
        )  # fmt: skip
        return [code(call) for call in calls]

    first, second = in_container(inside, {})
    assert first.startswith("ENOENT this mount delegates nothing") and second.startswith("ENOENT")


def test_the_environment_names_the_mount() -> None:
    def inside(path: str) -> list[str]:
        os.environ[VARIABLE] = path
        there = code(lambda: Map.create(LinuxKernel(), "hash", 4, 4, 4))
        os.environ[VARIABLE] = ""
        return [there, code(lambda: Map.create(LinuxKernel(), "hash", 4, 4, 4))]

    there, off = in_container(inside, ALL)
    assert there == "done" and off.startswith("EPERM")


def test_tokens_by_themselves() -> None:
    def inside(path: str) -> dict[str, int]:
        plain = LinuxKernel("")
        with Token.create(plain, path) as token:
            kernel = LinuxKernel(token.fd)
            Map.create(kernel, "hash", 4, 4, 4).close()
            assert not token.closed
            info = token.info() if plain.version >= (6, 17) else {}
            return {name: int(value) for name, value in dict(info).items()}

    found = in_container(inside, {"delegate_cmds": "map_create", "delegate_maps": "hash", "delegate_progs": "xdp"})
    if found:
        assert (found["allowed_cmds"], found["allowed_maps"], found["allowed_progs"]) == (1 << 0, 1 << 1, 1 << 6)


def test_tokens_are_for_user_namespaces(tmp_path: Path) -> None:
    for path, words in ((tmp_path, "this is no mount of a bpf file system"), (tmp_path / "none", "BPF token")):
        with pytest.raises(KernelError, match=words):
            Map.create(LinuxKernel(path), "hash", 4, 4, 4)
    with pytest.raises(LoadError):  # a load that the verifier refuses is no matter of tokens
        Program.load(LinuxKernel(""), "xdp", b.program(b.exit_()))
