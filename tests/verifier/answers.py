"""Compares the verifier with the recorded answers of real kernels, row by row.

    python tests/verifier/answers.py VERSION [--big] [--out FILE]

prints what differs: one line for each row. Used by test_corpus.py and tools/gen-verifier-differences.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import corpus

from bombus.errors import NotSupported
from bombus.verifier.main import verify
from bombus.verifier.program import Program, Verdict

BIG = 20_000  # instructions processed: longer verifications have no recorded level 2 log
TYPED = ("6.12", "6.18")  # of these kernels' own types the verifier knows how they are checked
_STATISTICS = ("processed ", "verification time ", "stack depth ", "max_states_per_insn")
_PROCESSED = re.compile(r"processed (\d+) insns")


@dataclass(slots=True)
class Row:
    """A recorded answer and the program that it is about. log is None where none was recorded."""

    name: str
    program: Program
    errno: int
    message: str
    insns: int
    log: str | None


@dataclass(slots=True)
class Result:
    """What differs in one row. unsupported: the feature that bombus names; log: None when there is none to compare."""

    name: str
    unsupported: str = ""
    verdict: bool = False
    message: bool = False
    insns: bool = False
    log: bool | None = None
    want: str = ""
    got: str = ""
    where: str = ""
    size: int = 0
    seconds: float = 0.0

    @property
    def differs(self) -> list[str]:
        if self.unsupported:
            return ["not supported"]
        named = (("verdict", self.verdict), ("message", self.message), ("insns", self.insns), ("log", self.log))
        return [name for name, same in named if same is False]


def _last(log: str) -> str:
    lines = [line for line in log.splitlines() if line and not line.startswith(_STATISTICS)]
    return lines[-1] if lines else ""


def selftests(version: str, big: bool = False, *, typed: bool = False) -> Iterator[Row]:
    """The self-contained programs of the BPF selftests; typed: those that need types of the kernel instead.

    big: those that the kernel processed more than BIG insns of. What libbpf passed to 6.1 was not recorded: there the
    loads of 6.12 stand in where they are as long.
    """
    loads = "6.12" if version == "6.1" else version
    alone = {(r["object"], r["program"]) for r in corpus.rows("features-6.12") if r["self_contained"]}
    answers = {(r["object"], r["program"], r["mode"]): r for r in corpus.rows(f"verdicts-{version}")}
    logs = {} if version == "6.1" else {
        (r["object"], r["program"], r["mode"]): r for r in corpus.rows(f"logs-{version}")
    }
    btfs = corpus.blobs(loads)
    for load in corpus.rows(f"loads-{loads}"):
        key = (load["obj"], load["prog"], load["mode"])
        answer = answers.get(key)
        if (key[:2] in alone) is typed or answer is None or answer["verdict"] not in ("accept", "reject"):
            continue
        if "insns" not in answer or (answer["insns"] > BIG) is not big:
            continue  # without a count, the load ended before the verifier
        if version == "6.1" and len(base64.b64decode(load["insns"])) // 8 != answer["insn_cnt"]:
            continue  # libbpf made another program for that kernel
        recorded = logs.get(key, {}).get("log2")
        program = corpus.program_of(load, version, 4 if big or recorded is None else 6, btfs, typed=typed)
        yield Row(
            f"{load['obj'].removeprefix('selftests/').removesuffix('.bpf.o')}:{load['prog']}"
            f"{' (unpriv)' if load['mode'] == 'unpriv' else ''}",
            program, answer["errno"] if answer["verdict"] == "reject" else 0, answer.get("error") or "",
            answer["insns"], None if big else recorded,
        )  # fmt: skip


def tables(version: str) -> Iterator[Row]:
    """The table cases of verifier/*.c. Those that were never verified (no statistics) are left out.

    What was recorded names functions of 6.12 by their BTF ids there.
    """
    answers = {(r["idx"], r["mode"]): r for r in corpus.rows(f"test_verifier.verdicts-{version}")}
    for load in corpus.rows("test_verifier.loads-6.12"):
        answer = answers.get((load["idx"], load["mode"]))
        if answer is None or not answer.get("stats"):
            continue
        found = _PROCESSED.search(answer["stats"])
        typed = version in TYPED
        if typed and version != "6.12":
            corpus.translate(load, version)
        yield Row(
            f"table {load['idx']}: {answer['descr']}{' (unpriv)' if load['mode'] == 'unpriv' else ''}",
            corpus.program_of(load, version, 4, {}, typed=typed), answer["err"], _last(answer["stats"]),
            int(found[1]) if found else 0, None,
        )  # fmt: skip


def _normal(text: str) -> str:
    return corpus.normal(text).rstrip("\n")


def compare(row: Row) -> Result:
    result = Result(row.name, want=str(row.errno), size=row.insns)
    began = time.process_time()
    try:
        verdict: Verdict = verify(row.program)
    except NotSupported as error:
        result.unsupported = str(error)
        return result
    finally:
        result.seconds = time.process_time() - began
    result.verdict = abs(verdict.errno) == row.errno
    ours = verdict.message
    result.message = row.errno == 0 or _normal(ours) == _normal(row.message)
    result.insns = verdict.processed == row.insns
    result.got = str(abs(verdict.errno))
    if not result.message:
        result.want, result.got = f"{row.errno} {row.message}", f"{result.got} {ours}"
    elif not result.insns:
        result.want, result.got = f"{row.insns} insns", f"{verdict.processed} insns"
    if row.log is not None:
        theirs, log = _normal(row.log), _normal(verdict.log)
        result.log = theirs == log
        if not result.log:
            pairs = zip([*theirs.split("\n"), "(end)"], [*log.split("\n"), "(end)"], strict=False)
            result.where = next((f"{a} ## {b}" for a, b in pairs if a != b), "")
            if result.message and result.insns:
                result.want, _, result.got = result.where.partition(" ## ")
    return result


def summary(results: list[Result]) -> dict[str, Any]:
    """Counts. message: of rows that the kernel refuses; seconds and rate: of the verifier alone."""
    known = [r for r in results if not r.unsupported]
    refused = [r for r in known if not r.want.startswith("0") or not r.message]
    logs = [r for r in known if r.log is not None]
    seconds = sum(r.seconds for r in known)
    return {
        "rows": len(results), "unsupported": len(results) - len(known),
        "verdict": sum(r.verdict for r in known), "message": sum(r.message for r in known),
        "insns": sum(r.insns for r in known), "log": sum(bool(r.log) for r in logs), "logs": len(logs),
        "refused": len(refused), "seconds": round(seconds, 1),
        "rate": round(sum(r.size for r in known) / max(seconds, 1e-9)),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("version", choices=sorted(corpus.VERSIONS))
    parser.add_argument("--big", action="store_true")
    parser.add_argument("--tables", action="store_true")
    parser.add_argument("--typed", action="store_true")
    parser.add_argument("--out")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    source = tables(options.version) if options.tables else selftests(options.version, options.big, typed=options.typed)
    results = []
    for row in source:
        if options.only and options.only not in row.name:
            continue
        result = compare(row)
        results.append(result)
        if result.differs or options.big:
            print(result.name, result.differs, result.unsupported or f"{result.want[:150]} ## {result.got[:150]}",
                  f"{result.size} {result.seconds:.1f} s" if options.big else "", flush=True)
    if options.out:
        Path(options.out).write_text("".join(json.dumps(asdict(result)) + "\n" for result in results))
    print(summary(results), Counter(what for r in results for what in r.differs))


if __name__ == "__main__":
    main()
