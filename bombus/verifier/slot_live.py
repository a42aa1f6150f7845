"""Which stack slots are live before each instruction, as Linux 6.18 and later compute it.

While instructions are verified, each notes the slots that it may read and those that it overwrites on every path so
far, apart for each chain of calls that leads to it. When a path ends, what is live follows from that by backward data
flow over the chain's innermost function, and what it reads and writes of its callers' stacks is handed to the call.
Source: what the kernel's level 2 logs show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bombus.verifier.state import Frame, State

if TYPE_CHECKING:
    from bombus.verifier.env import Env

Chain = tuple[int, ...]


class Order:
    """One function's instructions in postorder. place: where each stands; before: the places of its predecessors."""

    __slots__ = ("before", "insns", "place")

    def __init__(self, env: Env, start: int, end: int) -> None:
        self.insns = env.postorder[start]
        self.place = [0] * (end - start)
        for place, insn in enumerate(self.insns):
            self.place[insn - start] = place
        self.before: list[list[int]] = [[] for _ in self.insns]
        for place, insn in enumerate(self.insns):
            for following in env.after[insn]:
                self.before[self.place[following - start]].append(place)


class Masks:
    """Sets of slots (bit i: fp-8*(i+1)) of one frame, by instruction of the innermost function."""

    __slots__ = ("dirty", "live", "read", "write", "written")

    def __init__(self, count: int) -> None:
        self.dirty = bytearray(count)  # instructions to look at again, by their place in the postorder
        self.read = [0] * count
        self.write = [0] * count
        self.live = [0] * count
        self.written = [0] * count  # overwritten on every way from here to the end of the function


class Instance:
    """One function as called by one chain of calls. chain: the call instructions, then the function's start."""

    __slots__ = ("chain", "changed", "count", "frames", "less_written", "noted", "place", "start", "subprog")

    def __init__(self, chain: Chain, subprog: int, start: int, place: list[int]) -> None:
        count = len(place)
        self.chain = chain
        self.place = place
        self.subprog = subprog
        self.start = start
        self.count = count
        self.frames: list[Masks | None] = [None] * len(chain)
        self.noted = bytearray(count)  # instructions whose writes are known
        self.changed = False
        self.less_written = False

    def masks(self, frame: int) -> Masks:
        found = self.frames[frame]
        if found is None:
            found = self.frames[frame] = Masks(self.count)
        return found

    def note_read(self, frame: int, insn: int, slots: int) -> None:
        masks = self.masks(frame)
        at = insn - self.start
        new = masks.read[at] | slots
        if new != masks.read[at]:
            if new & ~masks.live[at]:
                self.changed = True
            masks.read[at] = new
            masks.dirty[self.place[at]] = 1

    def note_writes(self, insn: int, writes: list[int]) -> None:
        at = insn - self.start
        noted = self.noted[at]
        for frame, slots in enumerate(writes):
            if not slots and not noted:
                continue
            masks = self.frames[frame]
            if masks is None:
                if not slots:
                    continue
                masks = self.masks(frame)
            before = masks.write[at]
            now = slots & before if noted else slots
            if now != before:
                masks.write[at] = now
                masks.dirty[self.place[at]] = 1
                self.changed = True
                if before & ~now:
                    self.less_written = True
        self.noted[at] = 1

    def wrote_nothing(self, insn: int) -> bool:
        """Whether an instruction is known, and known to overwrite no slot for certain."""
        at = insn - self.start
        if not self.noted[at]:
            return False
        for masks in self.frames:
            if masks is not None and masks.write[at]:
                return False
        return True

    def live(self, frame: int, insn: int) -> int:
        """The slots of a frame that are live before an instruction."""
        masks = self.frames[frame]
        return 0 if masks is None else masks.live[insn - self.start]


class SlotLiveness:
    """All chains of calls of one verification."""

    __slots__ = ("instance", "instances", "orders", "outermost", "writes")

    def __init__(self) -> None:
        self.instances: dict[Chain, Instance] = {}
        self.orders: dict[int, Order] = {}  # by start of a function
        self.instance: Instance | None = None  # that of the running frame, once it was asked for
        self.outermost: Instance | None = None  # that of the program, or of the last function verified on its own
        self.writes: dict[int, int] = {}

    def moved(self) -> None:
        """Another frame runs now."""
        self.instance = None
        self.writes.clear()

    def of(self, env: Env, state: State, number: int) -> Instance:
        frames = state.frames
        if not number:
            found = self.outermost
            if found is not None and found.subprog == frames[0].subprog:
                return found
        start = env.subprogs[frames[number].subprog].start
        chain = (*[frame.callsite for frame in frames[1 : number + 1]], start)
        found = self.instances.get(chain)
        if found is None:
            order = self.orders.get(start)
            if order is None:
                order = self.orders[start] = Order(env, start, env.subprogs[state.frames[number].subprog].end)
            found = self.instances[chain] = Instance(chain, frames[number].subprog, start, order.place)
        if not number:
            self.outermost = found
        return found

    def here(self, env: Env) -> Instance:
        if self.instance is None:
            self.instance = self.of(env, env.state, len(env.state.frames) - 1)
        return self.instance

    def read(self, env: Env, frame: Frame, slot: int) -> None:
        """The current instruction may read a slot."""
        self.here(env).note_read(frame.number, env.insn_idx, 1 << slot)

    def wrote(self, frame: Frame, slot: int) -> None:
        """The current instruction overwrites all of a slot."""
        self.writes[frame.number] = self.writes.get(frame.number, 0) | 1 << slot

    def commit(self, env: Env, insn: int) -> None:
        """An instruction that may write was verified."""
        instance = self.instance
        if instance is None:
            instance = self.here(env)
        writes = self.writes
        at = insn - instance.start
        if len(instance.frames) == 1 and instance.noted[at]:  # mostly it did so before
            masks = instance.frames[0]
            before = 0 if masks is None else masks.write[at]
            if not before & ~writes.get(0, 0):
                writes.clear()
                return
        if not writes and instance.wrote_nothing(insn):
            return
        instance.note_writes(insn, [writes.get(i, 0) for i in range(len(instance.chain))])
        writes.clear()

    def update(self, env: Env) -> None:
        """A path ended, or a function returns: compute what is live in all frames."""
        self.moved()
        state = env.state
        for number in range(len(state.frames) - 1, -1, -1):
            instance = self.of(env, state, number)
            if instance.changed:
                _flow(env, instance, self.orders[instance.start])
                if number:
                    _hand_out(instance, self.of(env, state, number - 1))

    def dead(self, env: Env, state: State) -> list[int]:
        """By frame, the slots that nothing reads after a checkpoint."""
        frames = state.frames
        top = len(frames) - 1
        if not top:
            return [(1 << len(frames[0].stack)) - 1 & ~self.of(env, state, 0).live(0, state.insn)]
        dead = []
        for number in range(top + 1):
            live = self.of(env, state, top).live(number, state.insn)
            for i in range(number, top):
                callsite = frames[i + 1].callsite
                at = callsite if env.aux[callsite].calls_callback else callsite + 1
                live |= self.of(env, state, i).live(number, at)
            dead.append((1 << len(frames[number].stack)) - 1 & ~live)
        return dead


def _hand_out(instance: Instance, outer: Instance) -> None:
    """What a function does to its callers' stacks is what the call does."""
    callsite = instance.chain[-2]
    writes = [0] * len(outer.chain)
    for frame in range(len(outer.chain)):
        masks = instance.frames[frame]
        if masks is not None:
            writes[frame] = masks.written[0]
            outer.note_read(frame, callsite, masks.live[0])
    outer.note_writes(callsite, writes)


def _flow(env: Env, instance: Instance, order: Order) -> None:
    """Backward data flow, in rounds over the postorder; what did not change since a round before is passed over."""
    frames = [(i, masks) for i, masks in enumerate(instance.frames) if masks is not None]
    if instance.less_written:
        for _, masks in frames:
            masks.written = [0] * instance.count
            masks.dirty = bytearray(b"\1") * instance.count
    start = instance.start
    insns, before = order.insns, order.before
    after = env.after
    rounds = 0
    changed = True
    while changed:
        changed = False
        rounds += 1
        for frame, masks in frames:
            dirty = masks.dirty
            place = -1
            while (place := dirty.find(1, place + 1, len(insns))) >= 0:
                dirty[place] = 0
                insn = insns[place]
                following = after[insn]
                at = insn - start
                live = 0
                written = -1 if following else 0
                for target in following:
                    live |= masks.live[target - start]
                    written &= masks.written[target - start]
                live = live & ~masks.write[at] | masks.read[at]
                written |= masks.write[at]
                if live == masks.live[at] and written == masks.written[at]:
                    continue
                changed = True
                if env.prints_all and (masks.read[at] or masks.write[at] or not at or env.aux[insn].prune_point):
                    _print(env, instance, "live", frame, insn, masks.live[at], live)
                    _print(env, instance, "written", frame, insn, masks.written[at], written)
                masks.live[at] = live
                masks.written[at] = written
                for earlier in before[place]:
                    dirty[earlier] = 1
    if env.prints_all:
        env.log.write(f"{_chain(instance)} live stack update done in {rounds} iterations\n")
    instance.changed = instance.less_written = False


def _chain(instance: Instance) -> str:
    return "(" + ",".join(map(str, instance.chain)) + ")"


def _slots(mask: int) -> str:
    return ",".join(str(-8 * (i + 1)) for i in range(64) if mask >> i & 1)


def _print(env: Env, instance: Instance, what: str, frame: int, insn: int, before: int, now: int) -> None:
    more, less = now & ~before, before & ~now
    if not more and not less:
        return
    text = f"{_chain(instance)} frame {frame} insn {insn} "
    if more:
        text += f"+{what} {_slots(more)} "
    if less:
        text += f"-{what} {_slots(less)}"
    env.log.write(text + "\n")
