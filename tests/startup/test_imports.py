"""What each command and each way of loading imports: start-up is the sum of it, and grows unseen.

Only what is imported is looked at, in processes of their own; times are for bench/.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
COMMAND = "import sys; from bombus.cli.main import main; main(sys.argv[1:])"
# Packages of others that cost 10 ms and more, and our own rooms that do.
HEAVY = ("numpy", "llvmlite", "rich", "asyncio", "concurrent", "multiprocessing", "ssl")
ROOMS = ("bombus.verifier.main", "bombus.verifier.rules", "bombus.spec.helpers", "bombus.spec.kfuncs", "bombus.asm",
         "bombus.jit.lower", "bombus.compiler.lower")  # fmt: skip
FILES = ("pathlib", "tempfile", "subprocess", "shutil", "random")  # beside click's own


def imported(code: str, *args: object, cache: Path | None = None) -> set[str]:
    """Names of the modules that a process has at its end."""
    show = f"{code}\nimport sys; print(*sys.modules, file=sys.stderr)"
    env = {name: value for name, value in os.environ.items() if name != "BOMBUS_CACHE"}
    env |= {"BOMBUS_CACHE": "off"} if cache is None else {"XDG_CACHE_HOME": str(cache)}
    done = subprocess.run([sys.executable, "-c", show, *map(str, args)], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def none_of(found: set[str], *names: str) -> None:
    there = sorted(module for module in found for name in names if module == name or module.startswith(f"{name}."))
    assert not there, f"{len(found)} modules, among them {', '.join(there)}"


def test_help() -> None:
    found = imported(COMMAND, "--help")
    none_of(found, *HEAVY, *ROOMS, "json", "ctypes", "dataclasses", "bombus.kernel", "bombus.loader", "bombus.btf")


@pytest.mark.parametrize("noun", ["prog", "map", "link", "btf"])
def test_lists(noun: str, tmp_path: Path) -> None:
    """Once the kernel's layout is known (`kernel.linux.cache`). Without the right to bpf(2) they end early, and the
    rest holds all the same."""
    imported(COMMAND, noun, cache=tmp_path)
    found = imported(COMMAND, noun, cache=tmp_path)
    none_of(found, *HEAVY, *ROOMS, "bombus.kernel.user", "bombus.jit", "bombus.vm", "bombus.loader", "bombus.object",
            "bombus.elf", "bombus.btf.core", "bombus.symbols")  # fmt: skip


def test_an_object_on_linux() -> None:
    """What a tool imports that loads objects into the running kernel, and an object without CO-RE adds."""
    code = "from bombus.kernel.linux.kernel import LinuxKernel; from bombus.loader.load import load, prepare\n"
    code += "from bombus.object.read import open_object\n"
    code += "import sys; prepare(open_object(sys.argv[1]), LinuxKernel())"
    found = imported(code, EXAMPLES / "traffic.bpf.o")
    none_of(found, *HEAVY, *ROOMS, *FILES, "click", "bombus.kernel.user", "bombus.jit", "bombus.vm", "bombus.verifier",
            "bombus.cli", "bombus.kernel.handles.attach", "bombus.kernel.handles.links", "bombus.loader.structops",
            "bombus.loader.sanitize", "bombus.loader.externs", "bombus.btf.core")  # fmt: skip


@pytest.mark.parametrize("engine", ["fast", "native"])
def test_a_run_of_what_ran_before(engine: str, tmp_path: Path) -> None:
    """The second time the verdict and the code are on disk: neither verifier nor compiler is needed."""
    words = ("run", EXAMPLES / "traffic.bpf.o", "--pcap", EXAMPLES / "traffic.pcap", "--engine", engine)
    if engine == "native":
        pytest.importorskip("llvmlite")
    first = imported(COMMAND, *words, cache=tmp_path)
    assert "bombus.verifier.main" in first
    found = imported(COMMAND, *words, cache=tmp_path)
    none_of(found, *HEAVY, "bombus.verifier.main", "bombus.verifier.rules", "bombus.jit.lower", "bombus.compiler.lower",
            "bombus.isa.validate", "bombus.asm", "subprocess")  # fmt: skip
    assert len(found) < len(first)


def test_the_right_numbers() -> None:
    """Numbers of helpers that stand where the table of helpers is not worth its import."""
    from bombus.loader import passes
    from bombus.replay import runner, session
    from bombus.spec.helpers import HELPER
    from bombus.trace import session as tracing

    prints = {HELPER["trace_printk"].id, HELPER["trace_vprintk"].id}
    assert prints == session._PRINTS == tracing._PRINTS and HELPER["xdp_adjust_meta"].id == runner._ADJUST_META
    reads = {HELPER[f"probe_read_{memory}{kind}"].id for memory in ("user", "kernel") for kind in ("", "_str")}
    assert reads == set(passes._PROBE_READS)


def test_verifying_an_object() -> None:
    found = imported(COMMAND, "verify", EXAMPLES / "traffic.bpf.o")
    none_of(found, *HEAVY, "bombus.jit.lower", "bombus.jit.engine", "bombus.compiler.lower", "bombus.replay",
            "bombus.kernel.user.devices", "bombus.kernel.user.maps.redirect", "bombus.verifier.explain")  # fmt: skip
