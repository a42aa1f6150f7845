"""What a verifier's log means: the reason, where in the source, the path that led there, where the value came from.

Works on the text alone, so logs of the real kernel are explained as well as those of bombus.verifier. Line records
add file, line and column where the log has none (Linux before 6.9 writes only the text of the source).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

from bombus.isa.insn import Insn
from bombus.verifier.explain_rule import Rule
from bombus.verifier.explain_table import find
from bombus.verifier.program import LineInfo

_INSN: Final = re.compile(r"(\d+): \(([0-9a-f]{2})\) (.*?)(?:\s*; (.*))?$")
# Taking a branch back leaves a space where the line of its jump ended.
_GLUED: Final = re.compile(
    r"^(\d+: \([0-9a-f]{2}\) (?:if .*?|goto|gotol|may_goto) ?(?:goto )?pc[+-]\d+) (?=\S)(?!; (?:R\d|frame))"
)
_STATE: Final = re.compile(r"(\d+): ((?:frame\d+: ?)?R\d+.*)")
_FROM: Final = re.compile(r"from (\d+) to (\d+)(?: \(speculative execution\))?:(.*)")
_SAFE: Final = re.compile(r"(?:\d+: safe$|from \d+ to \d+.*: safe$)")
_SOURCE: Final = re.compile(r"; (.*?)(?: @ (\S+):(\d+))?$")
_REGISTER: Final = re.compile(r"R(\d+)(?:_[a-zA-Z]+)?=([^\s(]*(?:\((?:[^()]|\([^()]*\))*\))?)")
_NOISE: Final = re.compile(
    r"(?:processed \d+ insns|verification time |stack depth |mark_precise|force_precise|caller:|callee:|func#\d+ @|"
    r"Live regs before|\s+\d+: |returning from callee|to caller at| frame\d+: | R\d+|propagating |"
    r"frame \d+: propagating|"
    r"SCC |\(\d+(?:,\d+)*\) |Validating |Func#\d+ \('.*'\) is safe|bombus: |old state:|cur state:|parent |last_idx|"
    r"regs=|\d+: \S+$|\*\*|CO-RE|Global function .*\(\)$)"
)
_TARGET: Final = re.compile(r"goto (?:pc)?([+-]?\d+)")
_LOAD: Final = re.compile(r"[rw]\d+ = (?:\*\((?:u|s)\d+ \*\)\(r(\d+) ?[+-])")
_THROUGH: Final = re.compile(r"\*\([us]\d+ \*\)\(r(\d+)")
_WRITES: Final = re.compile(r"[rw](\d+) (?:[-+*/%&|^]|<<|>>|s>>|s/|s%)?=")
_SPILL: Final = re.compile(r"\*\(u64 \*\)\(r10 ?([+-] ?\d+)\) = r(\d+)$")
_FILL: Final = re.compile(r"r\d+ = \*\(u64 \*\)\(r10 ?([+-] ?\d+)\)$")
_COPY: Final = re.compile(r"[rw]\d+ = [rw](\d+)$")
_SUM: Final = re.compile(r"[rw]\d+ (?:[-+*/%&|^]|<<|>>|s>>)= [rw](\d+)$")
_MAX_ORIGINS: Final = 6
# Rules of a first message that say what was wrong, where a second one follows that says how.
_EXACT: Final = frozenset({"packet-bounds", "value-bounds", "key-bounds", "memory-bounds", "leaked-reference"})
# Messages that only repeat that something was wrong, after one that says what.
_FOLLOWING: Final = frozenset({"buffer-and-size"})
# Rules about the number that was added to a pointer, rather than the pointer.
_OFFSETS: Final = frozenset({"unbounded", "outside-memory", "negative-index", "pointer-offset"})

_NUMBER: Final = re.compile(r"scalar|inv|0x|-?\d|P-?\d")
_TAKEN_AWAY: Final = (
    "R{reg} was a pointer ({was}) until something took it away: what it points to was released or given away, the lock "
    "or section that kept it valid ended, or the packet was moved."
)
_KEEP: Final = "Use the pointer before that, or get it again afterwards."

Found = tuple[Rule, re.Match[str]]


@dataclass(frozen=True, slots=True)
class Source:
    """A source line. number and column are 0 and file is "" where they are not known."""

    text: str
    file: str = ""
    number: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.number}: {self.text}" if self.file else self.text


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction on the path. state: what it changed, as the log says. depth: calls that were not left."""

    insn: int
    text: str
    state: str = ""
    source: Source | None = None
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Branch:
    """A condition on the path, and whether it held."""

    insn: int
    text: str
    taken: bool
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """message: the kernel's; key: the kind of mistake; register: the one that went wrong (-1: none) with its last
    known value; origins: where its value came from, the nearest first; branches: conditions on the path, in order."""

    message: str
    key: str = ""
    meaning: str = ""
    fix: str = ""
    insn: int = -1
    text: str = ""
    source: Source | None = None
    register: int = -1
    value: str = ""
    argument: str = ""
    origins: tuple[Step, ...] = ()
    branches: tuple[Branch, ...] = ()
    path: tuple[Step, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the path is left out, its conditions say it."""
        found: dict[str, Any] = {
            "message": self.message, "kind": self.key, "meaning": self.meaning, "fix": self.fix, "insn": self.insn,
            "text": self.text, "source": _source_dict(self.source),
        }  # fmt: skip
        if self.register >= 0:
            found["register"] = {"name": f"R{self.register}", "value": self.value, "argument": self.argument}
        found["origins"] = [
            {"insn": step.insn, "text": step.text, "state": step.state, "source": _source_dict(step.source)}
            for step in self.origins
        ]
        found["branches"] = [
            {"insn": one.insn, "text": one.text, "taken": one.taken, "source": _source_dict(one.source)}
            for one in self.branches
        ]
        return found


def _source_dict(source: Source | None) -> dict[str, Any] | None:
    if source is None:
        return None
    return {"file": source.file, "line": source.number, "column": source.column, "text": source.text}


def explain(
    log: str, insns: Sequence[Insn] = (), line_info: Sequence[LineInfo] = (), *, insn: int = -1
) -> Explanation:
    """Explain the log of a refused load (level 1 or 2; less is known from other levels).

    insns: the program, for logs without instructions; insn: where it failed, if the caller knows.
    """
    path, messages = _read(log)
    if line_info:
        path = _with_lines(path, line_info)
    message, found, before = _reason(messages)
    last = path[-1] if path else None
    at = last.insn if last is not None else insn
    text = last.text if last is not None else _text_of(insns, insn)
    source = last.source if last is not None else _line_at(line_info, insn)
    if found is None:
        return Explanation(message, insn=at, text=text, source=source, branches=_branches(path), path=path)
    rule, match = found
    groups = match.groupdict()
    meaning = rule.meaning
    if before is not None and (rule.key in _FOLLOWING or message.startswith("Caller passes")):
        rule, match = before
        groups = match.groupdict()
        meaning = rule.meaning
    elif before is not None and before[0].key in _EXACT:
        rule = rule if before[0].key != rule.key else before[0]
        meaning = before[0].meaning
        groups |= {name: value for name, value in before[1].groupdict().items() if value}
    register = _register(rule.register, groups, text)
    values = {"reg": str(register)} if register >= 0 else {}
    values |= {name: value for name, value in groups.items() if value}
    origins = _origins(path, register, through_sums=rule.key in _OFFSETS)
    if rule.key == "leaked-reference" and groups.get("alloc"):
        origins = tuple(step for step in path if step.insn == int(groups["alloc"]))[-1:]
    held = _value(path, register)
    if rule.key == "scalar-pointer" and held and not _NUMBER.match(held):
        meaning, rule = _TAKEN_AWAY, rule._replace(fix=_KEEP)
        values["was"] = held
    return Explanation(
        message, rule.key, _fill(meaning, values), _fill(rule.fix, values), at, text, source, register,
        held, _argument(text, register), origins, _branches(path), path,
    )  # fmt: skip


def _fill(text: str, values: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], "?"), text)


def _text_of(insns: Sequence[Insn], insn: int) -> str:
    if not 0 <= insn < len(insns):
        return ""
    from bombus.verifier.disasm import plain_text

    return re.sub(r"^\([0-9a-f]{2}\) ", "", plain_text(insns, insn))


# Reading


def _read(log: str) -> tuple[tuple[Step, ...], list[str]]:
    """The path to the failure, and the messages after it."""
    steps: list[Step] = []
    messages: list[str] = []
    source: Source | None = None
    for line in _lines(log):
        instruction = _INSN.match(line)
        if instruction is not None:
            number = int(instruction[1])
            steps.append(Step(number, instruction[3], instruction[4] or "", source))
            messages.clear()
            continue
        if not line or _SAFE.match(line):
            continue
        state = _STATE.match(line)
        moved = _FROM.match(line)
        if moved is not None:
            _back_to(steps, int(moved[1]))
            source = steps[-1].source if steps else source
            _note(steps, moved[3])
            messages.clear()
        elif state is not None:
            _note(steps, state[2])
        elif line.startswith("; "):
            found = _SOURCE.match(line)
            if found is not None:
                source = Source(found[1].strip(), found[2] or "", int(found[3] or 0))
        elif not _NOISE.match(line):
            messages.append(line)
    return _deepened(steps), messages


def _lines(log: str) -> Iterator[str]:
    for line in log.splitlines():
        glued = _GLUED.match(line)
        if glued is None:
            yield line
        else:
            yield glued[1]
            yield line[glued.end() :]


def _back_to(steps: list[Step], insn: int) -> None:
    """Another branch is explored from an earlier instruction: what came after it is no part of the path."""
    for at in range(len(steps) - 1, -1, -1):
        if steps[at].insn == insn:
            del steps[at + 1 :]
            return


def _note(steps: list[Step], state: str) -> None:
    """Registers that a line of their own shows belong to the instruction before."""
    if steps and state.strip():
        last = steps[-1]
        steps[-1] = replace(last, state=f"{last.state} {state.strip()}".strip())


def _deepened(steps: list[Step]) -> tuple[Step, ...]:
    depth = 0
    out = []
    for at, step in enumerate(steps):
        out.append(replace(step, depth=depth) if depth else step)
        following = steps[at + 1].insn if at + 1 < len(steps) else step.insn + 1
        if step.text.startswith("call pc") and following != step.insn + 1:
            depth += 1
        elif step.text == "exit" and depth and at + 1 < len(steps):
            depth -= 1
    return tuple(out)


def _with_lines(path: tuple[Step, ...], lines: Sequence[LineInfo]) -> tuple[Step, ...]:
    return tuple(replace(step, source=_line_at(lines, step.insn) or step.source) for step in path)


def _line_at(lines: Sequence[LineInfo], insn: int) -> Source | None:
    best = None
    for line in lines:
        if line.insn > insn:
            break
        best = line
    if best is None or insn < 0:
        return None
    return Source(best.line.strip(), best.file.rpartition("/")[2], best.number, best.column)


def _reason(messages: list[str]) -> tuple[str, Found | None, Found | None]:
    """The last message with an explanation, and the one before it, which often says more exactly what was wrong."""
    known = [(line, found) for line in messages if (found := find(line)) is not None]
    if not known:
        return (messages[-1] if messages else ""), None, None
    return known[-1][0], known[-1][1], known[-2][1] if len(known) > 1 else None


# What is said of it


def _register(rule: str, groups: dict[str, str | None], text: str) -> int:
    for name, number in groups.items():
        if number is not None and (name.startswith("reg") or name in ("arg0", "arg1")):
            return int(number) + (name == "arg0")
    if rule == "r0":
        return 0
    if rule == "base":
        through = _THROUGH.search(text)
        return int(through[1]) if through is not None else -1
    if rule == "src":
        added = _SUM.match(text)
        if added is not None:
            return int(added[1])
    if rule in ("src", "dst"):
        target = _WRITES.match(text)
        return int(target[1]) if target is not None else -1
    return -1


def _argument(text: str, register: int) -> str:
    """ "argument 2 of bpf_map_lookup_elem" """
    if not text.startswith("call ") or not 1 <= register <= 5:
        return ""
    name = text[5:].partition("#")[0].strip()
    return f"argument {register} of {name}" if name and not name.startswith("pc") else f"argument {register}"


def _value(path: tuple[Step, ...], register: int) -> str:
    """What the log last said of a register before the failing instruction, in its frame."""
    if register < 0 or not path:
        return ""
    depth = path[-1].depth
    for step in reversed(path):
        if step.depth != depth:
            continue
        for name, value in reversed(_REGISTER.findall(step.state)):
            if int(name) == register:
                return str(value)
        if step is not path[-1] and _written(step.text) == register:
            return ""
    return ""


def _written(text: str) -> int:
    """The register that an instruction sets, or -1."""
    if text.startswith("call "):
        return 0
    match = _WRITES.match(text)
    return int(match[1]) if match is not None else -1


def _origins(path: tuple[Step, ...], register: int, *, through_sums: bool = False) -> tuple[Step, ...]:
    """Where a register's value came from: the last write, then that of what was copied or loaded, and so on.

    through_sums: go on with what was added to it, once.
    """
    found: list[Step] = []
    at = len(path) - 1
    depth = path[-1].depth if path else 0
    slot = ""
    while register >= 0 and len(found) < _MAX_ORIGINS:
        at -= 1
        if at < 0:
            break
        step = path[at]
        if slot:
            spill = _SPILL.match(step.text)
            if spill is None or step.depth != depth or spill[1].replace(" ", "") != slot:
                continue
            found.append(step)
            slot, register = "", int(spill[2])
            continue
        if step.depth < depth:  # the call of this function: arguments come from the caller
            if not 1 <= register <= 5:
                break
            depth = step.depth
            found.append(step)
            continue
        if step.depth > depth:
            if step.text == "exit" and register == 0 and path[at + 1].depth == depth:
                depth = step.depth
            continue
        if step.text.startswith("call ") and 1 <= register <= 5:
            found.append(step)  # calls forget R1 to R5
            break
        if _written(step.text) != register or register == 10:
            continue
        found.append(step)
        fill = _FILL.match(step.text)
        copy = _COPY.match(step.text) or _SUM.match(step.text)
        if fill is not None:
            slot = fill[1].replace(" ", "")
        elif _COPY.match(step.text) and copy is not None:
            register = int(copy[1])
        elif copy is not None and through_sums and "+=" in step.text:
            register, through_sums = int(copy[1]), False
        elif _WRITES.match(step.text) and not re.match(r"[rw]\d+ = ", step.text):
            continue  # changed in place: what was it before
        else:
            break
    return tuple(found)


def _branches(path: tuple[Step, ...]) -> tuple[Branch, ...]:
    """The conditions on the path, the last time each was met."""
    found: list[Branch] = []
    for step, following in pairwise(path):
        if step.text.startswith("if ") and _TARGET.search(step.text):
            found.append(Branch(step.insn, step.text, following.insn != step.insn + 1, step.source))
    return tuple(found)
