"""Opening capture files by what is in them, creating them by their name."""

from __future__ import annotations

import mmap
import os
import struct
import sys
from typing import Any

from bombus.capture.model import CaptureReader, CaptureWriter, OpenFile
from bombus.capture.pcap import MAGICS, PcapReader, PcapWriter
from bombus.capture.pcapng import SECTION_HEADER, PcapngReader, PcapngWriter
from bombus.errors import CaptureError

# Linux 6.12 arch/x86/include/uapi/asm/mman.h, include/uapi/asm-generic/mman-common.h
_LOW = 0x40 if sys.platform == "linux" and os.uname().machine in ("x86_64", "AMD64") else 0  # MAP_32BIT
_NO_RESERVE = 0x4000
GZIP_LIMIT = 4 << 30  # bytes that a compressed capture may unpack to


def read_capture(data: bytes | bytearray | memoryview | mmap.mmap) -> PcapReader | PcapngReader:
    """A reader for capture bytes. CaptureError when they are neither pcap nor pcapng."""
    view = memoryview(data)
    if len(view) < 4:
        raise CaptureError(f"{len(view)} bytes are too few for a capture", offset=0)
    (magic,) = struct.unpack_from("<I", view)
    if magic in MAGICS:
        return PcapReader(view)
    if magic == SECTION_HEADER:
        return PcapngReader(view)
    raise CaptureError(f"neither pcap nor pcapng: the file begins with {bytes(view[:4]).hex(' ')}", offset=0)


def open_capture(path: str | os.PathLike[str], *, once: bool = False) -> CaptureReader:
    """A reader for a pcap or pcapng file, gzip-compressed or not. CaptureError, OSError.

    once: its packets are wanted one time, in order. Batches then read the file, chunk by chunk, where they would run on
    its mapping otherwise: that pays only for who comes back.
    """
    with open(path, "rb") as file:
        start = file.read(2)
        try:
            if start == b"\x1f\x8b":
                file.seek(0)
                return read_capture(_gunzip(file.read()))
            if len(start) < 2:
                raise CaptureError("the file is empty" if not start else "1 byte is too few for a capture")
            found = read_capture(_mapped(file.fileno()))
            if once:
                found.file = OpenFile(os.dup(file.fileno()))
            return found
        except CaptureError as error:
            raise CaptureError(error.message, offset=error.offset, path=str(path)) from None


def _mapped(file: int) -> mmap.mmap:
    """A file as memory: below 4 GiB if it fits there, so that native programs can run on it where it is. Their changes
    stay in this process."""
    if _LOW:
        try:
            flags = mmap.MAP_PRIVATE | _LOW | _NO_RESERVE
            return mmap.mmap(file, 0, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        except OSError:
            pass
    return mmap.mmap(file, 0, access=mmap.ACCESS_READ)


def _gunzip(data: bytes) -> bytes:
    import zlib

    unpack = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        out = unpack.decompress(data, GZIP_LIMIT)
    except zlib.error as error:
        raise CaptureError(f"gzip: {error}") from None
    if unpack.unconsumed_tail:
        raise CaptureError(f"unpacks to more than {GZIP_LIMIT >> 30} GiB")
    return out


def create_capture(path: str | os.PathLike[str], *, linktype: int, nanoseconds: bool = False) -> CaptureWriter:
    """A writer; `.pcapng` and `.pcapng.gz` names give pcapng, all others pcap; `.gz` compresses."""
    name = os.path.basename(path)
    out: Any
    if name.endswith(".gz"):
        import gzip

        out = gzip.open(path, "wb")  # noqa: SIM115
    else:
        out = open(path, "wb")  # noqa: SIM115 (the writer closes it)
    if name.removesuffix(".gz").endswith(".pcapng"):
        return PcapngWriter(out)
    return PcapWriter(out, linktype=linktype, nanoseconds=nanoseconds)
