"""Signed loads: the signature is good (openssl says so), and the kernel's refusal is told from our failure."""

from __future__ import annotations

import ctypes
import errno
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sandbox import in_namespace

from bombus.errors import KernelError, NeedsKernel, NotSupported, UsageError
from bombus.isa.insn import encode
from bombus.kernel.linux import keys
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.kernel.user.kernel import UserKernel
from bombus.loader.load import load
from bombus.loader.signing import Signer
from bombus.object.read import open_object

OBJECT = open_object(Path(__file__).parent / "data" / "attach.bpf.o")
NAME = "tc_plain"


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("keys")
    key, certificate = str(folder / "key.pem"), str(folder / "cert.pem")
    # The kernel finds a signature's key by the certificate's subject key identifier.
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
         "-subj", "/CN=bombus test", "-addext", "keyUsage=digitalSignature"],
        check=True, capture_output=True,
    )  # fmt: skip
    return Signer(key, certificate)


def verified(signer: Signer, data: bytes, signature: bytes, folder: Path) -> bool:
    (folder / "data").write_bytes(data)
    (folder / "signature").write_bytes(signature)
    done = subprocess.run(
        ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", folder / "signature", "-content",
         folder / "data", "-certfile", signer.certificate, "-CAfile", signer.certificate, "-purpose", "any", "-out",
         folder / "out"],
        capture_output=True, check=False,
    )  # fmt: skip
    return done.returncode == 0


def test_the_signature_is_of_the_instructions(signer: Signer, tmp_path: Path) -> None:
    seen: list[tuple[bytes, bytes]] = []

    class Watching(UserKernel):
        def bpf(self, attr: Any) -> int:
            if attr.command.name == "BPF_PROG_LOAD" and attr.get("signature"):
                assert attr.get("signature_size") == len(attr.buffers["signature"])
                assert attr.get("keyring_id") == 2**32 - 4  # KEY_SPEC_USER_KEYRING
                seen.append((bytes(attr.buffers["insns"]), bytes(attr.buffers["signature"])))
            return super().bpf(attr)

    with pytest.raises(NotSupported, match="no keyrings"):
        load(OBJECT, Watching("6.18"), programs=[NAME], sign=signer, keyring="user")
    (data, signature), = seen
    assert verified(signer, data, signature, tmp_path)
    assert not verified(signer, data[:-1] + b"\x01", signature, tmp_path)
    with pytest.raises(NeedsKernel, match=r"6\.18"):
        load(OBJECT, UserKernel("6.12"), programs=[NAME], sign=signer)


def test_wrong_words(signer: Signer, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no keyring 'joy'"):
        load(OBJECT, UserKernel("6.18"), programs=[NAME], sign=signer, keyring="joy")
    with pytest.raises(UsageError, match="openssl cms: "):
        Signer(str(tmp_path / "none"), signer.certificate)(b"data")


def outcome(**options: Any) -> str:
    try:
        with load(OBJECT, LinuxKernel(), programs=[NAME], data={"pid": 1}, **options) as item:
            return f"loaded {len(encode(item.flat(NAME).insns))}"
    except (KernelError, NotSupported) as error:
        return str(error)


@pytest.mark.linux
def test_a_signed_load(signer: Signer) -> None:
    """The certificate is in this test's own session keyring; a second key's signature is not trusted."""

    def body() -> dict[str, str]:
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.syscall(250, 1, None) > 0  # keyctl(KEYCTL_JOIN_SESSION_KEYRING): x86-64
        keys.add_certificate(signer.der())
        return {
            "good": outcome(sign=signer), "bad": outcome(sign=lambda data: signer(data + b"x")),
            "noise": outcome(sign=lambda data: b"noise"),
        }  # fmt: skip

    kernel = LinuxKernel()
    found = in_namespace(body, net=False)
    if kernel.version < (6, 18):
        assert all("6.18" in text for text in found.values()), found
    elif kernel.kconfig().get("CONFIG_SYSTEM_DATA_VERIFICATION") != "y":
        # Not our failure: this kernel checks no signatures, and says so of each.
        assert all("built without CONFIG_SYSTEM_DATA_VERIFICATION" in text for text in found.values()), found
        pytest.skip(f"the kernel refuses here: {found['good']}")
    else:
        assert found["good"].startswith("loaded") and "not of these instructions" in found["bad"]
        assert "no PKCS#7" in found["noise"]


@pytest.mark.linux
def test_certificates() -> None:
    with pytest.raises(KernelError) as caught:
        keys.add_certificate(b"no certificate")
    assert caught.value.errno in (errno.EBADMSG, errno.ENODEV, errno.ENOSYS, errno.EINVAL)
