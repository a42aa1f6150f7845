"""Functions of programs as targets, on the user kernel alone. The rest: tests/linux/test_program_targets."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from bombus.errors import KernelError, NotSupported
from bombus.kernel.api import Attr
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.run import packet_runner_of, run_packet
from bombus.loader.load import Loaded, load
from bombus.object.read import open_object

DATA = Path(__file__).resolve().parents[1] / "linux" / "data"
TARGETS = open_object(DATA / "targets.bpf.o")
ATTACHERS = open_object(DATA / "attachers.bpf.o")
PACKET = bytes(64)
ENGINES = ["fast", "reference", "native", "tiered"]


def pair(kernel: UserKernel, *names: str, target: str = "entry") -> tuple[Loaded, Loaded]:
    item = load(TARGETS, kernel, programs=[target])
    return item, load(ATTACHERS, kernel, programs=list(names), targets=dict.fromkeys(names, item.programs[target]))


@pytest.mark.parametrize("engine", ENGINES)
def test_runners_see_what_comes_and_goes(engine: str) -> None:
    if engine in ("native", "tiered"):
        pytest.importorskip("llvmlite", reason="code is made by LLVM")
    kernel = UserKernel("6.12", engine=engine)
    item, own = pair(kernel, "new_multiply", "after_multiply")
    with item, own:
        run = packet_runner_of(kernel, item.programs["entry"].fd)
        plain = run(PACKET, 1)[0]
        for _ in range(2):
            with own.programs["new_multiply"].attach_freplace(item.programs["entry"], "multiply"):
                assert run(PACKET, 1)[0] == plain + 1000 - 3
                assert run_packet(kernel, item.programs["entry"].fd, PACKET).verdict == plain + 1000 - 3
            assert run(PACKET, 1)[0] == plain
        with own.programs["after_multiply"].attach():
            assert run(PACKET, 1)[0] == plain and own.bss.count == 1
        assert run(PACKET, 1)[0] == plain and own.bss.count == 1


def test_runs_are_counted() -> None:
    kernel = UserKernel("6.12")
    item, own = pair(kernel, "before_multiply", "new_multiply")
    with item, own:
        stats = kernel.bpf(Attr("BPF_ENABLE_STATS", type=0))
        entry = item.programs["entry"]
        watcher, extension = own.programs["before_multiply"], own.programs["new_multiply"]
        with watcher.attach():
            entry.test_run(PACKET, repeat=3)
        with extension.attach():
            entry.test_run(PACKET)
        # An extension is jumped to: nobody counts.
        assert [one.info().run_cnt for one in (entry, watcher, extension)] == [4, 3, 0]
        kernel.close(stats)


def test_a_target_lives_as_long_as_what_is_attached() -> None:
    kernel = UserKernel("6.12")
    item, own = pair(kernel, "new_multiply")
    number = item.programs["entry"].id
    item.close()
    assert kernel.ids["prog"].find(number) is not None  # the program was loaded for it
    link = own.programs["new_multiply"].attach()
    own.close()
    assert kernel.ids["prog"].find(number) is not None and link.info().tracing_target_obj_id == number
    link.close()
    assert kernel.ids["prog"].find(number) is None and len(kernel.ids["prog"]) == 0


def test_places_are_limited() -> None:
    kernel = UserKernel("6.12")
    item = load(TARGETS, kernel, programs=["entry"])
    with ExitStack() as stack:
        for number in range(39):
            own = load(ATTACHERS, kernel, programs=["before_multiply"],
                       targets={"before_multiply": item.programs["entry"]})  # fmt: skip
            stack.enter_context(own)
            if number < 38:
                stack.enter_context(own.programs["before_multiply"].attach())
        with pytest.raises(KernelError, match="E2BIG"):
            own.programs["before_multiply"].attach()
        item.programs["entry"].test_run(PACKET)


def test_without_verification() -> None:
    kernel = UserKernel("6.12", verify="off")
    item, own = pair(kernel, "new_multiply")
    with item, own, own.programs["new_multiply"].attach():
        plain = UserKernel("6.12")
        with load(TARGETS, plain, programs=["entry"]) as same:
            expected = same.programs["entry"].test_run(PACKET).retval + 1000 - 3
        assert item.programs["entry"].test_run(PACKET).retval == expected


def test_contexts_need_the_kernels_types() -> None:
    with pytest.raises(NotSupported, match="look at the context of the program that they are attached to"):
        pair(UserKernel("6.12"), "skb_weigh")
