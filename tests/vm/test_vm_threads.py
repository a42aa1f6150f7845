"""Several threads of Python run one program at once, whose helpers call its functions back."""

from __future__ import annotations

import threading

import pytest

from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.vm.engines import engine
from bombus.vm.env import PlainEnv
from bombus.vm.run import FRAME_STRIDE

BACK, PAUSE = 200, 201
CALLS = 8


@pytest.mark.parametrize("name", ["reference", "fast", "native"])
def test_callbacks_stay_in_their_own_run(name: str) -> None:
    if name == "native":
        pytest.importorskip("llvmlite")
    # main(x) calls back with x, x + 1, ... and adds up; what is called keeps its argument in its frame meanwhile.
    main = [
        b.mov(6, b.R1), b.mov(7, 0), b.mov(8, 0),
        *b.ld_imm64(1, 10, src=op.BPF_PSEUDO_FUNC), b.mov(2, b.R6), b.add(2, b.R8), b.mov(3, b.R10), b.call(BACK),
        b.add(7, b.R0), b.add(8, 1), b.jmp("<", 8, CALLS, -9), b.mov(0, b.R7), b.exit_(),
    ]  # fmt: skip
    function = [
        b.stx("u64", 10, -8, 1), b.mov(1, b.R10), b.call(PAUSE), b.ldx("u64", 0, 10, -8), b.exit_(),
    ]  # fmt: skip
    other_pauses, first_is_done = threading.Event(), threading.Event()
    frames: dict[int, list[tuple[int, int]]] = {}
    above: dict[int, int] = {}

    def back(address: int, x: int, frame: int, *_rest: int) -> int:
        above[threading.get_ident()] = frame
        return program.call(address, (x,))

    def pause(frame: int, *_rest: int) -> int:
        me = threading.get_ident()
        seen = frames.setdefault(me, [])
        seen.append((above[me], frame))
        if threading.current_thread() is other:
            other_pauses.set()
            assert first_is_done.wait(60)
        elif len(seen) == 1:  # from now on the other one's run is the last that began
            other.start()
            assert other_pauses.wait(60)
        return 0

    env = PlainEnv()
    env.helpers[BACK], env.helpers[PAUSE] = back, pause
    program = engine(name).compile([*main, *function], env)
    program.prepare()
    results: list[int] = []
    other = threading.Thread(target=lambda: results.append(program.run(5000)))
    try:
        results.append(program.run(1000))
    finally:
        first_is_done.set()
        other.join(60)
    assert results == [CALLS * 1000 + sum(range(CALLS)), CALLS * 5000 + sum(range(CALLS))]
    assert [len(seen) for seen in frames.values()] == [CALLS, CALLS]
    for seen in frames.values():
        assert {called - caller for caller, called in seen} == {FRAME_STRIDE}
