"""BPF programs as data, loaded by kernels that are not running here: a guest boots one, loads all, tells the answers.

    batch = Batch()
    slot = batch.map(info)
    batch.program(insns, ...)
    answers = Guest(Path("linux-image-6.12...deb")).ask(batch)

A guest is QEMU without KVM, one of Debian's kernels and `kernel_guest.c` as its only process, with nothing from outside
but the two raw disks. `here` asks the running kernel in the same way, with the same loader. Needs gcc with a static
libc, and for guests qemu-system-x86_64 and dpkg.
"""

from __future__ import annotations

import lzma
import os
import stat
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bombus.btf.parse import Btf
from bombus.elf.read import read_elf
from bombus.errors import BombusError
from bombus.isa.insn import Insn, encode
from bombus.kernel.api import Attr
from bombus.verifier.program import LineInfo, MapInfo

LOADER: Final = Path(__file__).with_name("kernel_guest.c")
ROOT, CAP_BPF, NOBODY = range(3)
USERS: Final = {"root": ROOT, "bpf": CAP_BPF, "nobody": NOBODY}
_NONE: Final = 0xFFFFFFFF
_ATTR: Final = 160
_BTF, _MAP, _PROG = 1, 2, 3
_NOT_LOADED: Final = 0xFFFE
_SHORT: Final = 0x10000
_OUT_SIZE: Final = 4 << 30
_BOOTS: Final = 3  # on a loaded machine a boot may fail: the emulated clocks stand still for too long
_MODULES: Final = (
    "virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk",
)  # fmt: skip
_UNPACKERS: Final = {b"\x28\xb5\x2f\xfd": "zstd", b"\x02\x21\x4c\x18": "lz4", b"\xfd7zXZ\0": "xz"}
# Maps that the first program to use them marks as its kind's.
_FRESH: Final = frozenset((3, 14, 16, 25))
# Offsets in union bpf_attr are those of the rows of spec.commands; these are the loader's.
_PROG_FIELDS: Final = ("prog_type", "insn_cnt", "log_level", "prog_flags", "expected_attach_type")


class GuestError(BombusError):
    """A guest did not boot or did not answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a kernel said of one program. errno 0: accepted. full: the log fitted. loaded: its maps were there."""

    errno: int
    log: str
    full: bool = True
    loaded: bool = True


@dataclass(slots=True)
class Batch:
    """Records for the loader. Instructions name maps by their slot."""

    parts: list[bytes] = field(default_factory=list)
    slots: int = 0
    programs: int = 0

    def _add(self, kind: int, data: bytes) -> None:
        self.parts.append(struct.pack("<II", kind, len(data)) + data)

    def _slot(self, kind: int, data: bytes) -> int:
        self._add(kind, data)
        self.slots += 1
        return self.slots - 1

    def btf(self, data: bytes) -> int:
        return self._slot(_BTF, data)

    def map(self, info: MapInfo, *, inner: int = -1, btf: int = -1) -> int:
        """The slot of a map. inner, btf: slots of earlier records."""
        attr = Attr(
            "BPF_MAP_CREATE", map_type=info.type, key_size=info.key_size, value_size=info.value_size,
            max_entries=info.max_entries, map_flags=info.flags, map_name=info.name,
        )  # fmt: skip
        if info.user_start:
            attr.set("map_extra", info.user_start)
        if btf >= 0:
            attr.set("btf_key_type_id", info.key_type_id)
            attr.set("btf_value_type_id", info.value_type_id)
        contents = info.contents or b""
        head = struct.pack(
            "<6I", inner & _NONE, btf & _NONE, info.frozen, info.type in _FRESH, len(contents), 72
        )
        return self._slot(_MAP, head + bytes(attr.raw)[:72].ljust(_ATTR, b"\0") + contents)

    def program(
        self, insns: Sequence[Insn], prog_type: int, *, attach_type: int = 0, flags: int = 0, log_level: int = 6,
        license_: str = "GPL", functions: Sequence[tuple[int, int]] = (), lines: Sequence[LineInfo] = (),
        btf: int = -1, user: str = "root", seconds: int = 20, name: str = "",
        log_size: int = 0, attach_btf_id: int = 0,
    ) -> None:
        """One program. seconds: the loader interrupts a verification that takes longer (EAGAIN).

        log_size: of its buffer; 0: a large one, and only the figures when that is too small.
        """
        attr = Attr(
            "BPF_PROG_LOAD", prog_type=prog_type, insn_cnt=len(insns), log_level=log_level, prog_flags=flags,
            expected_attach_type=attach_type, prog_name=name, attach_btf_id=attach_btf_id,
        )  # fmt: skip
        infos = b"".join(struct.pack("<II", *pair) for pair in functions)
        rows = b""
        if infos:
            attr.set("func_info_rec_size", 8)
            attr.set("func_info_cnt", len(functions))
        text = license_.encode() + b"\0"
        code = encode(list(insns))
        head = struct.pack(
            "<9I", USERS[user], btf & _NONE if infos else _NONE, len(code), len(infos), len(rows), len(text), seconds,
            log_size, 148,
        )  # fmt: skip
        self._add(_PROG, head + bytes(attr.raw)[:148].ljust(_ATTR, b"\0") + code + infos + rows + text)
        self.programs += 1

    def data(self) -> bytes:
        return b"".join(self.parts) + bytes(8)


def _replies(file: Path, count: int) -> Iterator[Reply]:
    with open(file, "rb") as answers:
        for number in range(count):
            head = answers.read(8)
            if len(head) < 8 or head[:4] == b"\xff" * 4:
                raise GuestError(f"{number} answers instead of {count}")
            errno, size = struct.unpack("<II", head)
            log = answers.read(size).decode(errors="replace")
            yield Reply(errno & 0xFFFF, log, not errno & _SHORT, errno != _NOT_LOADED)
        if answers.read(4) != b"\xff" * 4:
            raise GuestError(f"more or less answers than {count}")


def loader(folder: Path) -> Path:
    """Build the loader. GuestError with what the compiler says."""
    path = folder / "loader"
    made = subprocess.run(
        ["gcc", "-O2", "-static", "-o", str(path), str(LOADER)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise GuestError(f"{LOADER.name} was not built", made.stderr)
    return path


def here(batch: Batch) -> list[Reply]:
    """Ask the running kernel. Needs root."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").write_bytes(batch.data())
        program = loader(folder)
        ran = subprocess.run([program, folder / "in", folder / "out"], capture_output=True, text=True, check=False)
        if ran.returncode:
            raise GuestError("the loader failed", ran.stderr)
        return list(_replies(folder / "out", batch.programs))


def _cpio(entries: Iterable[tuple[str, int, bytes]]) -> bytes:
    """An initramfs: names, modes and contents in the "newc" format."""
    out = bytearray()
    for number, (name, mode, data) in enumerate((*entries, ("TRAILER!!!", 0, b"")), 1):
        text = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(text), 0)
        out += b"070701" + b"".join(b"%08x" % value for value in fields) + text
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return bytes(out)


class Guest:
    """A kernel out of a Debian package (linux-image-*.deb), unpacked into a folder of its own and not installed."""

    def __init__(self, package: Path, seconds: int = 3600) -> None:
        self.package = package
        self.seconds = seconds
        self._temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self._temporary.name)
        unpacked = subprocess.run(
            ["dpkg", "-x", str(package), str(self.folder / "root")], capture_output=True, text=True, check=False
        )
        if unpacked.returncode:
            raise GuestError(f"{package} was not unpacked", unpacked.stderr)
        self.kernel = next((self.folder / "root" / "boot").glob("vmlinuz-*"))
        self.release = self.kernel.name.removeprefix("vmlinuz-")
        self.console = ""

    def btf(self) -> Btf:
        """The types of this kernel, out of its image (Documentation/arch/x86/boot.rst: payload_offset)."""
        image = self.kernel.read_bytes()
        sectors = image[0x1F1] or 4
        offset, length = struct.unpack_from("<II", image, 0x248)
        packed = image[(sectors + 1) * 512 + offset :][: length - 4]  # its last four bytes are a size
        tool = next((tool for magic, tool in _UNPACKERS.items() if packed.startswith(magic)), None)
        if tool is None:
            raise GuestError(f"{self.release}: the kernel is packed in an unknown way")
        unpacked = subprocess.run([tool, "-dc"], input=packed, capture_output=True, check=False)
        if unpacked.returncode:
            raise GuestError(f"{self.release} was not unpacked", unpacked.stderr.decode(errors="replace"))
        elf = read_elf(unpacked.stdout, self.kernel.name)
        return Btf.parse(next(section.data for section in elf.sections if section.name == ".BTF"))

    def _modules(self) -> Iterator[bytes]:
        found = {path.name.partition(".")[0]: path for path in (self.folder / "root").rglob("virtio*.ko*")}
        for name in _MODULES:
            path = found.get(name)
            if path is not None:
                data = path.read_bytes()
                yield lzma.decompress(data) if path.suffix == ".xz" else data

    def ask(self, batch: Batch) -> list[Reply]:
        """What this kernel says of each program, in order."""
        init = loader(self.folder).read_bytes()
        regular = stat.S_IFREG | 0o755
        entries = [("init", regular, init)]
        entries += [(f"{number}.ko", regular, data) for number, data in enumerate(self._modules())]
        (self.folder / "initramfs").write_bytes(_cpio(entries))
        given = self.folder / "in"
        given.write_bytes(batch.data())
        os.truncate(given, (given.stat().st_size + 4095) & -4096)
        answers = self.folder / "out"
        answers.write_bytes(b"")
        os.truncate(answers, _OUT_SIZE)
        command = [
            "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "1536", "-smp", "1", "-nographic", "-no-reboot",
            "-kernel", str(self.kernel), "-initrd", str(self.folder / "initramfs"),
            "-append", "console=ttyS0 quiet panic=-1 preempt=full no_timer_check",
            "-drive", f"file={given},format=raw,if=virtio,readonly=on",
            "-drive", f"file={answers},format=raw,if=virtio",
        ]  # fmt: skip
        for _ in range(_BOOTS):
            self._boot(command)
            if "done" in self.console:
                return list(_replies(answers, batch.programs))
        raise GuestError(f"{self.release} did not answer", self.console[-2000:])

    def _boot(self, command: list[str]) -> None:
        try:
            ran = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                timeout=self.seconds, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            console = str(late.stdout or "")[-2000:]
            raise GuestError(f"{self.release} did not end in {self.seconds} s", console) from None
        self.console = ran.stdout + ran.stderr
