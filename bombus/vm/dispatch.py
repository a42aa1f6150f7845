"""Control flow of a function as a loop over numbered blocks: slower, but it takes any graph.

For what `vm.structure` refuses: loops with two entries, and nesting deeper than CPython allows. The number of
the next block is in pc; a tree of comparisons finds its code.
"""

from __future__ import annotations

from bombus.vm.body import Body, Facts
from bombus.vm.flow import Block
from bombus.vm.source import Truth


class Dispatch:
    """Writes one function through a `Body`."""

    def __init__(self, body: Body, order: list[Block]) -> None:
        self.body = body
        self.order = order
        self.number = {block.start: number for number, block in enumerate(order)}

    def write(self, indent: int) -> None:
        body = self.body
        body.here = self.order[0].start
        body.line(indent, "pc = 0")
        body.line(indent, "for _ in ticks:")
        self._tree(0, len(self.order), indent + 1)
        body.here = self.order[0].start
        body.line(indent, "no_budget()")

    def _tree(self, first: int, end: int, indent: int) -> None:
        """Code for the blocks numbered [first, end)."""
        if end - first == 1:
            self._block(self.order[first], indent)
            return
        middle = (first + end) // 2
        self.body.line(indent, f"if pc < {middle}:")
        self._tree(first, middle, indent + 1)
        self.body.line(indent, "else:")
        self._tree(middle, end, indent + 1)

    def _block(self, block: Block, indent: int) -> None:
        body = self.body
        body.facts = Facts()
        condition = body.straight(indent, block.start, block.end)
        if condition is False:
            return
        if not isinstance(condition, Truth) or len(block.next) == 1:
            self._go(block.next[0], indent)
            return
        straight_on, taken = block.next
        body.line(indent, f"if {condition.text}:")
        self._go(taken, indent + 1)
        body.line(indent, "else:")
        self._go(straight_on, indent + 1)

    def _go(self, target: int, indent: int) -> None:
        number = self.number.get(target)
        if number is None:
            count = len(self.body.insns)
            self.body.fail(indent, "jump", f"goes to {target}, outside the program's {count} instructions")
        else:
            self.body.line(indent, f"pc = {number}")
