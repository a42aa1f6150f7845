"""Certificates in the kernel's keyrings: who is trusted to sign programs. add_key(2), keyctl(2)."""

from __future__ import annotations

import ctypes
import errno

from bombus.errors import KernelError
from bombus.kernel.linux.syscall import libc, numbers

SESSION = -3  # include/uapi/linux/keyctl.h: KEY_SPEC_SESSION_KEYRING
_HINTS = {
    errno.ENODEV: "the kernel knows no such keys (CONFIG_ASYMMETRIC_KEY_TYPE)",
    errno.ENOSYS: "the kernel has no keyrings (CONFIG_KEYS)",
    errno.EBADMSG: "this is no X.509 certificate in DER",
    errno.ENOPKG: "the kernel lacks what this certificate's key or hash needs",
}


def add_certificate(der: bytes, keyring: int = SESSION) -> int:
    """Trust what the certificate's owner signs, in a keyring; the key's serial number. KernelError."""
    data = ctypes.create_string_buffer(der, len(der))
    serial: int = libc().syscall(
        numbers().add_key, b"asymmetric", b"bombus", data, ctypes.c_size_t(len(der)), ctypes.c_long(keyring)
    )
    if serial < 0:
        code = ctypes.get_errno()
        raise KernelError(code, "add_key", f"a certificate into keyring {keyring}", hint=_HINTS.get(code, ""))
    return serial
