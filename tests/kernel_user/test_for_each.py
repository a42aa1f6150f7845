"""bpf_for_each_map_elem: elements that go, come and change during the walk, on every engine and on Linux."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from helper_cases import call, linux
from helper_scenes import Stage, func, helper, main, map_, note, play, stack_, value_

from bombus.errors import NotSupported
from bombus.isa import build as b
from bombus.isa.insn import Insn
from bombus.jit.engine import NativeProgram
from bombus.kernel.api import Kernel
from bombus.kernel.handles import Program
from bombus.kernel.user.kernel import UserKernel

KINDS = ("array", "percpu_array", "hash", "percpu_hash", "lru_hash", "lru_percpu_hash")
TABLES = KINDS[2:]
NOTHING, DELETE, STORE, STOP = range(4)
PLAN = 64  # steps
ZERO = bytes(4)


def kernels() -> list[UserKernel]:
    found = [UserKernel("6.18", engine=engine, maps=maps)
             for engine, maps in (("reference", "python"), ("fast", "python"))]  # fmt: skip
    with suppress(NotSupported):
        found += [UserKernel("6.18", engine=engine, maps="native") for engine in ("reference", "fast", "native")]
    return found


def native(kernel: Kernel, program: Program) -> NativeProgram | None:
    compiled = kernel.object("test", program.fd, "prog").compiled  # type: ignore[attr-defined]
    return compiled if isinstance(compiled, NativeProgram) else None


# The callback counts in word 1, folds keys and values in word 2, and does what the plan says for this step: u32
# operation, u32 key.
CALLBACK = b.program(
    b.mov(6, b.R1), b.mov(7, b.R2), b.mov(8, b.R3), b.mov(4, b.R4), value_(9, 0),
    b.ldx("u64", 1, 9, 16), b.mul(1, 31), b.ldx("u32", 2, 7, 0), b.add(1, b.R2), b.mul(1, 31),
    b.ldx("u64", 2, 8, 0), b.add(1, b.R2), b.ldx("u64", 2, 4, 0), b.add(1, b.R2), b.stx("u64", 9, 16, b.R1),
    b.ldx("u64", 1, 9, 8), b.mov(2, b.R1), b.add(2, 1), b.stx("u64", 9, 8, b.R2),
    b.mov(0, 0), b.jmp("<", 1, PLAN, 1), b.exit_(),
    b.lsh(1, 3), value_(2, 2), b.add(2, b.R1), b.ldx("u32", 3, 2, 4), b.stx("u32", 10, -4, b.R3),
    b.ldx("u32", 3, 2, 0), b.mov(0, 1), b.jmp("!=", 3, STOP, 1), b.exit_(),
    b.jmp("==", 3, DELETE, 3), b.jmp("==", 3, STORE, 9), b.mov(0, 0), b.exit_(),
    map_(1, 1), stack_(2, -4), call("map_delete_elem"), b.mov(0, 0), b.exit_(),
    b.stx("u64", 10, -16, b.R1), map_(1, 1), stack_(2, -4), stack_(3, -16), b.mov(4, 0), call("map_update_elem"),
    b.mov(0, 0), b.exit_(),
)  # fmt: skip


def body() -> list[Insn]:
    return main(b.st("u64", 10, -8, 5), helper("for_each_map_elem", map_(1, 1), func(2, 0), stack_(3, -8), 0), note(0))


Seen = tuple[int, int, int, list[int]]  # what it returned, how often it was called, what it saw, keys left


def walk(stage: Stage, kind: str, first: list[int], plan: list[tuple[int, int]], entries: int = 64) -> Seen:
    maps = (stage.report(), stage.map(kind, 4, 8, entries), stage.map("array", 4, 8 * PLAN))
    cpus = stage.kernel.possible_cpus if "percpu" in kind else 1
    for key in first:
        word = struct.pack("<Q", 3 * key)
        maps[1].store(struct.pack("<I", key), word if cpus == 1 else [word] * cpus)
    maps[2].store(ZERO, b"".join(struct.pack("<II", *step) for step in plan).ljust(8 * PLAN, b"\0"))
    program = stage.load(body(), CALLBACK, maps=maps)
    stage.run(program)
    compiled = native(stage.kernel, program) if isinstance(stage.kernel, UserKernel) else None
    assert compiled is None or (compiled.is_native and not compiled.calls_python)
    returned, calls, folded = struct.unpack_from("<QQQ", maps[0][ZERO])
    keys = [key if isinstance(key, int) else int.from_bytes(key, "little") for key in maps[1]]
    return returned, calls, folded, sorted(keys)


def scene(kind: str, keys: list[int], plan: list[tuple[int, int]]) -> Callable[[Stage], object]:
    return lambda stage: walk(stage, kind, keys, plan)


def same(kind: str, keys: list[int], plan: list[tuple[int, int]]) -> Seen:
    """What all engines, and both kinds of maps, say."""
    answers = [play(kernel, scene(kind, keys, plan)) for kernel in kernels()]
    assert all(answer == answers[0] for answer in answers), answers
    return answers[0]  # type: ignore[return-value]


@pytest.mark.parametrize("kind", KINDS)
def test_all_elements(kind: str) -> None:
    keys = [3, 9, 0, 17, 5]
    returned, calls, _folded, _left = same(kind, keys, [])
    assert returned == calls == (64 if "array" in kind else len(keys))


@pytest.mark.parametrize("kind", KINDS)
def test_stops(kind: str) -> None:
    returned, calls, _folded, left = same(kind, [1, 2, 3, 4], [(NOTHING, 0), (STOP, 0)])
    assert returned == calls == 2
    assert left == (list(range(64)) if "array" in kind else [1, 2, 3, 4])


@pytest.mark.parametrize("kind", TABLES)
def test_present_element_goes(kind: str) -> None:
    keys = [3, 9, 4, 17, 5]
    assert same(kind, keys, [(DELETE, key) for key in keys])[:2] == (5, 5)


@pytest.mark.parametrize("kind", TABLES)
def test_present_element_changes(kind: str) -> None:
    keys = [3, 9, 4, 17, 5]
    assert same(kind, keys, [(STORE, key) for key in keys])[:2] == (5, 5)


@pytest.mark.parametrize("kind", TABLES)
def test_what_goes_before_its_turn(kind: str) -> None:
    """The next one, the one after it; both, and the present one."""
    keys = list(range(1, 9))
    assert same(kind, keys, [(DELETE, 2), (DELETE, 5)])[0] == 6
    for gone in ([1, 2, 3], [2, 1, 3], [3, 2, 4]):
        expected = len(keys) - len([key for at, key in enumerate(gone) if key not in keys[: at + 1]])
        assert same(kind, keys, [(DELETE, key) for key in gone])[0] >= expected


@pytest.mark.parametrize("kind", TABLES)
def test_new_elements(kind: str) -> None:
    returned, _calls, _folded, left = same(kind, [1, 2, 3], [(STORE, 10), (STORE, 11), (STORE, 12)])
    assert returned == 3
    assert left == [1, 2, 3, 10, 11, 12]


@pytest.mark.parametrize("kind", TABLES)
def test_ends_when_each_step_makes_an_element(kind: str) -> None:
    plan = [step for key in range(1, 20) for step in ((STORE, key + 100), (DELETE, key))]
    returned, _calls, _folded, _left = same(kind, [1, 2, 3, 4], plan)
    assert returned <= 4


def test_random_plans() -> None:
    """LRU maps are left out: the order of what they drop depends on how the maps were filled."""
    rng = random.Random(164)
    for _ in range(15):
        kind = rng.choice(("hash", "percpu_hash"))
        keys = rng.sample(range(24), rng.randrange(20))
        plan = [(rng.choice((DELETE, DELETE, STORE, NOTHING)), rng.randrange(24)) for _ in range(PLAN)]
        if rng.random() < 0.2:
            plan[rng.randrange(20)] = (STOP, 0)
        same(kind, keys, plan)


def test_key_in_helpers() -> None:
    """Keys of a table are memory that helpers of Python's take; for those of an array, which are none, the walk is
    Python's."""
    copied = b.program(
        value_(9, 0), b.mov(3, b.R2), b.mov(1, b.R9), b.add(1, 8), b.mov(2, 4), call("probe_read_kernel"),
        b.ldx("u32", 1, 9, 8), b.ldx("u64", 2, 9, 16), b.mul(2, 31), b.add(2, b.R1), b.stx("u64", 9, 16, b.R2),
        b.mov(0, 0), b.exit_(),
    )  # fmt: skip
    for kind in ("hash", "array"):
        answers = []
        for kernel in kernels():
            stage = Stage(kernel)
            with stage.stack:
                maps = (stage.report(), stage.map(kind, 4, 8, 4))
                for key in (2, 0, 3):
                    maps[1].store(struct.pack("<I", key), bytes(8))
                program = stage.load(body(), copied, maps=maps)
                stage.run(program)
                answers.append(maps[0][ZERO][:24])
        assert all(answer == answers[0] for answer in answers)
        assert struct.unpack("<QQQ", answers[0])[0] == (3 if kind == "hash" else 4)


def test_walks_in_walks() -> None:
    """Over a table, in it over an array, in it a bpf_loop."""
    outer = b.program(
        b.ldx("u64", 1, 3, 0), b.stx("u64", 10, -8, b.R1),
        helper("for_each_map_elem", map_(1, 2), func(2, 1), stack_(3, -8), 0), b.mov(0, 0), b.exit_(),
    )  # fmt: skip
    inner = b.program(
        b.ldx("u64", 1, 3, 0), b.ldx("u64", 2, 4, 0), b.add(1, b.R2), b.stx("u64", 10, -8, b.R1),
        helper("loop", 3, func(2, 2), stack_(3, -8), 0), b.mov(0, 0), b.exit_(),
    )  # fmt: skip
    loop = b.program(
        value_(3, 0), b.ldx("u64", 4, 3, 8), b.mul(4, 5), b.add(4, b.R1), b.ldx("u64", 5, 2, 0), b.add(4, b.R5),
        b.stx("u64", 3, 8, b.R4), b.mov(0, 0), b.exit_(),
    )  # fmt: skip
    answers = []
    for kernel in kernels():
        stage = Stage(kernel)
        with stage.stack:
            maps = (stage.report(), stage.map("hash", 4, 8, 8), stage.map("array", 4, 8, 3))
            for key in (7, 1, 4):
                maps[1].store(struct.pack("<I", key), struct.pack("<Q", key))
                maps[2].store(struct.pack("<I", key % 3), struct.pack("<Q", 100 * key))
            program = stage.load(body(), outer, inner, loop, maps=maps)
            stage.run(program)
            compiled = native(kernel, program)
            assert compiled is None or not compiled.calls_python
            answers.append(maps[0][ZERO][:16])
    assert all(answer == answers[0] for answer in answers)
    assert struct.unpack_from("<Q", answers[0]) == (3,)


# ------------------------------------------------------------------------------------------------ beside Linux


def beside_linux() -> Iterator[tuple[Kernel, bool]]:
    for kernel in kernels():
        yield kernel, False
    yield linux(), True


@pytest.mark.linux
@pytest.mark.parametrize("kind", TABLES)
def test_like_linux(kind: str) -> None:
    """Linux goes by buckets, in an order of its own: here are scenes whose outcome no order changes."""
    keys = list(range(1, 9))
    plans = {
        "all": [(NOTHING, 0)] * 8,
        "all go at once": [(DELETE, key) for key in keys],
        "new ones": [(STORE, 100)] * PLAN,
        "the same again": [(STORE, key) for key in keys],
    }
    for kernel, is_linux in beside_linux():
        seen = {name: play(kernel, scene(kind, keys, plan)) for name, plan in plans.items()}
        counts = {name: found[0] for name, found in seen.items()}  # type: ignore[index]
        left = {name: found[3] for name, found in seen.items()}  # type: ignore[index]
        assert counts["all"] == 8
        assert counts["new ones"] in ((8, 9) if is_linux else (8,))
        assert 4 <= counts["all go at once"] <= 8
        assert left["all"] == keys
        assert left["new ones"] == [*keys, 100]
        assert left["the same again"] == keys


@pytest.mark.linux
@pytest.mark.parametrize("kind", TABLES)
def test_all_others_go_like_linux(kind: str) -> None:
    """The first call takes all others away. Linux may still go to the next one of the same bucket."""
    callback = b.program(
        b.mov(6, b.R1), b.ldx("u32", 7, 2, 0), b.mov(8, 1),
        b.jmp("==", 8, b.R7, 5), b.stx("u32", 10, -4, b.R8), b.mov(1, b.R6), stack_(2, -4), call("map_delete_elem"),
        b.add(8, 1), b.jmp("<=", 8, 8, -8), b.mov(0, 0), b.exit_(),
    )  # fmt: skip
    for kernel, is_linux in beside_linux():
        stage = Stage(kernel)
        with stage.stack:
            maps = (stage.report(), stage.map(kind, 4, 8, 64))
            cpus = stage.kernel.possible_cpus if "percpu" in kind else 1
            for key in range(1, 9):
                maps[1].store(struct.pack("<I", key), bytes(8) if cpus == 1 else [bytes(8)] * cpus)
            stage.run(stage.load(body(), callback, maps=maps))
            (count,) = struct.unpack_from("<Q", maps[0][ZERO])
            assert count in ((1, 2) if is_linux else (1,))
            assert len(list(maps[1])) == 1 or is_linux
