"""Loops as Linux 6.17 and later handle them: by the strongly connected parts of the program.

While a loop is being explored, states that are covered by others of the same loop are kept as its back edges; when
the loop is done, what turned out to be precise is carried around it until nothing changes.
"""

from __future__ import annotations

from typing import Final

from bombus.verifier.env import Env
from bombus.verifier.precision import force_precise
from bombus.verifier.state import State

_MAX_ROUNDS: Final = 64

Chain = tuple[int, ...]


class Visit:
    """One exploration of a loop from one chain of calls."""

    __slots__ = ("back_edges", "entry")

    def __init__(self) -> None:
        self.entry: State | None = None
        self.back_edges: list[tuple[State, State]] = []


def insn_of(state: State, number: int) -> int:
    """Where a frame of a state stands: at the state's instruction, or at the call that it waits for."""
    return state.insn if number == len(state.frames) - 1 else state.frames[number + 1].callsite


def chain_of(env: Env, state: State) -> Chain | None:
    """The calls that lead to the outermost loop that a state is in, and the loop; None when it is in none."""
    chain: list[int] = []
    for number in range(len(state.frames)):
        insn = insn_of(state, number)
        scc = env.scc[insn]
        if scc:
            return (*chain, scc)
        chain.append(insn)
    return None


def _text(chain: Chain) -> str:
    """As logs write it: a call at instruction 0 ends the list of calls."""
    calls = list(chain[:-1])
    if 0 in calls:
        del calls[calls.index(0) :]
    return "(" + ",".join(map(str, (*calls, chain[-1]))) + ")"


def enter(env: Env, state: State) -> None:
    """A checkpoint was kept."""
    chain = chain_of(env, state)
    if chain is None:
        return
    visit = env.visits.setdefault(chain, Visit())
    if visit.entry is None:
        visit.entry = state
        state.opens_loop = True
        if env.prints_all:
            env.log.write(f"SCC enter {_text(chain)}\n")


def is_open(env: Env, state: State) -> bool:
    """Whether a state is in a loop that has back edges still to be settled."""
    if not env.back_edges:
        return False
    chain = chain_of(env, state)
    visit = env.visits.get(chain) if chain is not None else None
    return visit is not None and bool(visit.back_edges)


def add_back_edge(env: Env, old: State, cur: State, insn: int) -> None:
    """`cur` is covered by `old`, of the same loop."""
    chain = chain_of(env, old)
    visit = env.visits.get(chain) if chain is not None else None
    if chain is None or visit is None:
        return
    copy = cur.copy()
    copy.insn = insn
    copy.parent = cur.parent
    if env.prints_all:
        env.log.write(f"SCC backedge {_text(chain)}\n")
    visit.back_edges.insert(0, (copy, old))
    env.back_edges += 1
    env.note_peak()


def leave(env: Env, state: State) -> None:
    """All paths from a checkpoint are explored."""
    if not state.opens_loop:
        return
    chain = chain_of(env, state)
    visit = env.visits.get(chain) if chain is not None else None
    if chain is None or visit is None or visit.entry is not state:
        return
    if env.prints_all:
        env.log.write(f"SCC exit {_text(chain)}\n")
    visit.entry = None
    env.back_edges -= len(visit.back_edges)
    _settle(env, visit)
    visit.back_edges = []


def check_thrown(env: Env, state: State) -> None:
    """An exception ends the path here: where that is a loop of which no checkpoint was kept yet, the kernel is lost."""
    state.insn = env.insn_idx
    chain = chain_of(env, state)
    if chain is not None and chain not in env.visits:
        env.defect(f"scc exit: no visit info for call chain {_text(chain)}")


def _settle(env: Env, visit: Visit) -> None:
    from bombus.verifier.prune import propagate_precision

    for _ in range(_MAX_ROUNDS):
        changed = False
        for state, equal in visit.back_edges:
            changed |= propagate_precision(env, equal, state, state.insn)
        if not changed:
            return
    for state, _equal in visit.back_edges:
        force_precise(env, state)
