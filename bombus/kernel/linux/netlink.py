"""Route netlink: messages, attributes, and one socket that asks and waits for the answer.

Facts: include/uapi/linux/netlink.h, rtnetlink.h; Documentation/userspace-api/netlink/intro.rst.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import socket
import struct
from collections.abc import Iterator
from typing import Final

from bombus.errors import KernelError

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_MULTI, NLM_F_ACK = 1, 2, 4
NLM_F_DUMP = 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
NLA_F_NESTED = 1 << 15
_TYPE_MASK: Final = 0x3FFF
_ACK_TLVS = 0x200
_CAPPED = 0x100
_NLMSGERR_ATTR_MSG = 1
_SOL_NETLINK = 270
_NETLINK_EXT_ACK = 11
_HEADER = struct.Struct("=IHHII")
_SIOCGSKNS = 0x894C  # include/uapi/linux/sockios.h, Linux 4.10
_ROOM = 1 << 16
_TIMEOUT = 10.0


def attribute(kind: int, data: bytes | int | str) -> bytes:
    """One attribute. data: bytes; int as u32; str with its NUL."""
    if isinstance(data, int):
        data = struct.pack("=i" if data < 0 else "=I", data)
    elif isinstance(data, str):
        data = data.encode() + b"\0"
    return struct.pack("=HH", len(data) + 4, kind) + data + bytes(-len(data) % 4)


def nest(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | NLA_F_NESTED, b"".join(parts))


def attributes(data: bytes) -> dict[int, bytes]:
    """Attributes by type; what is cut off at the end is left out."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        if size < 4 or at + size > len(data):
            break
        found[kind & _TYPE_MASK] = data[at + 4 : at + size]
        at += size + 3 & ~3
    return found


class Netlink:
    """One NETLINK_ROUTE socket, of the network namespace that the thread is in when it is made."""

    def __init__(self) -> None:
        try:
            made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        except OSError as error:
            raise KernelError(error.errno or errno.EIO, "netlink", "no route netlink socket") from None
        made.bind((0, 0))
        self._take(made, 1)

    @classmethod
    def adopt(cls, fd: int) -> Netlink:
        """Over a socket that another process made, and uses no more: of the namespace that it was in."""
        self = cls.__new__(cls)
        # Numbers that no late answer to the other process has.
        self._take(socket.socket(fileno=os.dup(fd)), 1 << 31)
        return self

    def _take(self, made: socket.socket, first: int) -> None:
        self._socket = made
        self._socket.settimeout(_TIMEOUT)
        self._sequence = itertools.count(first)
        with contextlib.suppress(OSError):  # before 4.12 refusals come without words
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def namespace(self) -> int:
        """The inode of the network namespace that this socket belongs to. KernelError."""
        try:
            fd = fcntl.ioctl(self._socket.fileno(), _SIOCGSKNS)
        except OSError as error:
            raise KernelError(error.errno or errno.EIO, "SIOCGSKNS") from None
        try:
            return os.fstat(fd).st_ino
        finally:
            os.close(fd)

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, kind: int, body: bytes, *, flags: int = 0, call: str) -> list[tuple[int, bytes]]:
        """Send one request; the messages (type, body) of its answer. KernelError with the kernel's words."""
        return list(self._ask(kind, body, flags, call))

    def _ask(self, kind: int, body: bytes, flags: int, call: str) -> Iterator[tuple[int, bytes]]:
        number = next(self._sequence)
        dump = flags & NLM_F_DUMP == NLM_F_DUMP
        flags |= NLM_F_REQUEST | (0 if dump else NLM_F_ACK)
        try:
            self._socket.send(_HEADER.pack(16 + len(body), kind, flags, number, 0) + body)
            while True:
                data = self._socket.recv(_ROOM)
                at = 0
                while at + 16 <= len(data):
                    size, answer, answer_flags, sequence, _ = _HEADER.unpack_from(data, at)
                    if size < 16:
                        break
                    part = data[at + 16 : at + size]
                    at += size + 3 & ~3
                    if sequence != number:
                        continue  # an answer to somebody who did not wait for it
                    if answer == NLMSG_ERROR:
                        self._check(part, answer_flags, call)
                        return
                    if answer == NLMSG_DONE:
                        if len(part) >= 4 and struct.unpack_from("=i", part)[0] < 0:
                            raise KernelError(-struct.unpack_from("=i", part)[0], call)
                        return
                    yield answer, part
        except OSError as error:
            if isinstance(error, KernelError):
                raise
            raise KernelError(error.errno or errno.ETIMEDOUT, call, f"netlink: {error}") from None

    @staticmethod
    def _check(part: bytes, flags: int, call: str) -> None:
        number, size = struct.unpack_from("=iI", part)
        if not number:
            return
        text = ""
        if flags & _ACK_TLVS:
            at = 4 + (16 if flags & _CAPPED else size + 3 & ~3)
            raw = attributes(part[at:]).get(_NLMSGERR_ATTR_MSG, b"")
            text = raw.rstrip(b"\0").decode(errors="replace")
        raise KernelError(-number, call, text)


__all__ = ["NLM_F_CREATE", "NLM_F_DUMP", "NLM_F_EXCL", "NLM_F_REPLACE", "Netlink", "attribute", "attributes", "nest"]
