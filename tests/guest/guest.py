"""Boots a kernel in QEMU with an initramfs of this machine's Python and bombus, and reads back what its tests say."""

from __future__ import annotations

import compileall
import contextlib
import importlib.util
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MARK = "BOMBUS-RESULT "
KERNELS = Path(os.environ.get("BOMBUS_GUEST_KERNELS", "/var/cache/bombus"))
MODULES = ("veth", "cls_bpf", "sch_ingress", "nf_defrag_ipv4", "dummy")  # each after those that it needs
TOOLS = ("ip", "tc", "xdp-loader", "xdp-filter")
TOOLS_FILES = ("xdp-dispatcher.o", "xdpfilt_*.o")  # what these tools load, of /usr/lib/*/bpf
MERGED = ("bin", "lib", "lib64", "sbin")  # links into /usr, as in Debian
# Parts of the standard library that no test needs.
_LEFT_OUT = {"test", "tests", "site-packages", "idlelib", "ensurepip", "lib2to3", "tkinter",
             "distutils", "turtledemo", "pydoc_data", "unittest", "sqlite3"}  # fmt: skip


def kernel_of(version: str) -> Path | None:
    """The unpacked package of a kernel ("6.12": Debian's for clouds, "6.12-small": of tools/build-test-kernel).

    None when tools/install-test-inputs did not fetch it.
    """
    path = KERNELS / f"kernel-{version}"
    return path if list(path.glob("boot/vmlinuz-*")) else None


def problem(version: str) -> str:
    """Why no guest can be started; "" when one can."""
    if shutil.which("qemu-system-x86_64") is None:
        return "qemu-system-x86_64 is not installed"
    if os.uname().machine != "x86_64":
        return "guests are x86-64 only"
    if kernel_of(version) is None:
        return f"no kernel {version} in {KERNELS}: tools/install-test-inputs fetches it"
    return ""


class Archive:
    """A cpio archive in the "newc" format (Documentation/driver-api/early-userspace/buffer-format.rst)."""

    def __init__(self, path: Path) -> None:
        self.out = path.open("wb")
        self.number = 0
        self.made: set[str] = set()

    def _entry(self, name: str, mode: int, data: bytes, changed: int = 0) -> None:
        self.number += 1
        raw = name.encode() + b"\0"
        fields = (self.number, mode, 0, 0, 1, changed, len(data), 0, 0, 0, 0, len(raw), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + raw
        self.out.write(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))

    def directory(self, name: str) -> None:
        parts = name.strip("/").split("/")
        for count in range(1, len(parts) + 1):
            path = "/".join(parts[:count])
            if path and path not in self.made:
                self.made.add(path)
                self._entry(path, stat.S_IFDIR | 0o755, b"")

    def file(self, name: str, data: bytes, changed: int = 0) -> None:
        """changed: the time that compiled Python files compare."""
        name = name.strip("/")
        if name.split("/")[0] in MERGED:
            name = f"usr/{name}"
        if name in self.made:
            return
        self.directory(str(Path(name).parent))
        self.made.add(name)
        self._entry(name, stat.S_IFREG | 0o755, data, changed)

    def link(self, name: str, target: str) -> None:
        name = name.strip("/")
        if name not in self.made:
            self.directory(str(Path(name).parent))
            self.made.add(name)
            self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def copy(self, path: Path, name: str = "") -> None:
        self.file(name or str(path), path.read_bytes(), int(path.stat().st_mtime))

    def tree(self, top: Path, name: str, suffixes: tuple[str, ...] = ()) -> None:
        for path in sorted(top.rglob("*")):
            inside = path.relative_to(top)
            if path.is_file() and not _LEFT_OUT & set(inside.parts[:-1]) and (
                not suffixes or path.name.endswith(suffixes)
            ):
                self.copy(path, f"{name}/{inside}")

    def close(self) -> None:
        self._entry("TRAILER!!!", 0, b"")
        self.out.close()


def libraries(path: str) -> Iterator[str]:
    """What a program or library loads, by the path under which it looks for it."""
    done = subprocess.run(["ldd", path], capture_output=True, text=True, check=False)
    yield from re.findall(r"(?:=> |^\s*)(/\S+) \(0x", done.stdout, re.MULTILINE)


def with_libraries(archive: Archive, path: str) -> None:
    archive.copy(Path(path))
    for library in libraries(path):
        archive.copy(Path(library).resolve(), library)


def build(target: Path, version: str, tests: list[str], files: list[Path], modules: tuple[str, ...]) -> None:
    """The initramfs. tests: "module" or "module::function"; files: what they need, in one directory."""
    kernel = kernel_of(version)
    assert kernel is not None
    archive = Archive(target)
    for name in ("proc", "sys", "dev", "tmp", "run", "modules"):
        archive.directory(name)
    for name in MERGED:
        archive.link(name, f"usr/{name}")
    python = os.path.realpath(sys.executable)
    with_libraries(archive, python)
    library = Path(sysconfig.get_path("stdlib"))
    tag = f".{sys.implementation.cache_tag}.pyc"
    archive.tree(library, str(library), (".py", ".so", tag))
    for path in sorted((library / "lib-dynload").glob("*.so")):
        for needed in libraries(str(path)):
            archive.copy(Path(needed).resolve(), needed)
    for tool in TOOLS:
        found = shutil.which(tool, path="/usr/sbin:/sbin:/usr/bin:/bin")
        if found is not None:
            with_libraries(archive, found)
    for name in TOOLS_FILES:
        for path in sorted(Path("/usr/lib").glob(f"*/bpf/{name}")):
            archive.copy(path)
    compileall.compile_dir(ROOT / "bombus", quiet=2)  # compiling in the guest is slow
    archive.tree(ROOT / "bombus", "/bombus/bombus", (".py", tag))
    click = importlib.util.find_spec("click")  # for the command line
    if click is not None and click.origin is not None:
        archive.tree(Path(click.origin).parent, "/bombus/click", (".py", tag))
    archive.copy(HERE / "shim.py", "/tests/pytest.py")
    for path in files:
        if path.is_dir():
            archive.tree(path, f"/tests/{path.name}")
        else:
            archive.copy(path, f"/tests/{path.name}")
    archive.file("/tests/wanted", "\n".join(tests).encode())
    for number, name in enumerate(modules):
        for path in kernel.glob(f"**/{name}.ko*"):
            archive.copy(path, f"/modules/{number}-{path.name}")
    archive.copy(HERE / "init.py", "/init.py")
    archive.file("/init", f"#!{python} -SB\nexec(open('/init.py').read())\n".encode())
    archive.close()


def boot(
    version: str, tests: list[str], files: list[Path], *, seconds: int = 480, modules: tuple[str, ...] = MODULES
) -> list[dict[str, Any]]:
    """Run tests in a guest; the rows that it said. RuntimeError with the console's end when it did not finish."""
    kernel = kernel_of(version)
    assert kernel is not None
    with tempfile.TemporaryDirectory() as directory:
        image, console = Path(directory) / "initramfs", Path(directory) / "console"
        build(image, version, tests, files, modules)
        command = [
            # a thread for each CPU runs old code after the other CPU has patched it: oops, int3
            "qemu-system-x86_64", "-accel", "tcg,thread=single", "-cpu", "max", "-smp", "2", "-m", "1024", "-nographic",
            "-no-reboot", "-nodefaults", "-serial", f"file:{console}",
            "-kernel", str(next(kernel.glob("boot/vmlinuz-*"))), "-initrd", str(image), "-append",
            "console=ttyS0 quiet panic=-1 lsm=bpf mitigations=off random.trust_cpu=on rdinit=/init",
        ]  # fmt: skip
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)
        text = console.read_text(errors="replace") if console.exists() else ""
    rows = [json.loads(line[len(MARK) :]) for line in text.splitlines() if line.startswith(MARK)]
    if not any(row.get("done") for row in rows):
        raise RuntimeError(f"the guest did not finish:\n{text[-4000:]}")
    return rows
