"""Loads and stores of contexts, as the running kernel's verifier says it: every offset, size and direction."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator

import pytest
from spec_loads import LOG_SIZE, Place, insn, untyped

from bombus.kernel.api import Attr, Kernel
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.spec.contexts import CONTEXT, RULES, access, socket_field
from bombus.spec.progtypes import PROG_TYPE, PROG_TYPES
from bombus.spec.version import KernelVersion, since

OLDEST, NEWEST = KernelVersion(6, 12), KernelVersion(6, 18)
SIZE_CODE = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
LDX_MEM, LDX_MEMSX, STX_MEM = 0x61, 0x81, 0x63
POINTERS = {
    "": "scalar", "PTR_TO_PACKET": "pkt", "PTR_TO_PACKET_END": "pkt_end", "PTR_TO_PACKET_META": "pkt_meta",
    "PTR_TO_SOCKET": "sock", "PTR_TO_SOCKET_OR_NULL": "sock_or_null",
    "PTR_TO_SOCK_COMMON_OR_NULL": "sock_common_or_null", "PTR_TO_FLOW_KEYS": "flow_keys",
    "PTR_TO_TP_BUFFER": "tp_buffer", "PTR_TO_BTF_ID": "ptr_",
}  # fmt: skip
_RESULT = re.compile(r"; R0(?:_w|_rw)?=(trusted_|rcu_|untrusted_)?(ptr_|\w+)")
_ANSWERS = re.compile(
    r"invalid bpf_context access|misaligned context access|dereference of modified ctx|invalid .*access|"
    r"cannot (?:read|write)"
)


def _version() -> KernelVersion:
    major, minor, _ = KernelVersion.parse(os.uname().release)
    return KernelVersion(major, minor)


def _program(place: Place, offset: int, size: int, mode: str) -> bytes:
    end = insn(0xB7, imm=_result(place)) + insn(0x95)
    if mode == "write":
        return insn(0xB7, 2) + insn(STX_MEM | SIZE_CODE[size], 1, 2, offset) + end
    return insn((LDX_MEMSX if mode == "signed" else LDX_MEM) | SIZE_CODE[size], 0, 1, offset) + end


def _result(place: Place) -> int:
    """A value that r0 may have at the end."""
    rule = PROG_TYPE[place.prog_type].return_range(place.attach_type)
    return rule.min if rule is not None else 0


class Asker:
    """One attr and one log for many loads."""

    def __init__(self, kernel: Kernel, place: Place) -> None:
        self.kernel = kernel
        self.log = bytearray(LOG_SIZE)
        self.attr = Attr(
            "BPF_PROG_LOAD", prog_type=place.type_id, license=b"GPL\0", log_level=2, log_size=len(self.log),
            log_buf=self.log, expected_attach_type=place.attach, prog_flags=place.flags,
        )  # fmt: skip

    def __call__(self, code: bytes) -> tuple[int, str]:
        """errno (0: loaded) and the log."""
        self.attr.set("insns", code)
        self.attr.set("insn_cnt", len(code) // 8)
        self.log[0] = 0
        assert isinstance(self.kernel, LinuxKernel)
        result = self.kernel._call(self.attr)  # bpf() would make an error with a text of each refusal
        text = bytes(self.log[: self.log.index(0)]).decode(errors="replace")
        if result >= 0:
            self.kernel.close(result)
            return 0, text
        return -result, text


def _questions(place: Place) -> Iterator[tuple[int, int, str]]:
    context = CONTEXT.get(PROG_TYPE[place.prog_type].ctx)
    end = context.size + 8 if context is not None else 128
    offsets = list(range(-8, end + 1))
    if place.prog_type in ("BPF_PROG_TYPE_TRACEPOINT", "BPF_PROG_TYPE_SYSCALL"):
        offsets = [-32768, *range(-8, 65), 1000, *range(2030, 2060), *range(8180, 8200), 32760]
    for offset in offsets:
        for size in (1, 2, 4, 8):
            yield offset, size, "read"
            yield offset, size, "write"
            if size < 8:
                yield offset, size, "signed"


def _spec(place: Place, offset: int, size: int, mode: str, version: KernelVersion) -> str:
    found = access(
        place.type_id, offset, size, mode == "write", place.attach_id, signed=mode == "signed", version=version
    )
    if found is None:
        return "refused"
    return "written" if mode == "write" else POINTERS[found.pointer]


def _kernel(ask: Asker, place: Place, offset: int, size: int, mode: str) -> str:
    code, log = ask(_program(place, offset, size, mode))
    if code:
        assert _ANSWERS.search(log), (offset, size, mode, code, log)
        return "refused"
    if mode == "write":
        return "written"
    match = _RESULT.search(log)
    assert match is not None, log
    return match[2] if match[2] in POINTERS.values() else "scalar"


@functools.cache
def _loads(place: Place) -> str:
    ask = Asker(LinuxKernel(), place)
    code, log = ask(insn(0xB7, imm=_result(place)) + insn(0x95))
    return f"errno {code} {log[:100]!r}" if code else ""


@pytest.mark.linux
@pytest.mark.parametrize("place", list(untyped()), ids=str)
def test_every_access(place: Place, linux_kernel: Kernel) -> None:
    version = _version()
    if not OLDEST <= version <= NEWEST:
        pytest.skip(f"rows are exact from {OLDEST} to {NEWEST}")
    if problem := _loads(place):
        pytest.skip(f"this kernel takes no such programs: {problem}")
    ask = Asker(linux_kernel, place)
    wrong = []
    for offset, size, mode in _questions(place):
        kernel, spec = _kernel(ask, place, offset, size, mode), _spec(place, offset, size, mode, version)
        if kernel != spec:
            wrong.append(f"{mode} {size} at {offset}: kernel {kernel}, spec {spec}")
    assert wrong == []


# How to come from the context of a tc program to a socket of each kind in r6. Helpers: 95 sk_fullsock, 96 tcp_sock.
_SK = insn(0x79, 6, 1, 168) + insn(0x55, 6, 0, 2) + insn(0xB7) + insn(0x95)
_CALL = insn(0xBF, 1, 6) + insn(0x85, imm=95) + insn(0x55, 0, 0, 2) + insn(0xB7) + insn(0x95) + insn(0xBF, 6, 0)
SOCKETS = {"sock_common": _SK, "bpf_sock": _SK + _CALL, "bpf_tcp_sock": _SK + _CALL.replace(b"\x5f", b"\x60")}


@pytest.mark.linux
@pytest.mark.parametrize("struct", SOCKETS)
def test_every_load_from_a_socket(struct: str, linux_kernel: Kernel) -> None:
    ask = Asker(linux_kernel, Place("BPF_PROG_TYPE_SCHED_CLS"))
    wrong = []
    size_of = CONTEXT["bpf_sock" if struct == "sock_common" else struct].size
    for offset in range(-8, size_of + 9):
        for size in (1, 2, 4, 8):
            load = insn(LDX_MEM | SIZE_CODE[size], 0, 6, offset)
            code, log = ask(SOCKETS[struct] + load + insn(0xB7) + insn(0x95))
            if "error during ctx access conversion" in log:  # found in order, but then not translated
                code = 0
            assert code == 0 or _ANSWERS.search(log) or "negative" in log, log
            if (code == 0) != socket_field(struct, offset, size):
                wrong.append(f"{size} at {offset}: errno {code}, spec {socket_field(struct, offset, size)}")
    assert wrong == []


def test_answers_without_a_kernel() -> None:
    tracepoint, lookup, xdp = (PROG_TYPE[f"BPF_PROG_TYPE_{name}"].id for name in ("TRACEPOINT", "SK_LOOKUP", "XDP"))
    assert access(tracepoint, 4096, 8, False) and not access(tracepoint, 4096, 8, False, version=since("5.15"))
    assert access(lookup, 38, 1, False) and not access(lookup, 68, 1, False)  # padding, once readable and not
    assert not access(xdp, 20, 4, False) and access(xdp, 20, 4, False, 33)  # egress_ifindex needs BPF_XDP_DEVMAP


def test_types_without_rules_say_so() -> None:
    without = [row.short for row in PROG_TYPES if row.name not in RULES]
    assert without == ["tracing", "struct_ops", "ext", "lsm"]
    with pytest.raises(KeyError):
        access(PROG_TYPE["BPF_PROG_TYPE_TRACING"].id, 0, 8, False)
