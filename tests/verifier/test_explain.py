"""Explanations: every message has one, and programs with the common mistakes get the right one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from bombus.asm import assemble
from bombus.isa import opcodes as op
from bombus.spec.progtypes import PROG_TYPE
from bombus.spec.version import KernelVersion
from bombus.verifier.explain import Explanation, explain
from bombus.verifier.explain_table import RULES, find
from bombus.verifier.main import verify
from bombus.verifier.program import NOBODY, ROOT, LineInfo, MapInfo, Program

ROOM = Path(__file__).resolve().parents[2] / "bombus" / "verifier"
# Calls whose text is (a part of) a log but no reason of a refusal.
PROGRESS = re.compile(
    r"func#|Func#.*(?:assumed valid|is safe)|Validating |mark_precise|force_precise|SCC |Live regs|processed |"
    r"verification time|\nfrom |returning from callee|to caller at|frame \d+: propagating|cur state|old state|"
    r"the verifier refuses|\S+: safe|\S+: \S+$|\S+live stack update|\S+ @ \S+:\S+$|frame\S* bpf_loop iteration"
    r"| or untrusted_ptr|.*struct doesn't have a name$|\S+ \S+ \S+$|frame 1: propagating|1 1#1$"
)
FILLS = ("1", "", " read", "R1", "bpf_x")


def _texts(node: ast.expr) -> list[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return ["".join(str(v.value) if isinstance(v, ast.Constant) else "\0" for v in node.values)]
    if isinstance(node, ast.IfExp):
        return _texts(node.body) + _texts(node.orelse)
    return []


def messages() -> list[tuple[str, str]]:
    """(place, text with \\0 for what is filled in) of all messages with which a check can refuse a program."""
    found = []
    for path in sorted(ROOM.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name not in ("fail", "say", "check_leaks", "_bug"):
                continue
            for argument in node.args:
                for text in _texts(argument):
                    if " " in text.strip():
                        found.append((f"{path.name}:{node.lineno}", text.strip("\n")))
    return found


def test_every_message_has_an_explanation() -> None:
    known = messages()
    assert len(known) > 150
    missing = []
    for place, text in known:
        filled = [text.replace("\0", fill) for fill in FILLS]
        if not any(find(one) for one in filled) and not any(PROGRESS.match(one) for one in filled):
            missing.append((place, filled[0]))
    assert missing == []


def test_rows_are_whole() -> None:
    for rule in RULES:
        assert rule.key and rule.meaning.rstrip(")").endswith(".") and rule.fix, rule.key
        for name in re.findall(r"\{(\w+)\}", rule.meaning):
            assert name in rule.pattern.groupindex or name == "reg", (rule.key, name)


HASH = MapInfo(1, 4, 8, 16, "hash")
ARRAY = MapInfo(2, 4, 16, 1, "array")
MAPS = 0x7000_0000  # ld_imm64 of this and more names a map by its descriptor
RINGBUF = MapInfo(27, 0, 0, 4096, "ring")

LOOKUP = """
    *(u32 *)(r10 - 4) = 0
    r2 = r10
    r2 += -4
    r1 = map_fd 1 ll
    call bpf_map_lookup_elem
"""

# name: (type, assembly, kind, register, part of the meaning)
CASES: dict[str, tuple[str, str, str, int, str]] = {
    "missing null check": ("XDP", LOOKUP + "r0 = *(u64 *)(r0 + 0)\nexit", "null-check", 0, "may be NULL"),
    "packet bounds": ("XDP", "r2 = *(u32 *)(r1 + 0)\nr0 = *(u8 *)(r2 + 12)\nexit", "packet-bounds", 2,
                      "1 bytes of the packet are accessed at offset 12 of R2"),
    "unbounded loop": ("XDP", "r0 = *(u32 *)(r1 + 12)\nl:\nif r0 != 5 goto l\nexit", "infinite-loop", -1,
                       "instruction 1"),
    "wrong argument": ("XDP", "r1 = 5\nr2 = 0\ncall bpf_map_lookup_elem\nr0 = 0\nexit", "wrong-argument", 1,
                       "R1 holds a scalar"),
    "leaked reference": ("XDP", "r1 = map_fd 3 ll\nr2 = 8\nr3 = 0\ncall bpf_ringbuf_reserve\nr0 = 0\nexit",
                         "leaked-reference", -1, "instruction 4 acquired"),
    "context out of bounds": ("XDP", "r0 = *(u32 *)(r1 + 400)\nexit", "context-access", 1, "4 bytes at offset 400"),
    "number as pointer": ("XDP", "r2 = *(u32 *)(r1 + 12)\nr0 = *(u8 *)(r2 + 0)\nexit", "scalar-pointer", 2,
                          "known only as a number".replace("known ", "")),
    "no return value": ("XDP", "exit", "uninitialised-register", 0, "nothing was put into it"),
    "lost in a call": ("XDP", "call bpf_ktime_get_ns\nr0 = r1\nexit", "uninitialised-register", 1, "After a call"),
    "gpl only": ("KPROBE", "r1 = r10\nr1 += -8\nr2 = 8\nr3 = 0\ncall bpf_probe_read_kernel\nr0 = 0\nexit", "gpl-only",
                 -1, "licence compatible"),
    "helper of another type": ("XDP", "r2 = 0\ncall bpf_skb_change_proto\nexit", "helper-not-allowed", -1,
                               "bpf_skb_change_proto"),
    "no such helper": ("XDP", "call 9999\nexit", "no-helper", -1, "number 9999"),
    "index too large": ("XDP", LOOKUP.replace("map_fd 1", "map_fd 2") + "if r0 == 0 goto out\nr0 = *(u32 *)(r0 + 16)\n"
                        "out:\nr0 = 0\nexit", "outside-memory", 0, "offset 16 of a map value of 16 bytes"),
    "unbounded index": ("XDP", "r6 = *(u32 *)(r1 + 12)\n" + LOOKUP.replace("map_fd 1", "map_fd 2")
                        + "if r0 == 0 goto out\nr0 += r6\nr0 = *(u32 *)(r0 + 0)\nout:\nr0 = 0\nexit", "unbounded", 0,
                        "no upper limit"),
    "division": ("XDP", "r0 = 1\nr0 /= 0\nexit", "division", -1, "constant 0"),
    "shift": ("XDP", "r0 = 1\nr0 <<= 64\nexit", "shift", -1, "by 64"),
    "pointer sum": ("XDP", "r1 += r10\nr0 = 0\nexit", "pointer-arithmetic", 1, "R1"),
    "null or pointer sum": ("XDP", LOOKUP + "r0 += 8\nr0 = 0\nexit", "pointer-or-null-arithmetic", 0, "R0"),
    "frame pointer": ("XDP", "r10 = 0\nr0 = 0\nexit", "frame-pointer", -1, "R10"),
    "unreachable": ("XDP", "r0 = 0\nexit\nr0 = 0\nexit", "unreachable", -1, "instruction 2"),
    "falls out": ("XDP", "r0 = 0", "jump-range", -1, "leave its instructions"),
    "stack too deep": ("XDP", "*(u64 *)(r10 - 520) = 0\nr0 = 0\nexit", "stack-bounds", 10, "512 bytes"),
    "modified context": ("XDP", "r1 += 4\nr0 = *(u32 *)(r1 + 0)\nexit", "modified-pointer", 1, "constant offset"),
    "packet end": ("XDP", "r2 = *(u32 *)(r1 + 4)\nr0 = *(u8 *)(r2 + 0)\nexit", "packet-end-access", 2, "end of the"),
    "the map itself": ("XDP", "r1 = map_fd 1 ll\n*(u64 *)(r1 + 0) = 0\nr0 = 0\nexit", "btf-access", -1, "kernel"),
    "no map": ("XDP", "r1 = map_fd 77 ll\nr0 = 0\nexit", "map-descriptor", -1, "open map"),
    "return range": ("CGROUP_SKB", "r0 = 7\nexit", "return-range", 0, "only return [0, 1]"),
    "recursion": ("XDP", "call f\nexit\nf:\ncall f\nexit", "call-depth", -1, "8 levels"),
    "write to context": ("XDP", "*(u32 *)(r1 + 0) = 1\nr0 = 0\nexit", "context-access", 1, "offset 0"),
    "tail call of a hash": ("XDP", "r2 = map_fd 1 ll\nr3 = 0\ncall bpf_tail_call\nr0 = 0\nexit", "map-kind", -1,
                            "not of the kind"),
    "sub pointer from number": ("XDP", "r0 = 0\nr0 -= r1\nexit", "pointer-arithmetic", 0, "R0"),
}


def program(kind: str, text: str, level: int = 1, **more: object) -> Program:
    text = re.sub(r"map_fd (\d+)", lambda match: str(MAPS + int(match[1])), text)
    body = [
        insn._replace(src=op.BPF_PSEUDO_MAP_FD, imm=insn.imm - MAPS)
        if insn.opcode == op.LD_IMM64 and insn.imm >= MAPS else insn
        for insn in assemble(text).insns
    ]
    return Program(
        body, PROG_TYPE[f"BPF_PROG_TYPE_{kind}"].id, KernelVersion(6, 18), license=str(more.get("license", "MIT")),
        maps={1: HASH, 2: ARRAY, 3: RINGBUF}, log_level=level,
        privileges=NOBODY if more.get("nobody") else ROOT,
    )


def why(kind: str, text: str, level: int = 1) -> Explanation:
    given = program(kind, text, level)
    verdict = verify(given)
    assert not verdict.accepted
    return explain(verdict.log, given.insns, insn=verdict.insn)


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_programs(name: str, level: int) -> None:
    kind, text, key, register, part = CASES[name]
    found = why(kind, text, level)
    assert found.key == key, found.message
    assert found.register == register
    assert part in found.meaning
    assert "?" not in found.meaning


def test_origin_of_a_copied_and_spilled_pointer() -> None:
    spill = "r6 = r0\n*(u64 *)(r10 - 16) = r6\nr7 = *(u64 *)(r10 - 16)\n"
    found = why("XDP", LOOKUP + spill + "r0 = *(u64 *)(r7 + 0)\nexit")
    assert found.register == 7
    assert [step.text for step in found.origins] == [
        "r7 = *(u64 *)(r10 -16)", "*(u64 *)(r10 -16) = r6", "r6 = r0", "call bpf_map_lookup_elem#1",
    ]
    assert found.value.startswith("map_value_or_null(")


def test_origin_of_an_offset() -> None:
    found = why("XDP", CASES["unbounded index"][1])
    assert [step.text for step in found.origins] == ["r0 += r6", "r6 = *(u32 *)(r1 +12)"]


def test_origin_in_the_caller() -> None:
    found = why("XDP", LOOKUP + "r1 = r0\ncall f\nexit\nf:\nr0 = *(u64 *)(r1 + 0)\nexit")
    assert (found.key, found.register) == ("null-check", 1)
    assert found.origins[0].text.startswith("call pc")
    assert found.origins[-1].text == "call bpf_map_lookup_elem#1"


@pytest.mark.parametrize("level", [1, 2])
def test_path(level: int) -> None:
    text = """
        r6 = *(u32 *)(r1 + 12)
        r0 = 0
        if r6 > 7 goto big
        r0 = 1
        if r6 == 3 goto bad
        exit
    big:
        exit
    bad:
        r0 = r3
        exit
    """
    found = why("XDP", text, level)
    assert found.key == "uninitialised-register"
    assert [(one.insn, one.taken) for one in found.branches] == [(2, False), (4, True)]


def test_argument_is_named() -> None:
    assert why("XDP", CASES["wrong argument"][1]).argument == "argument 1 of bpf_map_lookup_elem"


def test_lines_come_from_records() -> None:
    lines = [LineInfo(0, "dir/a.py", "  x = ctx.rx_queue", 4, 5), LineInfo(1, "dir/a.py", "return x[0]", 6, 9)]
    given = program("XDP", CASES["number as pointer"][1])
    found = explain(verify(given).log, given.insns, lines)
    assert found.source is not None
    assert (found.source.file, found.source.number, found.source.column) == ("a.py", 6, 9)
    assert found.origins[0].source is not None
    assert found.origins[0].source.text == "x = ctx.rx_queue"
    assert found.as_dict()["source"] == {"file": "a.py", "line": 6, "column": 9, "text": "return x[0]"}


def test_log_without_instructions() -> None:
    given = program("XDP", "r0 = 0\nr0 = *(u8 *)(r0 + 0)\nexit")
    found = explain("R0 invalid mem access 'scalar'\n", given.insns, insn=1)
    assert (found.key, found.insn, found.text) == ("scalar-pointer", 1, "r0 = *(u8 *)(r0 +0)")


@pytest.mark.parametrize("log", ["", "\n\n", "0: (b7", "from 3 to 4: R1=", "R99999999999 !read_ok", "; @ :", "\0" * 50])
def test_any_text(log: str) -> None:
    assert isinstance(explain(log), Explanation)


@pytest.mark.oracle
@pytest.mark.parametrize("version", ["6.12", "6.18"])
def test_logs_of_real_kernels(version: str) -> None:
    """Of the selftests' programs that a kernel refused, nearly all have an explanation, and no log breaks it."""
    import gzip
    import json

    path = ROOM.parents[1].parent / "shared" / "oracle" / f"logs-{version}.jsonl.gz"
    if not path.exists():
        pytest.skip("the recorded logs are not here")
    known = total = 0
    with gzip.open(path, "rt") as file:
        for line in file:
            row = json.loads(line)
            log = row.get("log1") or ""
            if not row.get("err") or not log:
                continue
            found = explain(log)
            if found.message:
                total += 1
                known += bool(found.key)
    assert total > 300
    assert known / total > 0.9, (known, total)


def test_unprivileged() -> None:
    given = program("SOCKET_FILTER", "r0 = *(u64 *)(r10 - 8)\nexit", nobody=True)
    found = explain(verify(given).log, given.insns)
    assert found.key == "uninitialised-stack"
    assert "8 bytes of the stack" in found.meaning
    given = program("SOCKET_FILTER", "*(u32 *)(r10 - 8) = 0\nr2 = r10\nr2 += -8\nr3 = *(u64 *)(r2 + 0)\nexit"
                   , nobody=True)
    found = explain(verify(given).log, given.insns)
    assert found.key == "uninitialised-stack", found.message
    given = program("SOCKET_FILTER", "r0 = r10\nexit", nobody=True)
    found = explain(verify(given).log, given.insns)
    assert found.key == "leaks-address"
