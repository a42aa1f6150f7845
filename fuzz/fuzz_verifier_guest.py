"""Compare the verifier with Linux kernels that are not running here, each booted in a guest (see guest.py).

    python fuzz/fuzz_verifier_guest.py PACKAGE.deb... [--user root|bpf|nobody]... [--topic T]... [--count N] [--seed S]
                                       [--out FILE] [--show N]

PACKAGE is Debian's linux-image-6.1 or -6.12 (`apt-get download`, nothing is installed). All programs of a kernel are
generated first, loaded in one boot, then compared: verdict, errno, last message, number of instructions, and from 6.12
on the whole log. `--user nobody` has no capabilities (the guest allows unprivileged BPF), `bpf` only CAP_BPF and
CAP_NET_ADMIN. --out gets one JSON line for each difference. Exit status 1 when a verdict differs.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import random
import re
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "verifier"))

import verifier_gen_calls
import verifier_gen_memory
import verifier_gen_raw
import verifier_gen_scalar
import verifier_gen_targets
import verifier_sweeps
from corpus import VERSIONS
from fuzz_verifier_linux import (
    CLASSES,
    CONFIGURED,
    EAGAIN,
    SECONDS,
    VERDICTS,
    Answer,
    Judge,
    TimedOut,
    _on_alarm,
    case_row,
    pattern,
)  # fmt: skip
from kernel_guest import Batch, Guest, Reply
from verifier_gen import Case, Generator
from verifier_gen_mutate import mutate_generator
from verifier_gen_wild import WildWriter
from verifier_gen_world import ROWS, World, build_types, describe
from verifier_kernel_types import KernelTypes

from bombus.btf.parse import Btf
from bombus.errors import NotSupported
from bombus.spec.version import KernelVersion
from bombus.verifier.main import verify
from bombus.verifier.program import NOBODY, ROOT, FuncInfo, MapInfo, Privileges, Program

PRIVILEGES = {"root": ROOT, "bpf": Privileges(True, False, True), "nobody": NOBODY}
LOGS_SINCE = KernelVersion(6, 12)
UNPRIVILEGED = (1, 8)  # the program types of users without capabilities


@dataclass(frozen=True, slots=True)
class Kernel:
    """What generators ask of a kernel."""

    version: KernelVersion


class GuestWorld(World):
    """Maps and BTF are records of a batch: their slots stand for descriptors."""

    batch: Batch

    def load_btf(self, data: bytes) -> int:
        if data not in self.btfs:
            self.btfs[data] = self.batch.btf(data)
        return self.btfs[data]

    def make_map(self, info: MapInfo, btf_data: bytes = b"") -> int:
        inner = self.make_map(info.inner, btf_data) if info.inner is not None else -1
        btf = self.load_btf(btf_data) if info.value_type_id and btf_data else -1
        return self.batch.map(info, inner=inner, btf=btf)


def guest_world(version: KernelVersion, batch: Batch, vmlinux: Btf | None) -> World:
    """The maps of all rows as records of a batch: their slots stand for descriptors."""
    types = build_types()
    world = GuestWorld(Kernel(version), types, 0, {}, {}, {}, [], vmlinux)
    world.batch = batch
    world.btf_fd = world.load_btf(types.data)
    for number, row in enumerate(ROWS):
        inner = world.infos[world.maps[row.inner]] if row.inner else None
        info = describe(number, row, types, inner, version)
        slot = batch.map(
            info, inner=world.maps[row.inner] if row.inner else -1, btf=world.btf_fd if info.value_type_id else -1
        )
        world.maps[row.name] = slot
        world.infos[slot] = info
    return world


def generators(world: World, user: str, wanted: Sequence[str]) -> dict[str, Generator]:
    """By topic. Programs of users without capabilities are of the types that they may load."""
    memory = verifier_gen_memory
    nobody = user == "nobody"
    targets = verifier_gen_targets
    found = {
        "scalar": verifier_gen_scalar.generate,
        "memory": memory.memory_generator(world, UNPRIVILEGED if nobody else (1, 1, 17), "memory"),
        "packet": memory.memory_generator(world, (8,) if nobody else (3, 6, 6, 3, 8, 12, 14, 16, 21), "packet"),
        "context": memory.context_generator(world),
        "calls": verifier_gen_calls.call_generator(world, UNPRIVILEGED if nobody else (1, 3, 3, 6, 17, 5, 31), "calls"),
        "helper": verifier_gen_calls.helper_generator(world),
        "raw": verifier_gen_raw.generate,
    }
    if user == "root" and world.vmlinux is not None:
        found["kernel"] = targets.kernel_generator(world, "kernel", (*targets.HERE, *targets.TRAMPOLINES))
        found["kfunc"] = targets.kernel_generator(world, "kfunc", (*targets.HERE, *targets.TRAMPOLINES),
                                                  targets.KfuncWriter)  # fmt: skip
        found["wild"] = targets.kernel_generator(world, "wild", ("syscall", "other", "lsm"), WildWriter)
        found["sweep"] = _sweep(world, world.vmlinux)
    version = f"{world.kernel.version}"
    if "mutate" in wanted and user == "root" and version in VERSIONS and version != "6.1":  # of 6.1, no loads
        found["mutate"] = mutate_generator(world, version)
    if "mutate_typed" in wanted and version in VERSIONS and world.vmlinux is not None:
        found["mutate_typed"] = mutate_generator(world, version, typed=True, trampolines=True)
    return found


def _sweep(world: World, vmlinux: Btf) -> Generator:
    """All calls and contexts in an order of their own: another one each time, and then from the beginning."""
    types = KernelTypes(vmlinux)
    cases = [case for _, case in (*verifier_sweeps.calls(world, types, sections=False),
                                  *verifier_sweeps.contexts(types))]  # fmt: skip
    random.Random(1).shuffle(cases)
    rest = itertools.cycle(cases)
    return lambda _rng: next(rest)


def verify_case(world: World, case: Case, user: str) -> Answer:
    program = Program(
        case.insns, case.prog_type, world.kernel.version, case.attach_type, case.license, "", case.flags,
        PRIVILEGES[user], world.infos, (), (case.btf or world.types.btf) if case.functions else None,
        [FuncInfo(*pair) for pair in case.functions], (), case.attach_btf_id, vmlinux=world.vmlinux,
        log_level=case.log_level, cpus=1,
    )  # fmt: skip
    verdict = verify(program)
    return Answer(abs(verdict.errno), verdict.log)


def compare(world: World, case: Case, user: str, reply: Reply, longest: int) -> tuple[str, Answer | None, str]:
    """(class, our answer, a note); the classes are those of fuzz_verifier_linux."""
    theirs = Answer(reply.errno, reply.log, reply.full)
    if not reply.loaded or any(name in theirs.log for name in CONFIGURED) or (
        theirs.errno and not theirs.log and case.log_level
    ):  # fmt: skip  (without a log it was bpf(2) that refused: flags and attach types that this kernel does not have)
        return "configuration", None, ""
    if theirs.errno == EAGAIN or theirs.processed > longest:
        return "too long", None, ""
    signal.signal(signal.SIGALRM, _on_alarm)
    try:
        signal.alarm(SECONDS)
        ours = verify_case(world, case, user)
    except NotSupported as error:
        return "not supported", None, str(error)
    except TimedOut:
        return "timeout", None, f"Linux processed {theirs.processed}"
    except Exception as error:  # a crash is a finding like any other
        return "crash", None, f"{type(error).__name__}: {error}"[:200]
    finally:
        signal.alarm(0)
    kind, _theirs, _ours, note = Judge.classify(theirs, ours)
    if world.kernel.version < LOGS_SINCE:
        if kind in ("log", "message", "processed") and theirs.message != ours.message and theirs.errno:
            return "message", ours, f"{theirs.message} ## {ours.message}"
        if kind in ("log", "message", "processed"):
            different = theirs.processed != ours.processed
            return "processed" if different else "same", ours, f"{theirs.processed} ## {ours.processed}"
    return kind, ours, note


def run(package: Path, arguments: argparse.Namespace, found: list[dict[str, Any]]) -> collections.Counter[str]:
    guest = Guest(package, arguments.seconds)
    major, minor = re.findall(r"\d+", guest.release)[:2]
    version = KernelVersion(int(major), int(minor))
    batch = Batch()
    world = guest_world(version, batch, guest.btf())
    cases: list[tuple[str, int, Case]] = []
    for user in arguments.user:
        known = generators(world, user, arguments.topic or ())
        for topic in arguments.topic or known:
            seed, wanted = arguments.seed, arguments.count
            while wanted:
                case = known[topic](random.Random(seed))
                if user == "nobody" and case.prog_type not in UNPRIVILEGED:
                    case = replace(case, prog_type=UNPRIVILEGED[seed % 2], attach_type=0)
                batch.program(
                    case.insns, case.prog_type, attach_type=case.attach_type, flags=case.flags,
                    log_level=case.log_level, license_=case.license, functions=case.functions,
                    btf=case.btf_fd or world.btf_fd, user=user, seconds=arguments.each,
                    attach_btf_id=case.attach_btf_id,
                )  # fmt: skip
                cases.append((user, seed, case))
                seed += 1
                wanted -= 1
    print(f"{guest.release}: {len(cases)} programs", flush=True)
    started = time.time()
    replies = guest.ask(batch)
    print(f"{guest.release}: answered in {time.time() - started:.0f} s", flush=True)
    counts: collections.Counter[str] = collections.Counter()
    for (user, seed, case), reply in zip(cases, replies, strict=True):
        kind, ours, note = compare(world, case, user, reply, arguments.longest)
        counts[kind] += 1
        counts["accepted" if not reply.errno else "refused"] += 1
        if kind not in ("same", "too long", "configuration"):
            found.append({
                "class": kind, "version": f"{version}", "seed": seed, "note": note, "errno": reply.errno, "user": user,
                "log": reply.log, "ours": ours.log if ours else "", **case_row(case),
            })  # fmt: skip
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("package", nargs="+", type=Path)
    parser.add_argument("--user", action="append", choices=sorted(PRIVILEGES), help="default: nobody")
    parser.add_argument("--topic", action="append", help="may be given several times; default: all")
    parser.add_argument("--count", type=int, default=1000, help="programs of each topic and user")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=int, default=2500, help="leave out programs of which Linux processes more")
    parser.add_argument("--each", type=int, default=5, help="seconds until a verification in the guest is interrupted")
    parser.add_argument("--seconds", type=int, default=7200, help="until a guest is given up")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--show", type=int, default=40, help="kinds of difference to print")
    arguments = parser.parse_args()
    arguments.user = arguments.user or ["nobody"]
    status = 0
    for package in arguments.package:
        found: list[dict[str, Any]] = []
        counts = run(package, arguments, found)
        print(", ".join(f"{k} {counts[k]}" for k in (*CLASSES, "accepted") if counts[k]), flush=True)
        kinds: collections.Counter[tuple[str, str]] = collections.Counter()
        example: dict[tuple[str, str], str] = {}
        for row in found:
            key = (row["class"], pattern(row["note"]))
            kinds[key] += 1
            example.setdefault(key, f"{row['user']} {row['topic']} {row['seed']}: {row['note'][:160]}")
        for key, n in sorted(kinds.items(), key=lambda kv: (CLASSES.index(kv[0][0]), -kv[1]))[: arguments.show]:
            print(f"  {n} {key[0]} ({example[key]})")
        if arguments.out:
            with open(arguments.out, "a") as out:
                out.writelines(json.dumps(row) + "\n" for row in found)
        if any(counts[name] for name in VERDICTS):
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
