"""Compare the verifier with the running Linux on random programs: verdict, errno, last message, log, instructions.

    python fuzz/fuzz_verifier_linux.py [--topic T]... [--count N] [--seed S] [--out FILE] [--caps root|bpf]
                                       [--keep FILE] [--show N]

Each topic is one generator; `mutate` takes the recorded programs beside the repository. Programs are loaded, never
run. Work is done in child processes of --batch programs. Prints one line per batch and a table at the end; --out
gets one JSON line for each difference. Exit status 1 when a verdict differs. Needs root; `--caps bpf` drops all
capabilities but CAP_BPF and CAP_NET_ADMIN in the children (no CAP_PERFMON: pointers must not leak, speculative paths
are followed).
"""

from __future__ import annotations

import argparse
import base64
import collections
import ctypes
import json
import os
import random
import re
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "verifier"))

import verifier_gen_calls
import verifier_gen_memory
import verifier_gen_mutate
import verifier_gen_raw
import verifier_gen_scalar
import verifier_gen_targets
import verifier_gen_typed
from verifier_found import needs_other_btf, row_of
from verifier_gen import Case, Generator
from verifier_gen_wild import WildWriter
from verifier_gen_world import World, make_world

from bombus.btf.types import Kind
from bombus.errors import NotSupported
from bombus.isa.insn import Insn, encode
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.kernel.linux.syscall import libc, numbers
from bombus.verifier.main import verify
from bombus.verifier.program import ROOT, FuncInfo, Privileges, Program

LOG_SIZE = 8 << 20
LINUX_SECONDS = 0.3
SECONDS = 40
EPERM = 1  # without a log: programs of this type are not for this user
EAGAIN = 11
# Helpers that a kernel has or has not by its configuration, which is none of the program's doing; and what some builds
# of one version refuse: kernel objects for global functions that take memory, which they might write to.
CONFIGURED = ("cannot use helper bpf_override_return", "cannot use helper bpf_probe_write_user",
              "unknown func bpf_override_return", "only read is supported\nCaller passes invalid args")  # fmt: skip
# Iterators over elements of maps, which kernels of some hosts refuse to everybody (EPERM, not a word), and no others.
ELEMENTS = ("bpf_iter_bpf_map_elem", "bpf_iter_bpf_sk_storage_map", "bpf_iter_sockmap")
NR_CAPSET = 126  # x86-64
CAP_NET_ADMIN, CAP_BPF = 12, 39

_ADDRESS = re.compile(r"0xffff[0-9a-f]{12}|0xff[0-9a-f]{14}")
_TIME = re.compile(r"verification time \d+ usec")
_MAP_ADDRESS = re.compile(r"\((18)\) r(\d+) = 0x[0-9a-f]+(?: +;)?")
_STATISTICS = ("processed ", "verification time ", "stack depth ")


def normal(log: str) -> str:
    """A log without what differs between runs."""
    log = _TIME.sub("verification time usec", log)
    return _MAP_ADDRESS.sub(r"(\1) r\2 = PTR;", log).rstrip("\n")


@dataclass(frozen=True, slots=True)
class Answer:
    """errno 0: accepted. message: the last line that is not statistics. full: the log was not cut off."""

    errno: int
    log: str
    full: bool = True

    @property
    def message(self) -> str:
        lines = [line for line in self.log.splitlines() if line and not line.startswith(_STATISTICS)]
        return lines[-1] if lines else ""

    @property
    def processed(self) -> int:
        found = re.search(r"processed (\d+) insns", self.log)
        return int(found[1]) if found else -1


class Judge:
    """Both verifiers on one case."""

    def __init__(self, world: World, privileges: Privileges, longest: int) -> None:
        self.world = world
        self.longest = longest
        self.privileges = privileges
        self.version = world.kernel.version
        self.syscall = libc().syscall
        self.bpf = numbers().bpf
        self.buffer = ctypes.create_string_buffer(LOG_SIZE)
        self.attr = (ctypes.c_char * 168)()
        self.others = world.other_fds
        found = (world.vmlinux.find(name, Kind.FUNC) for name in ELEMENTS) if world.vmlinux else ()
        self.elements = frozenset(number for number in found if number)
        self.data_symbols = world.kernel.kconfig().get("CONFIG_KALLSYMS_ALL", "n") == "y"

    def linux(self, case: Case) -> Answer:
        self.world.renew(case.insns)
        code = encode(case.insns)
        infos = b"".join(struct.pack("<II", *pair) for pair in case.functions)
        keep = (ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(case.license.encode()),
                ctypes.create_string_buffer(infos, max(1, len(infos))))  # fmt: skip
        address = ctypes.addressof
        log = case.log_level
        btf = (case.btf_fd or self.world.btf_fd) if infos else 0
        struct.pack_into(
            "<IIQQIIQII16sIIIIQIIQII", self.attr, 0, case.prog_type, len(case.insns), address(keep[0]),
            address(keep[1]), log, LOG_SIZE if log else 0, address(self.buffer) if log else 0, 0, case.flags, b"", 0,
            case.attach_type, btf, 8 if infos else 0, address(keep[2]) if infos else 0,
            len(infos) // 8, 0, 0, 0, case.attach_btf_id,
        )  # fmt: skip
        self.buffer[0] = b"\0"
        signal.signal(signal.SIGALRM, _nothing)
        signal.setitimer(signal.ITIMER_REAL, LINUX_SECONDS)
        result = self.syscall(self.bpf, 5, ctypes.byref(self.attr), 148)
        signal.setitimer(signal.ITIMER_REAL, 0)
        errno = 0
        if result >= 0:
            os.close(result)
        else:
            errno = ctypes.get_errno()
        return Answer(errno, self.buffer.value.decode(errors="replace") if log else "", errno != 28)

    def bombus(self, case: Case) -> Answer:
        """Raises NotSupported."""
        program = Program(
            case.insns, case.prog_type, self.version, case.attach_type, case.license, "", case.flags, self.privileges,
            self.world.infos, (), (case.btf or self.world.types.btf) if case.functions else None,
            [FuncInfo(*pair) for pair in case.functions], (), case.attach_btf_id, vmlinux=self.world.vmlinux,
            log_level=case.log_level, cpus=os.cpu_count() or 1, other_fds=self.others, data_symbols=self.data_symbols,
        )  # fmt: skip
        verdict = verify(program)
        return Answer(abs(verdict.errno), verdict.log)

    def compare(self, case: Case) -> tuple[str, Answer, Answer | None, str]:
        """(class, Linux's answer, ours, a note). Classes from worst to best are the keys of CLASSES."""
        theirs = self.linux(case)
        if theirs.errno == 28:
            theirs = replace(self.linux(replace(case, log_level=4)), full=False)
        denied = theirs.errno == EPERM and (not theirs.log or case.attach_btf_id in self.elements)
        if denied or any(name in theirs.log for name in CONFIGURED):
            return "configuration", theirs, None, ""
        if theirs.processed > self.longest or theirs.errno == EAGAIN:
            return "too long", theirs, None, ""
        signal.signal(signal.SIGALRM, _on_alarm)
        try:
            signal.alarm(SECONDS)
            ours = self.bombus(case)
        except NotSupported as error:
            return "not supported", theirs, None, str(error)
        except TimedOut:
            return "timeout", theirs, None, f"Linux processed {theirs.processed}"
        except Exception as error:  # a crash is a finding like any other
            frame = error.__traceback__
            while frame is not None and frame.tb_next is not None:
                frame = frame.tb_next
            place = f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}" if frame else ""
            return "crash", theirs, None, f"{type(error).__name__}: {error} {place}"[:200]
        finally:
            signal.alarm(0)
        return self.classify(theirs, ours)

    @staticmethod
    def classify(theirs: Answer, ours: Answer) -> tuple[str, Answer, Answer | None, str]:
        if theirs.errno and not ours.errno:
            return "wrong accept", theirs, ours, theirs.message
        if ours.errno and not theirs.errno:
            return "wrong reject", theirs, ours, ours.message
        if ours.errno != theirs.errno:
            return "errno", theirs, ours, f"{theirs.errno} {theirs.message} ## {ours.errno} {ours.message}"
        if not theirs.full:
            if theirs.processed != ours.processed:
                return "processed", theirs, ours, f"{theirs.processed} ## {ours.processed}"
            return "same", theirs, ours, ""
        if theirs.log == ours.log:
            return "same", theirs, ours, ""
        a, b = normal(theirs.log), normal(ours.log)
        if a == b:
            return "same", theirs, ours, ""
        la, lb = a.splitlines(), b.splitlines()
        first = next((i for i, (x, y) in enumerate(zip(la, lb, strict=False)) if x != y), min(len(la), len(lb)))
        note = f"{la[first] if first < len(la) else 'END'} ## {lb[first] if first < len(lb) else 'END'}"
        if theirs.errno and normal(theirs.message) != normal(ours.message):
            return "message", theirs, ours, f"{theirs.message} ## {ours.message}"
        if theirs.processed != ours.processed:
            return "processed", theirs, ours, note
        return "log", theirs, ours, note


CLASSES = (
    "wrong accept", "wrong reject", "crash", "timeout", "errno", "message", "processed", "log", "not supported",
    "configuration", "too long", "same",
)  # fmt: skip
VERDICTS = frozenset(CLASSES[:4])


class TimedOut(Exception):
    pass


def _nothing(*_: object) -> None:
    """A signal makes the verifier of Linux stop with EAGAIN."""


def _on_alarm(*_: object) -> None:
    raise TimedOut


def shrink(judge: Judge, case: Case, kind: str, note: str) -> Case:
    """Delete instructions and simplify immediates while the difference stays of its class, its note of one pattern."""

    def still(candidate: Case) -> bool:
        found = judge.compare(candidate)
        return found[0] == kind and pattern(found[3]) == note

    best = case
    again = True
    while again:
        again = False
        size = max(1, len(best.insns) // 2)
        while size:
            at = len(best.insns) - size
            while at >= 0:
                candidate = without(best, at, size)
                if candidate is not None and still(candidate):
                    best, again = candidate, True
                at -= max(1, size)
            size //= 2
    for at, insn in enumerate(best.insns):
        if insn.opcode & 7 in (4, 7) and insn.imm not in (0, 1):
            for imm in (0, 1, insn.imm & 0xFF):
                candidate = replace(best, insns=(*best.insns[:at], insn._replace(imm=imm), *best.insns[at + 1 :]))
                if still(candidate):
                    best = candidate
                    break
    if best.flags and still(replace(best, flags=0)):
        best = replace(best, flags=0)
    return best


def without(case: Case, at: int, count: int) -> Case | None:
    """The case less some instructions, with jumps kept on their targets; None when that makes no sense."""
    insns = list(case.insns)
    end = at + count
    if end > len(insns) or (end < len(insns) and insns[end].opcode == 0 and insns[end - 1].opcode == 0x18):
        return None
    if insns[at].opcode == 0 and at and insns[at - 1].opcode == 0x18:
        return None

    def moved(index: int) -> int:
        return index if index <= at else max(at, index - count)

    out: list[Insn] = []
    for index, insn in enumerate(insns):
        if at <= index < end:
            continue
        target = distance = None
        klass, code = insn.opcode & 7, insn.opcode & 0xF0
        here = moved(index)
        if klass in (5, 6) and code not in (0x80, 0x90):
            distance = insn.imm if insn.opcode == 0x06 else insn.off
            target = index + 1 + distance
            new = moved(target) - here - 1
            insn = insn._replace(imm=new) if insn.opcode == 0x06 else insn._replace(off=new)
        elif (insn.opcode == 0x85 and insn.src == 1) or (insn.opcode == 0x18 and insn.src == 4):
            target = index + 1 + insn.imm
            insn = insn._replace(imm=moved(target) - here - 1)
        out.append(insn)
    functions = tuple(
        (moved(start), type_id) for start, type_id in case.functions if start == 0 or not at <= start < end
    )
    return replace(case, insns=tuple(out), functions=functions) if out else None


def pattern(text: str) -> str:
    """A note without its numbers: what tells kinds of findings apart."""
    return re.sub(r"-?\b(0x[0-9a-f]+|\d+)", "N", text)[:60]


def keep(
    world: World, generator: Generator, found: list[dict[str, Any]], caps: str, longest: int, limit: int,
    pipe: IO[str],
) -> None:
    """Shrink the first finding of each kind, and write it as a row for the tests with Linux's answer."""
    if caps == "bpf":
        drop_capabilities()
    judge = Judge(world, ROOT if caps == "root" else Privileges(True, False, True), longest)
    seen: set[tuple[str, str]] = set()
    for row in found:
        key = (row["class"], pattern(row["note"]))
        if key in seen or row["class"] in ("not supported", "timeout") or len(seen) >= limit:
            continue
        seen.add(key)
        case = generator(random.Random(row["seed"]))
        if needs_other_btf(world, case):
            continue
        small = replace(shrink(judge, case, key[0], key[1]), log_level=6)
        answer = judge.linux(small)
        if answer.full and len(answer.log) < 20_000:
            out = row_of(
                world, small, caps, answer.errno, normal(answer.message), answer.processed, normal(answer.log)
            )
            pipe.write(json.dumps(out) + "\n")


def generators(world: World, wanted: Sequence[str]) -> dict[str, Generator]:
    """By topic; `mutate` reads the recorded programs, so it is made only when it is wanted."""
    memory = verifier_gen_memory
    found = {
        "scalar": verifier_gen_scalar.generate,
        "memory": memory.memory_generator(world, (1, 1, 17), "memory"),
        "packet": memory.memory_generator(world, (3, 6, 6, 3, 8, 12, 14, 16, 21), "packet"),
        "context": memory.context_generator(world),
        "calls": verifier_gen_calls.call_generator(world, (1, 3, 3, 6, 17, 5, 31), "calls"),
        "calls_any": verifier_gen_calls.call_generator(world, verifier_gen_typed.PROG_TYPES, "calls_any"),
        "helper": verifier_gen_calls.helper_generator(world),
        "raw": verifier_gen_raw.generate,
    }
    if world.vmlinux is not None:
        targets = verifier_gen_targets
        found["kernel"] = targets.kernel_generator(world, "kernel", targets.HERE)
        found["wild"] = targets.kernel_generator(world, "wild", ("syscall", "other", "struct_ops"), WildWriter)
        found["kfunc"] = targets.kernel_generator(world, "kfunc", targets.HERE, targets.KfuncWriter)
    for topic in ("mutate", "mutate_typed"):
        if not wanted or topic in wanted:
            if verifier_gen_mutate.ORACLE.exists():
                found[topic] = verifier_gen_mutate.mutate_generator(world, typed=topic == "mutate_typed")
            else:
                print(f"{topic}: left out, the recorded programs are not beside the repository")
    return found


def drop_capabilities() -> None:
    """Keep CAP_BPF and CAP_NET_ADMIN only, in this process."""
    low, high = 1 << CAP_NET_ADMIN, 1 << (CAP_BPF - 32)
    header = struct.pack("<II", 0x20080522, 0)
    data = struct.pack("<6I", low, low, 0, high, high, 0)
    if libc().syscall(NR_CAPSET, ctypes.c_char_p(header), ctypes.c_char_p(data)) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def case_row(case: Case) -> dict[str, Any]:
    return {
        "topic": case.topic, "insns": base64.b64encode(encode(case.insns)).decode(), "prog_type": case.prog_type,
        "attach_type": case.attach_type, "attach_btf_id": case.attach_btf_id,
        "flags": case.flags, "log_level": case.log_level, "license": case.license,
        "functions": [list(pair) for pair in case.functions], "source": case.source,
    }  # fmt: skip


def batch(world: World, generator: Generator, seeds: range, caps: str, longest: int, pipe: IO[str]) -> None:
    """Compare one batch of programs; differences and counts go to `pipe` as JSON lines."""
    privileges = ROOT
    if caps == "bpf":
        drop_capabilities()
        privileges = Privileges(True, False, True)
    judge = Judge(world, privileges, longest)
    counts: collections.Counter[str] = collections.Counter()
    for seed in seeds:
        case = generator(random.Random(seed))
        kind, theirs, _ours, note = judge.compare(case)
        counts[kind] += 1
        counts["accepted" if theirs.errno == 0 else "refused"] += 1
        if kind not in ("same", "too long", "configuration"):
            row = {"class": kind, "seed": seed, "note": note, "errno": theirs.errno, "message": theirs.message,
                   "caps": caps, **case_row(case)}  # fmt: skip
            pipe.write(json.dumps(row) + "\n")
    pipe.write(json.dumps({"counts": counts}) + "\n")


def in_child(action: Callable[[IO[str]], None]) -> Iterator[dict[str, Any]]:
    """Run in a child process; yields the JSON lines that it writes."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reader)
            with os.fdopen(writer, "w") as pipe:
                action(pipe)
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as lines:
        for line in lines:
            yield json.loads(line)
    os.waitpid(pid, 0)


def run_topic(
    world: World, topic: str, generator: Generator, arguments: argparse.Namespace, out: IO[str] | None
) -> tuple[collections.Counter[str], list[dict[str, Any]]]:
    counts: collections.Counter[str] = collections.Counter()
    found: list[dict[str, Any]] = []
    started = time.time()
    done = 0
    while done < arguments.count:
        size = min(arguments.batch, arguments.count - done)
        seeds = range(arguments.seed + done, arguments.seed + done + size)
        for row in in_child(partial(batch, world, generator, seeds, arguments.caps, arguments.longest)):
            if "counts" in row:
                counts.update(row["counts"])
            else:
                found.append(row)
                if out is not None:
                    out.write(json.dumps(row) + "\n")
                    out.flush()
        done += size
        text = ", ".join(f"{k} {counts[k]}" for k in (*CLASSES, "accepted") if counts[k])
        print(f"{topic}/{arguments.caps} {done}: {text}; {time.time() - started:.0f} s", flush=True)
    return counts, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--topic", action="append", help="may be given several times; default: all")
    parser.add_argument("--count", type=int, default=10_000, help="programs of each topic")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=2000)
    parser.add_argument("--caps", choices=("root", "bpf"), default="root")
    parser.add_argument("--longest", type=int, default=2500, help="leave out programs of which Linux processes more")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", type=Path, help="append a row for the tests for each kind of finding, made small")
    parser.add_argument("--show", type=int, default=12, help="kinds of difference to print")
    arguments = parser.parse_args()
    world = make_world(LinuxKernel())
    known = generators(world, arguments.topic or ())
    status = 0
    with open(arguments.out, "a") if arguments.out else open(os.devnull, "w") as out:
        for topic in arguments.topic or known:
            counts, found = run_topic(world, topic, known[topic], arguments, out)
            kinds: collections.Counter[tuple[str, str]] = collections.Counter()
            example: dict[tuple[str, str], int] = {}
            for row in found:
                key = (row["class"], re.sub(r"-?\b(0x[0-9a-f]+|\d+)", "N", row["note"])[:200])
                kinds[key] += 1
                example.setdefault(key, row["seed"])
            for key, n in sorted(kinds.items(), key=lambda kv: (CLASSES.index(kv[0][0]), -kv[1]))[: arguments.show]:
                print(f"  {n} {key[0]} (seed {example[key]}): {key[1]}")
            if any(counts[name] for name in VERDICTS):
                status = 1
            if arguments.keep and found:
                generator = known[topic]
                with open(arguments.keep, "a") as rows:
                    action = partial(keep, world, generator, found, arguments.caps, arguments.longest, arguments.show)
                    for row in in_child(action):
                        rows.write(json.dumps(row) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
