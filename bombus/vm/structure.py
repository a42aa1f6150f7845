"""Control flow of a function as nested Python statements, out of its dominator tree.

After N. Ramsey, Beyond Relooper (ICFP 2022): a block's code is followed by the blocks that it dominates and
where several ways meet, in reverse postorder; loops are loops. Python has no labels, so a jump to code further
down is "fall through to it": what might stand between is guarded by `if pc == n`, and only jumps that pass
such a guard set pc. A jump out of a loop is `break`, with pc where there is more than one way to go on.

Limits of CPython: 20 nested loops, 100 levels of indentation. Deep dominator trees are flattened (`_flatten`);
what still does not fit raises Irreducible.
"""

from __future__ import annotations

from dataclasses import dataclass

from bombus.vm.body import Body, Facts, Line
from bombus.vm.flow import Block, Irreducible, work_limit
from bombus.vm.source import Truth

_MAX_DEPTH = 60  # of nested blocks, before a function is flattened
_CUT = 12  # levels between cuts of a flattened function
_MAX_LOOPS = 16
_SHORT_TAIL = 3  # instructions of a block that ends in exit and is copied instead of jumped to

Pending = dict[Block, list[Line]]
"""Blocks that control may be on its way to, with the lines at the jumps where pc can be set."""


@dataclass(slots=True)
class _Loop:
    """The Python loop being written: jumps out of it end in `break`."""

    header: Block
    leaving: Pending
    level: int


class Structure:
    """Writes one function through a `Body`."""

    def __init__(self, body: Body, order: list[Block]) -> None:
        self.body = body
        self.order = order
        self.by_start = {block.start: block for block in order}
        self.inlined: set[Block] = set()
        self.left = work_limit(len(order))
        self._place()

    def write(self, indent: int) -> None:
        pending = self._chain(self.order[0], indent, None)
        if pending:
            raise Irreducible  # cannot happen: every block has its place

    # ------------------------------------------------------------------------------------------ places

    def _is_tail(self, block: Block) -> bool:
        return not block.next and block.end - block.start <= _SHORT_TAIL and block.order > 0

    def _place(self) -> None:
        """Decide for each block: written at its only jump (inlined), or behind some block or loop."""
        flat = max(block.depth for block in self.order) > _MAX_DEPTH
        cuts: dict[Block, int] = {self.order[0]: 0}
        for block in self.order[1:]:
            parent = block.dominator
            assert parent is not None
            same_loop = block.outside is parent.loop
            if flat:
                level = cuts[parent] + 1 if same_loop and not parent.is_header else 1
                cuts[block] = level % _CUT
            if self._is_tail(block):
                continue
            if block.forward == 1 and same_loop and not (flat and cuts[block] == 0):
                self.inlined.add(block)
                continue
            if same_loop:
                (parent if not flat else self._root(parent)).inner.append(block)
                continue
            header = parent.loop
            while header is not None and header.around is not block.outside:
                header = header.around
            if header is None:
                raise Irreducible
            if flat and header.around is not None:
                header.around.inner.append(block)
            elif flat:
                self.order[0].inner.append(block)
            else:
                header.after.append(block)

    def _root(self, block: Block) -> Block:
        """The block that a flattened loop (or function) begins with."""
        return block.loop if block.loop is not None else self.order[0]

    # ------------------------------------------------------------------------------------------ writing

    def _chain(self, block: Block | None, indent: int, loop: _Loop | None) -> Pending:
        """Write a block and all that is placed under it. Returns where control may be heading at its end."""
        if indent > 95:
            raise Irreducible
        body = self.body
        waiting: list[Block] = []  # blocks whose `inner` still has to be written, outermost first
        pending: Pending = {}
        while block is not None:
            if block.is_header and (loop is None or loop.header is not block):
                _merge(pending, self._loop(block, indent, loop))
                break
            waiting.append(block)
            condition = body.straight(indent, block.start, block.end)
            if condition is False:
                break
            if not isinstance(condition, Truth) or len(block.next) == 1:
                block = self._follow(block.next[0], indent, loop, pending)
                continue
            straight_on, taken = block.next
            text = condition.text
            if self._weight(straight_on, loop) < self._weight(taken, loop):
                straight_on, taken, text = taken, straight_on, condition.opposite
            body.line(indent, f"if {text}:")
            before = body.facts.copy()
            here = body.here
            arm: Pending = {}
            following = self._follow(taken, indent + 1, loop, arm)
            if following is not None:
                _merge(arm, self._chain(following, indent + 1, loop))
            _merge(pending, arm)
            body.facts, body.here = before, here
            if not arm:
                block = self._follow(straight_on, indent, loop, pending)
                continue
            body.line(indent, "else:")
            following = self._follow(straight_on, indent + 1, loop, pending)
            if following is not None:
                _merge(pending, self._chain(following, indent + 1, loop))
            break
        while waiting:
            block = waiting.pop()
            if block.inner:
                pending = self._placed(block.inner, pending, indent, loop)
        return pending

    def _weight(self, target: int, loop: _Loop | None) -> int:
        """0 for what is surely short and does not come back here: that arm is written first."""
        block = self.by_start.get(target)
        if block is None or self._is_tail(block) or (loop is not None and block is loop.header):
            return 0
        return 2 if block in self.inlined else 1

    def _follow(self, target: int, indent: int, loop: _Loop | None, pending: Pending) -> Block | None:
        """Write a jump. Returns the block to write right here, if that is what the jump needs."""
        body = self.body
        block = self.by_start.get(target)
        if block is None:
            count = len(body.insns)
            body.fail(indent, "jump", f"goes to {target}, outside the program's {count} instructions")
            return None
        if self._is_tail(block):
            facts = body.facts.copy()
            body.straight(indent, block.start, block.end)
            body.facts = facts
            return None
        if loop is not None and block is loop.header:
            body.line(indent, "continue")
            return None
        if block in self.inlined:
            return block
        line = body.line(indent, "pass")
        if loop is not None and self._leaves(block, loop):
            body.line(indent, "break")
            loop.leaving.setdefault(block, []).append(line)
        else:
            pending.setdefault(block, []).append(line)
        return None

    @staticmethod
    def _leaves(block: Block, loop: _Loop) -> bool:
        return block.outside is not loop.header

    def _loop(self, header: Block, indent: int, around: _Loop | None) -> Pending:
        body = self.body
        level = around.level + 1 if around else 1
        if level > _MAX_LOOPS:
            raise Irreducible
        body.here = header.start
        body.line(indent, "for _ in ticks:")
        loop = _Loop(header, {}, level)
        body.facts = Facts()
        if self._chain(header, indent + 1, loop):
            raise Irreducible  # cannot happen: jumps inside a loop end in break or continue
        body.here = header.start
        body.line(indent, "else:")
        body.line(indent + 1, "no_budget()")
        pending = loop.leaving
        if around is not None:
            pending = self._pass_on(pending, indent, around)
        return self._placed(header.after, pending, indent, around)

    def _pass_on(self, pending: Pending, indent: int, around: _Loop) -> Pending:
        """Behind an inner loop: jumps that leave the loop around it too, or start its next round."""
        body = self.body
        staying: Pending = {}
        leaving: Pending = {}
        rounds: Pending = {}
        for block, lines in pending.items():
            if block is around.header:
                rounds[block] = lines
            elif self._leaves(block, around):
                leaving[block] = lines
            else:
                staying[block] = lines
        groups = [(group, word) for group, word in ((rounds, "continue"), (leaving, "break")) if group]
        several = len(groups) + bool(staying) > 1
        for number, (group, word) in enumerate(groups):
            last = number == len(groups) - 1 and not staying
            if last:
                body.line(indent, word)
            else:
                starts = [block.start for block in group]
                test = f"pc == {starts[0]}" if len(starts) == 1 else f"pc in {tuple(starts)}"
                body.line(indent, f"if {test}: {word}")
        if several:
            self._need_pc(pending)
        for block, lines in leaving.items():
            around.leaving.setdefault(block, []).extend(lines)
        return staying

    def _need_pc(self, pending: Pending) -> None:
        """All that is on its way passes a guard: the jumps have to say where to."""
        for block, lines in pending.items():
            self.left -= 1 + len(lines)
            text = f"pc = {block.start}"
            for line in lines:
                line[1] = text
        if self.left < 0:
            raise Irreducible

    def _placed(self, blocks: list[Block], pending: Pending, indent: int, loop: _Loop | None) -> Pending:
        """Write the blocks behind the code that jumps to them."""
        for block in sorted(blocks, key=lambda block: block.order):
            if block not in pending:
                continue  # all jumps to it stand behind a fault
            if len(pending) == 1:
                at = indent
            else:
                self._need_pc(pending)
                self.body.here = block.start
                self.body.line(indent, f"if pc == {block.start}:")
                at = indent + 1
            del pending[block]
            self.body.facts = Facts()
            _merge(pending, self._chain(block, at, loop))
        return pending


def _merge(into: Pending, other: Pending) -> None:
    for block, lines in other.items():
        into.setdefault(block, []).extend(lines)
