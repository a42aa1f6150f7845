"""Memory whose tail is mapped a second time behind itself, so that records never wrap."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import weakref

from bombus.errors import KernelError

_MAP_FIXED = 0x10  # Linux include/uapi/linux/mman.h
_PAGE = mmap.PAGESIZE


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
    )  # fmt: skip
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    return libc


def doubled(head: int, data: int) -> tuple[int, memoryview]:
    """Address and bytes of `head` + `data` + `data` bytes, where the last two are the same memory.

    Both are multiples of the page size. The mapping lives as long as the memoryview or a slice of it.
    KernelError(ENOMEM) when there is not enough.
    """
    total = head + 2 * data
    libc = _libc()
    try:
        fd = os.memfd_create("bombus-ringbuf")
    except OSError as error:
        raise KernelError(errno.ENOMEM, "BPF_MAP_CREATE", str(error)) from None
    try:
        os.ftruncate(fd, head + data)
        protection = mmap.PROT_READ | mmap.PROT_WRITE
        start = libc.mmap(None, total, protection, mmap.MAP_SHARED, fd, 0)
        if start is None or start == ctypes.c_void_p(-1).value:
            raise KernelError(errno.ENOMEM, "BPF_MAP_CREATE", f"{total} bytes for a ring buffer")
        again = libc.mmap(start + head + data, data, protection, mmap.MAP_SHARED | _MAP_FIXED, fd, head)
        if again != start + head + data:
            libc.munmap(start, total)
            raise KernelError(errno.ENOMEM, "BPF_MAP_CREATE", f"{total} bytes for a ring buffer")
    except OSError as error:
        raise KernelError(errno.ENOMEM, "BPF_MAP_CREATE", str(error)) from None
    finally:
        os.close(fd)
    array = (ctypes.c_ubyte * total).from_address(start)
    weakref.finalize(array, libc.munmap, start, total)
    return start, memoryview(array).cast("B")
