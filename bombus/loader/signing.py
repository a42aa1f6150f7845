"""Signatures of programs, for kernels that check them (Linux 6.18, kernel/bpf/syscall.c: bpf_prog_verify_signature).

A signature is a detached PKCS#7 message over the instructions as they are loaded, so that it is made at the load, when
descriptors of maps and relocations are in them. The openssl command makes it; the private key stays in its file.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bombus.errors import NotSupported, UsageError

Sign = Callable[[bytes], bytes]
# Keyrings by name: include/uapi/linux/keyctl.h, include/linux/verification.h (system_keyring_id_check).
KEYRINGS: Final[Mapping[str, int]] = {
    "thread": -1, "process": -2, "session": -3, "user": -4, "user_session": -5,
    "builtin": 0, "secondary": 1, "platform": 2,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs with a private key (a PEM file) and its X.509 certificate (PEM or DER), as bpftool's `-S -k -i` do."""

    key: str
    certificate: str

    def __call__(self, data: bytes) -> bytes:
        """The signature in DER. UsageError with openssl's words, NotSupported without the command."""
        # -noattr: the kernel wants no time or type to be signed with the data. -keyid: keys are found by their id.
        return _openssl(
            "cms", "-sign", "-binary", "-noattr", "-nocerts", "-keyid", "-md", "sha256", "-outform", "DER", "-signer",
            self.certificate, "-inkey", self.key, data=data,
        )  # fmt: skip

    def der(self) -> bytes:
        """The certificate as the kernel takes it into a keyring."""
        return _openssl("x509", "-in", self.certificate, "-outform", "DER")


def _openssl(*words: str, data: bytes = b"") -> bytes:
    try:
        done = subprocess.run(["openssl", *words], input=data, capture_output=True, check=False)
    except OSError as error:
        raise NotSupported("signing programs", f"the openssl command cannot be run: {error.strerror}") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise UsageError(f"openssl {words[0]}: {lines[0] if lines else f'exit code {done.returncode}'}")
    return done.stdout


def keyring_id(keyring: str | int) -> int:
    """A keyring by name or serial number. UsageError."""
    if isinstance(keyring, int):
        return keyring
    if keyring not in KEYRINGS:
        raise UsageError(f"no keyring {keyring!r}; there are {', '.join(KEYRINGS)}, or a serial number")
    return KEYRINGS[keyring]


def signed(code: bytes, sign: Sign, keyring: str | int) -> dict[str, Any]:
    """Fields of BPF_PROG_LOAD."""
    signature = sign(code)
    return {"signature": signature, "signature_size": len(signature), "keyring_id": keyring_id(keyring)}
