"""Our own programs by topic: verdict, errno, message, number of instructions and log as real kernels gave them.

The answers of Linux 6.1, 6.12 and 6.18 are recorded (tools/record-verifier-topics), so that these tests need no kernel;
the last one asks the running kernel again where that is allowed. Logs of 6.1 have another format, which is not made:
they are compared by their last line only.
"""

from __future__ import annotations

import os
import re
from collections import Counter

import pytest
import topics

from bombus.errors import BombusError, KernelError, NotSupported
from bombus.isa.insn import encode
from bombus.kernel.api import Attr
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.kernel.user.kernel import UserKernel
from bombus.verifier.main import verify

TOPICS = sorted({case.topic for case in topics.cases()})
LONG_TOPICS = ("limits",)
RECORDED = {version for _topic, _name, version in topics.answers()}
WHOLE = bool(os.environ.get("BOMBUS_WHOLE_CORPUS"))
_STATISTICS = ("processed ", "verification time ", "stack depth ")


def _message(log: str) -> str:
    lines = [line for line in log.splitlines() if line and not line.startswith(_STATISTICS)]
    return lines[-1] if lines else ""


def _processed(log: str) -> str:
    found = re.search(r"processed (\d+) insns", log)
    return found[1] if found else ""


def _short(case: topics.Case, version: str) -> tuple[int, str]:
    """errno and log of a load with a buffer that may be too small: the user kernel cuts logs as the kernel does."""
    kernel = UserKernel(topics.VERSIONS[version])
    buffer = bytearray(case.log_size)
    insns = case.code()[0]
    attr = Attr(
        "BPF_PROG_LOAD", prog_type=case.prog_type, insn_cnt=len(insns), insns=encode(insns), license=b"GPL\0",
        log_level=case.log_level, log_size=len(buffer), log_buf=buffer,
    )  # fmt: skip
    errno = 0
    try:
        kernel.close(kernel.bpf(attr))
    except KernelError as error:
        errno = error.errno
    return errno, bytes(buffer).split(b"\0")[0].decode()


def differences(case: topics.Case, version: str) -> dict[str, str]:
    """What differs from the recorded answer: "verdict", "message", "insns", "log", and how."""
    answer = topics.answers()[case.topic, case.name, version]
    assert answer["source"] == case.source, f"{case.name} changed: tools/record-verifier-topics records it again"
    if case.log_size:
        errno, log = _short(case, version)
    else:
        try:
            verdict = verify(topics.program(case, version))
        except NotSupported as error:
            return {"not_supported": str(error)}
        errno, log = abs(verdict.errno), verdict.log
    if errno != answer["errno"]:
        return {"verdict": f"{answer['errno']} {_message(answer['log'])} ## {errno} {_message(log)}"}
    found: dict[str, str] = {}
    want, got = answer["log"], topics.normal(log)
    if not answer["full"]:
        got = got if case.log_level == 4 else ""
    if errno and _message(want) != _message(got):
        found["message"] = f"{_message(want)} ## {_message(got)}"
    if _processed(want) != _processed(got):
        found["insns"] = f"{_processed(want)} ## {_processed(got)}"
    if not found and want != got and version != "6.1":
        pairs = zip(want.splitlines(), got.splitlines(), strict=False)
        found["log"] = str(next(((a, b) for a, b in pairs if a != b), "length"))
    return found


@pytest.mark.parametrize("version", sorted(topics.VERSIONS))
@pytest.mark.parametrize("topic", TOPICS)
def test_answers_equal_the_kernels(topic: str, version: str) -> None:
    compared = 0
    wrong = []
    for case in topics.cases():
        if case.topic != topic or (topic, case.name, version) not in topics.answers():
            continue
        if case.option("slow", "") and not WHOLE:
            continue
        found = differences(case, version)
        compared += 1
        if set(found) != case.known(version):
            wrong.append(f"{case.name}: {found}")
    assert not wrong, "\n".join(wrong)
    assert compared or version not in RECORDED or topic == "unprivileged"  # not recorded on the running kernel


def test_every_topic_has_accepted_and_refused_programs() -> None:
    answered: Counter[tuple[str, bool]] = Counter()
    for (topic, _name, _version), answer in topics.answers().items():
        answered[topic, answer["errno"] == 0] += 1
    recorded = {topic for topic, _accepted in answered}
    assert all(answered[topic, True] and answered[topic, False] for topic in recorded), answered
    assert len(topics.cases()) >= 150


def test_every_program_has_its_answers() -> None:
    for case in topics.cases():
        for version in RECORDED - ({"6.18"} if case.user == "nobody" else set()):
            assert (case.topic, case.name, version) in topics.answers(), (case.topic, case.name, version)


@pytest.mark.linux
def test_the_running_kernel_still_says_so() -> None:
    import kernel_guest as guest

    kernel = LinuxKernel()
    if f"{kernel.version.major}.{kernel.version.minor}" != "6.18":
        pytest.skip(f"recorded are the answers of Linux 6.18, this is {kernel.version}")
    some = [case for case in topics.cases() if case.user != "nobody" and case.topic not in LONG_TOPICS]
    try:
        replies = guest.here(topics.batch(some, topics.VERSIONS["6.18"]))
    except BombusError as error:
        pytest.skip(f"the running kernel cannot be asked: {error}")
    changed = []
    for case, reply in zip(some, replies, strict=True):
        answer = topics.answers()[case.topic, case.name, "6.18"]
        if (reply.errno, topics.normal(reply.log)) != (answer["errno"], answer["log"]):
            changed.append(case.name)
    assert not changed
