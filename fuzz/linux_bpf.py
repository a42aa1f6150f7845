"""The least of bpf(2) that comparing engines with Linux takes: array maps, loading, test runs.

It stands beside `bombus.kernel.linux` on purpose: the judge of the engines shares no code with what it judges.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence

from bombus.isa.insn import Insn, encode

_NR_BPF = 321  # x86-64
_TYPES = {"socket": 1, "tc": 3, "xdp": 6}
_EXPECTED_ATTACH = {"socket": 0, "tc": 0, "xdp": 0}
_LIBC = ctypes.CDLL(None, use_errno=True)


class Refused(Exception):
    """The verifier said no. `log` is its text."""

    def __init__(self, errno: int, log: str) -> None:
        super().__init__(f"{os.strerror(errno)}: {log[-300:]}")
        self.errno = errno
        self.log = log


class Fd:
    """An owned file descriptor."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __enter__(self) -> Fd:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.number)


def _bpf(command: int, attr: bytearray) -> int:
    buffer = (ctypes.c_char * len(attr)).from_buffer(attr)
    result = _LIBC.syscall(_NR_BPF, command, buffer, len(attr))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(result)


def _address(buffer: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(buffer)


class LinuxBpf:
    """Raises OSError from the first call where bpf(2) cannot be used."""

    def __init__(self) -> None:
        self._license = ctypes.create_string_buffer(b"GPL")
        self._log = ctypes.create_string_buffer(1 << 16)

    def array(self, value_size: int, entries: int = 1) -> Fd:
        attr = bytearray(128)
        struct.pack_into("<IIIII", attr, 0, 2, 4, value_size, entries, 0)
        return Fd(_bpf(0, attr))

    def program_array(self, entries: int) -> Fd:
        attr = bytearray(128)
        struct.pack_into("<IIIII", attr, 0, 3, 4, 4, entries, 0)
        return Fd(_bpf(0, attr))

    def update(self, fd: Fd, key: int, value: bytes) -> None:
        k, v = ctypes.create_string_buffer(struct.pack("<I", key), 4), ctypes.create_string_buffer(value, len(value))
        attr = bytearray(128)
        struct.pack_into("<IxxxxQQQ", attr, 0, fd.number, _address(k), _address(v), 0)
        _bpf(2, attr)

    def lookup(self, fd: Fd, key: int, value_size: int) -> bytes:
        k, v = ctypes.create_string_buffer(struct.pack("<I", key), 4), ctypes.create_string_buffer(value_size)
        attr = bytearray(128)
        struct.pack_into("<IxxxxQQQ", attr, 0, fd.number, _address(k), _address(v), 0)
        _bpf(1, attr)
        return v.raw[:value_size]

    def load(
        self, kind: str, insns: Sequence[Insn], *, log: bool = True, flags: int = 0, functions: Sequence[int] = ()
    ) -> Fd:
        """kind: "socket", "tc", "xdp". Raises Refused.

        functions: first instruction of each function, to be described by BTF as `int f(void)`; subprograms
        need that for tail calls only.
        """
        code = ctypes.create_string_buffer(encode(insns), len(insns) * 8)
        attr = bytearray(144)
        struct.pack_into(
            "<IIQQIIQII", attr, 0, _TYPES[kind], len(insns), _address(code), _address(self._license),
            0, 0, 0, 0, flags,
        )  # fmt: skip
        if functions:
            btf = self._function_btf()
            records = b"".join(struct.pack("<II", start, 3) for start in functions)
            info = ctypes.create_string_buffer(records, len(records))
            struct.pack_into("<IIQI", attr, 72, btf.number, 8, _address(info), len(functions))
        try:
            return Fd(_bpf(5, attr))
        except OSError as error:
            text = ""
            if log:
                struct.pack_into("<IIQ", attr, 32 - 8, 1, len(self._log), _address(self._log))
                try:
                    os.close(_bpf(5, attr))
                except OSError:
                    text = self._log.value.decode(errors="replace")
            raise Refused(error.errno or 0, text) from None

    def _function_btf(self) -> Fd:
        """BTF of: 1 int, 2 int (void), 3 static int f(void)."""
        strings = b"\0int\0f\0"
        types = struct.pack("<IIII", 1, 1 << 24, 4, 1 << 24 | 32)
        types += struct.pack("<III", 0, 13 << 24, 1) + struct.pack("<III", 5, 12 << 24, 2)
        header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
        blob = header + types + strings
        data = ctypes.create_string_buffer(blob, len(blob))
        attr = bytearray(32)
        struct.pack_into("<QQI", attr, 0, _address(data), 0, len(blob))
        return Fd(_bpf(18, attr))

    def run(self, fd: Fd, data: bytes, repeat: int = 1, out: int = 4096) -> tuple[int, bytes]:
        """(r0 as the kernel reports it, data_out)."""
        result = self._run(fd, data, repeat, out)
        return result[0], result[1]

    def time(self, fd: Fd, data: bytes, repeat: int) -> float:
        """Nanoseconds of one run, averaged by the kernel."""
        return float(self._run(fd, data, repeat, 4096)[2])

    def _run(self, fd: Fd, data: bytes, repeat: int, out: int) -> tuple[int, bytes, int]:
        source, sink = ctypes.create_string_buffer(data, len(data)), ctypes.create_string_buffer(out)
        attr = bytearray(144)
        # prog_fd, retval, data_size_in, data_size_out, data_in, data_out, repeat, duration
        fields = (fd.number, 0, len(data), out, _address(source), _address(sink), repeat, 0)
        struct.pack_into("<IIIIQQII", attr, 0, *fields)
        _bpf(10, attr)
        retval, _, size = struct.unpack_from("<III", attr, 4)
        return retval, sink.raw[:size], struct.unpack_from("<I", attr, 36)[0]
