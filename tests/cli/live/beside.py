"""bpftool beside us on the same ids."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from typing import Any, NamedTuple

RETURN_1 = bytes.fromhex("b7000000010000009500000000000000")
BPFTOOL = shutil.which("bpftool")


def theirs(*args: object) -> subprocess.CompletedProcess[str]:
    """bpftool's answer. It writes errors of JSON to stdout.

    Looking for names and tags it gives up when somebody's object goes away meanwhile: then it is asked again.
    """
    for _ in range(6):
        done = subprocess.run(["bpftool", *map(str, args)], capture_output=True, text=True, check=False)
        if not done.returncode or not re.search(r"can't get (prog|map) by id", done.stdout + done.stderr):
            break
    return done


def without(value: Any, *names: str) -> Any:
    """A JSON value without some members, wherever they are."""
    if isinstance(value, dict):
        return {k: without(v, *names) for k, v in value.items() if k not in names}
    if isinstance(value, list):
        return [without(v, *names) for v in value]
    return value


@functools.cache
def shows_holders() -> bool:
    """Whether this bpftool shows who holds an object: built with skeletons, on a kernel whose kallsyms has data."""
    from bombus.kernel.handles import Map
    from bombus.kernel.linux.kernel import LinuxKernel

    with Map.create(LinuxKernel(), "array", 4, 4, 1) as item:
        return "pids" in json.loads(theirs("-j", "map", "show", "id", item.id).stdout)


@functools.cache
def newer() -> tuple[str, ...]:
    """Members that this bpftool is too old for (libbpf's version is its own: 1.1 is bpftool 7.1)."""
    version = json.loads(theirs("-j", "version").stdout)["version"]
    return () if tuple(map(int, version.split(".")[:2])) >= (7, 4) else ("orphaned", "inner_map_id")


class Beside:
    """Runs one command line here and in bpftool."""

    def __init__(self, bombus: Callable[..., Any]) -> None:
        self.bombus = bombus
        self.pids = shows_holders()

    def json(self, *args: object, more: tuple[str, ...] = ()) -> Any:
        """Ours, after it was found equal to theirs. more: members that only newer bpftools have."""
        ours = self.bombus("-j", *args)
        other = theirs("-j", *args)
        more += newer()
        assert ours.code == (1 if other.returncode else 0), (ours, other)
        extra = more if self.pids else (*more, "pids", "bpf_cookie")
        assert without(ours.json(), *extra) == without(json.loads(other.stdout), *(() if not self.pids else extra))
        return ours.json()

    def text(self, *args: object) -> str:
        ours = self.bombus(*args)
        other = theirs(*args)
        assert ours.code == (1 if other.returncode else 0), (ours, other)
        lines = ours.out.splitlines()
        if not self.pids:
            lines = [line for line in lines if not line.startswith(("\tpids ", "\tbpf_cookie "))]
        assert lines == other.stdout.splitlines()
        out: str = ours.out
        return out


class Done(NamedTuple):
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def in_process(*args: object) -> Done:
    """Ours in a forked child, where pytest does not capture."""
    from bombus.cli import output
    from bombus.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    output.reset()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(arg) for arg in args])
    output.reset()
    return Done(code, out.getvalue(), err.getvalue())
