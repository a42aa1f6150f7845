"""The guest's first process: mounts, modules, the tests that are named, results on the serial line, power off."""

from __future__ import annotations

import ctypes
import importlib
import inspect
import json
import lzma
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

MARK = "BOMBUS-RESULT "
_FINIT_MODULE = 313


def say(row: dict[str, Any]) -> None:
    with open("/dev/ttyS0", "w") as out:
        out.write(f"\n{MARK}{json.dumps(row)}\n")


def mount(kind: str, path: str) -> None:
    Path(path).mkdir(parents=True, exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(kind.encode(), path.encode(), kind.encode(), 0, None):
        say({"test": f"mount {kind}", "outcome": "failed", "detail": os.strerror(ctypes.get_errno())})


def insert(path: Path) -> None:
    data = lzma.decompress(path.read_bytes())
    file = Path("/tmp") / path.name.removesuffix(".xz")
    file.write_bytes(data)
    fd = os.open(file, os.O_RDONLY)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(_FINIT_MODULE, fd, b"", 0):
        say({"test": f"module {path.name}", "outcome": "failed", "detail": os.strerror(ctypes.get_errno())})
    os.close(fd)


def run(function: Any, options: dict[str, Any], name: str) -> None:
    import pytest

    start = time.monotonic()
    try:
        function(**options)
        row = {"outcome": "passed"}
    except pytest.Skipped as reason:  # type: ignore[attr-defined]
        row = {"outcome": "skipped", "detail": str(reason)}
    except BaseException:
        row = {"outcome": "failed", "detail": traceback.format_exc()[-6000:]}
    say({"test": name, "seconds": round(time.monotonic() - start, 2), **row})


def main() -> None:
    for kind, path in (("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/tmp"),
                       ("tracefs", "/sys/kernel/tracing"), ("bpf", "/sys/fs/bpf"), ("cgroup2", "/sys/fs/cgroup"),
                       ("securityfs", "/sys/kernel/security")):  # fmt: skip
        mount(kind, path)
    os.environ["PATH"] = "/usr/sbin:/usr/bin"
    os.environ["BOMBUS_TEST_PATIENCE"] = "2"  # it is an emulated machine, beside others
    sys.path[:0] = ["/bombus", "/tests"]
    for path in sorted(Path("/modules").iterdir()):
        insert(path)
    from bombus.kernel.linux.kernel import LinuxKernel

    kernel = LinuxKernel()
    say({"kernel": str(kernel.version)})
    for word in Path("/tests/wanted").read_text().split():
        module_name, _, wanted = word.partition("::")
        try:
            module = importlib.import_module(module_name)
        except BaseException:
            say({"test": module_name, "outcome": "failed", "detail": traceback.format_exc()[-6000:]})
            continue
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if not name.startswith("test_") or (wanted and name != wanted):
                continue
            for row in getattr(function, "rows", [{}]):
                options = dict(row)
                if "linux_kernel" in inspect.signature(function).parameters:
                    options["linux_kernel"] = kernel
                run(function, options, f"{name}{list(row.values()) if row else ''}")
    say({"done": True})


try:
    main()
except BaseException:
    say({"test": "init", "outcome": "failed", "detail": traceback.format_exc()[-6000:]})
os.sync()
ctypes.CDLL(None).reboot(0x01234567)  # LINUX_REBOOT_CMD_RESTART: QEMU ends then, also of kernels without ACPI
