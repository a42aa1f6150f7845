"""Programs at functions of other programs: the same verdicts, logs, order, arguments and results on both kernels.

Linux is asked where it has trampolines (the guest's test runs this there, too).
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sandbox import in_namespace, with_trampolines

from bombus.errors import KernelError, LoadError
from bombus.kernel.handles import Program
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.kernel.user.kernel import UserKernel
from bombus.loader.load import Loaded, load
from bombus.object.read import open_object

pytestmark = pytest.mark.linux
DATA = Path(__file__).parent / "data"
TARGETS = open_object(DATA / "targets.bpf.o")
ATTACHERS = open_object(DATA / "attachers.bpf.o")
RECORDED = DATA / "program_targets.json.gz"  # what Linux 6.12 answers in each scenario
# Their code has offsets of the running kernel's structs in it.
BY_STRUCTS = ("skb_weigh", "before_entry", "after_limit")
PACKET = bytes(12) + b"\x08\x00" + b"\x45" + bytes(49)
Rows = list[list[int]]

# Programs and where they are to go, where that is not what their section says: program[:function].
PAIRS: tuple[tuple[str, str], ...] = (
    *((name, "entry") for name in (
        "before_weigh", "after_weigh", "skb_weigh", "before_multiply", "after_multiply", "after_hidden", "after_plain",
        "before_entry", "after_entry", "new_weigh", "new_multiply", "new_entry", "pulling_weigh", "few", "wide",
        "wrong_result", "wrong_kind", "wrong_context", "pointer_to_int", "new_plain", "beyond", "xdp_helper",
        "returning", "third", "fourth", "sixth", "seventh", "half", "crooked", "writing", "not_zero",
        "modifying", "as_tracepoint", "sleeping",
    )),
    ("new_paint", "others"), ("new_pull", "others"), ("new_sum", "others"), ("other_sum", "others"),
    ("mem_pointer", "others"), ("after_looped", "loops"), ("before_jumped", "jumped"), ("after_limit", "xentry"),
    ("new_limit", "xentry"), ("redirecting", "xentry"), ("after_traced", "traced"), ("new_weigh", "filter"),
    ("returning", "filter"), ("new_entry", "filter:filter"), ("new_weigh", "entry:multiply"),
    ("new_entry", "traced:traced"), ("new_limit", "entry:weigh"),
)  # fmt: skip


def rows(item: Loaded) -> Rows:
    """What programs saw since the last time."""
    found = []
    for row in list(item.bss.rows)[: int(item.bss.count)]:
        # What `plain` returns nobody uses, and the compiler left it out.
        found.append([int(row.who), *map(int, row.args), -1 if row.who == 7 else int(row.ret)])
    item.bss.count = 0
    return found


def user(engine: str = "fast") -> UserKernel:
    linux = LinuxKernel()
    return UserKernel(f"{linux.version.major}.{linux.version.minor}", btf=linux.vmlinux_btf(), engine=engine)


def targets(kernel: Any, *names: str) -> Loaded:
    return load(TARGETS, kernel, programs=list(names))


def opened(kernel: Any, where: dict[str, Program | tuple[Program, str]], **options: Any) -> Loaded:
    """Programs, each loaded for its target."""
    return load(ATTACHERS, kernel, programs=list(where), targets=where, **options)


def normal(log: str) -> str:
    """A log without addresses and times."""
    return re.sub(r"\(18\) (r\d+) = 0x[0-9a-f]+ *", r"(18) \1 = PTR ", re.sub(r"time \d+ usec", "time usec", log))


def verdicts(kernel: Any) -> list[Any]:
    """errno and log of each pair."""
    log: list[Any] = []
    with load(TARGETS, kernel) as item:
        for name, place in PAIRS:
            program, _, function = place.partition(":")
            target = item.programs[program]
            try:
                with opened(kernel, {name: (target, function) if function else target}, log_level=2) as own:
                    log.append([name, place, 0, normal(own.programs[name].log)])
            except LoadError as error:
                log.append([name, place, error.errno, normal(error.log)])
    return log


def order(kernel: Any) -> list[Any]:
    """Several programs at several functions of one program."""
    log: list[Any] = []
    names = ("before_weigh", "after_weigh", "skb_weigh", "before_multiply", "after_multiply", "after_hidden",
             "after_plain", "before_entry", "after_entry")  # fmt: skip
    with targets(kernel, "entry") as item, ExitStack() as stack:
        entry = item.programs["entry"]
        own = stack.enter_context(opened(kernel, dict.fromkeys(names, entry)))
        log.append(["nothing attached", entry.test_run(PACKET).retval, rows(own)])
        links = [own.programs[name].attach_trace(cookie=number) for number, name in enumerate(names, 1)]
        log.append(["all", entry.test_run(PACKET).retval, rows(own)])
        info = links[0].info()
        log.append([info.tracing_attach_type, info.tracing_target_obj_id == entry.id, info.tracing_target_btf_id > 0])
        links[0].close()
        log.append(["one less", entry.test_run(PACKET).retval, rows(own)])
        try:
            own.programs[names[0]].attach()
        except KernelError as error:
            log.append(["again", error.errno])
        for link in links[1:]:
            link.close()
        log.append(["none", entry.test_run(PACKET).retval, rows(own)])
    return log


def replacing(kernel: Any) -> list[Any]:
    log: list[Any] = []
    with targets(kernel, "entry", "others", "filter") as item, ExitStack() as stack:
        entry = item.programs["entry"]
        own = stack.enter_context(opened(kernel, {
            "new_weigh": entry, "new_entry": entry, "before_weigh": entry, "new_multiply": entry,
        }))  # fmt: skip
        program = own.programs["new_weigh"]
        info = program.info()
        log.append([info.attach_btf_id > 0, info.attach_btf_obj_id == entry.info().btf_id])
        link = program.attach()
        log.append([link.info().tracing_attach_type, program.info().attach_btf_obj_id])
        log.append(["replaced", entry.test_run(PACKET).retval, item.programs["others"].test_run(PACKET).retval])
        for name in ("before_weigh", "new_weigh"):
            try:
                own.programs[name].attach()
            except KernelError as error:
                log.append(["occupied", name, error.errno])
        other = program.attach_freplace(item.programs["others"], "weigh")
        log.append(["both", entry.test_run(PACKET).retval, item.programs["others"].test_run(PACKET).retval])
        for target, function in (("filter", "weigh"), ("others", "paint"), ("entry", "weigh")):
            try:
                program.attach_freplace(item.programs[target], function)
            except KernelError as error:
                log.append(["elsewhere", target, function, error.errno])
        link.close()
        other.close()
        log.append(["gone", entry.test_run(PACKET).retval, item.programs["others"].test_run(PACKET).retval])
        try:
            program.attach()
        except KernelError as error:
            log.append(["again", error.errno])
        with program.attach_freplace(entry, "weigh"):
            log.append(["once more", entry.test_run(PACKET).retval])
        with own.programs["before_weigh"].attach():
            try:
                program.attach_freplace(entry, "weigh")
            except KernelError as error:
                log.append(["watched", error.errno])
        with own.programs["new_entry"].attach(), own.programs["new_multiply"].attach():
            log.append(["main", entry.test_run(PACKET).retval])
    return log


def chains(kernel: Any) -> list[Any]:
    """Programs at extensions, at tracing programs, and no further."""
    log: list[Any] = []
    with targets(kernel, "entry", "traced") as item, ExitStack() as stack:
        entry, traced = item.programs["entry"], item.programs["traced"]
        own = stack.enter_context(opened(kernel, {"new_weigh": entry, "after_traced": traced}))
        more = stack.enter_context(opened(kernel, {"after_new_weigh": own.programs["new_weigh"]}))
        for name, where in (("deeper", own.programs["after_traced"]), ("new_weigh", own.programs["new_weigh"])):
            try:
                opened(kernel, {name: (where, where.name)}).close()
            except LoadError as error:
                log.append([name, error.errno, error.log.splitlines()[0]])
        stack.enter_context(own.programs["new_weigh"].attach())
        stack.enter_context(more.programs["after_new_weigh"].attach())
        log.append([entry.test_run(PACKET).retval, rows(own), rows(more)])
        stack.enter_context(own.programs["after_traced"].attach())
        stack.enter_context(traced.attach())
        traced.test_run()
        log.append([rows(own), int(item.bss.stop)])
    return log


def jumping(kernel: Any) -> list[Any]:
    """Tail calls pass by what is attached to the main function; extensions and arrays exclude each other."""
    log: list[Any] = []
    with targets(kernel, "jumper", "jumped") as item, ExitStack() as stack:
        jumper, jumped, jumps = item.programs["jumper"], item.programs["jumped"], item.maps["jumps"]
        own = stack.enter_context(opened(kernel, {"before_jumped": jumped, "after_weigh": jumped}))
        more = stack.enter_context(opened(kernel, {"new_weigh": jumper}))
        jumps[0] = jumped
        log.append(["jump", jumper.test_run(PACKET).retval])
        with own.programs["before_jumped"].attach(), own.programs["after_weigh"].attach():
            log.append(["watched", jumper.test_run(PACKET).retval, rows(own)])
            log.append(["itself", jumped.test_run(PACKET).retval, rows(own)])
        log.append(["not watched", jumper.test_run(PACKET).retval, rows(own)])
        program = more.programs["new_weigh"]
        with program.attach():
            log.append(["replaced", jumper.test_run(PACKET).retval])
            for name, value in (("extended", jumper), ("extension", program)):
                try:
                    jumps[1] = value
                except KernelError as error:
                    log.append([name, error.errno])
        try:
            program.attach_freplace(jumped, "weigh")
        except KernelError as error:
            log.append(["in an array", error.errno])
    return log


def frames(kernel: Any) -> list[Any]:
    log: list[Any] = []
    with targets(kernel, "xentry", "loops") as item, ExitStack() as stack:
        xdp, loops = item.programs["xentry"], item.programs["loops"]
        own = stack.enter_context(opened(kernel, {"after_limit": xdp, "new_limit": xdp, "after_looped": loops}))
        with own.programs["after_limit"].attach(cookie=1 << 40):
            log.append([xdp.test_run(PACKET).retval, rows(own)])
        with own.programs["new_limit"].attach():
            log.append([xdp.test_run(PACKET).retval, xdp.test_run(PACKET[:20]).retval])
        item.bss.rounds = 3
        with own.programs["after_looped"].attach():
            log.append([loops.test_run(PACKET).retval, rows(own)])
        log.append([loops.test_run(PACKET).retval, rows(own)])
    return log


SCENARIOS: dict[str, Callable[[Any], list[Any]]] = {
    "verdicts": verdicts, "order": order, "replacing": replacing, "chains": chains, "jumping": jumping,
    "frames": frames,
}  # fmt: skip


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_programs_at_programs(name: str) -> None:
    def body() -> dict[str, Any]:
        linux = with_trampolines(SCENARIOS[name])
        return {"user": SCENARIOS[name](user()), "linux": linux}

    found = in_namespace(body)
    for ours, theirs in zip(found["user"], found["linux"], strict=True):
        assert ours == theirs, (ours, theirs)


@pytest.mark.parametrize("engine", ["fast", "reference", "native", "tiered"])
@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "verdicts"])
def test_every_engine_does_what_linux_did(name: str, engine: str) -> None:
    if engine in ("native", "tiered"):
        pytest.importorskip("llvmlite", reason="code is made by LLVM")
    kernel = UserKernel("6.12", btf=LinuxKernel().vmlinux_btf(), engine=engine)
    assert SCENARIOS[name](kernel) == recorded(name)


def test_verdicts_are_those_of_linux() -> None:
    kernel = UserKernel("6.12", btf=LinuxKernel().vmlinux_btf())
    for ours, theirs in zip(verdicts(kernel), recorded("verdicts"), strict=True):
        count = 3 if ours[0] in BY_STRUCTS else 4
        assert ours[:count] == theirs[:count]


def recorded(name: str) -> list[Any]:
    found: list[Any] = json.loads(gzip.decompress(RECORDED.read_bytes()))[name]
    return found
