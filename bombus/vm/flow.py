"""Control flow of one function: blocks, dominators, loops.

A function is whatever can be reached from its entry without calls, so code that several functions jump into
belongs to each of them, and nothing is assumed about how functions lie in the program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bombus.isa import opcodes as op
from bombus.isa.insn import Insn

_CONDITIONS = frozenset(
    operation
    for operation in (op.BPF_JEQ, op.BPF_JGT, op.BPF_JGE, op.BPF_JSET, op.BPF_JNE, op.BPF_JSGT, op.BPF_JSGE,
                      op.BPF_JLT, op.BPF_JLE, op.BPF_JSLT, op.BPF_JSLE)
)  # fmt: skip


def jumps(insn: Insn, index: int) -> tuple[int, ...] | None:
    """Where an instruction that ends a block goes on, the jump's target last; None when it ends no block.

    Targets may lie outside the program.
    """
    opcode = insn.opcode
    cls = opcode & 7
    if cls != op.BPF_JMP and cls != op.BPF_JMP32:
        return None
    if opcode == op.EXIT:
        return ()
    if opcode == op.JA:
        return (index + 1 + insn.off,)
    if opcode == op.GOTOL:
        return (index + 1 + insn.imm,)
    if opcode == op.MAY_GOTO or opcode & 0xF0 in _CONDITIONS:
        return (index + 1, index + 1 + insn.off) if insn.off else (index + 1,)
    return None


@dataclass(slots=True, eq=False)
class Block:
    """Instructions that run one after the other: [start, end) of the program.

    next: where it goes on, the taken branch last (may lie outside the program). The other fields are about
    the function: order is the number in reverse postorder, `loop` the innermost loop's header that holds the
    block (a header is inside its own loop), `forward` the number of edges into it that are no back edges.
    """

    start: int
    end: int
    next: tuple[int, ...]
    order: int = -1
    dominator: Block | None = None
    loop: Block | None = None
    is_header: bool = False
    forward: int = 0
    depth: int = 0
    inner: list[Block] = field(default_factory=list)  # placed behind this block, in its loop
    after: list[Block] = field(default_factory=list)  # placed behind the loop that this block is the header of

    @property
    def outside(self) -> Block | None:
        """The loop in which this block stands as a whole: for a header the loop around its own."""
        if not self.is_header:
            return self.loop
        return self.around

    around: Block | None = None  # of a header: the loop that its loop is in


class Irreducible(Exception):
    """The function has a loop with two entries, or would take too long to structure (internal: another way of
    running it is taken)."""


def work_limit(blocks: int) -> int:
    """Steps that structuring a function may take in each part; compiled code stays far below."""
    return 200_000 + 200 * blocks


def blocks_from(insns: Sequence[Insn], entry: int) -> dict[int, Block]:
    """Blocks reachable from `entry`, by their first instruction."""
    length = len(insns)
    leaders = {entry}
    seen: set[int] = set()
    todo = [entry]
    while todo:
        index = todo.pop()
        while index not in seen:
            seen.add(index)
            insn = insns[index]
            targets = jumps(insn, index)
            if targets is None:
                index += 2 if insn.opcode == op.LD_IMM64 else 1
                if index >= length:
                    break
                continue
            for target in targets:
                if 0 <= target < length:
                    leaders.add(target)
                    todo.append(target)
            break
        else:
            leaders.add(index)  # ran into known code: it may be entered in two ways (after an ld_imm64)
    blocks: dict[int, Block] = {}
    for start in leaders:
        index = start
        while True:
            insn = insns[index]
            targets = jumps(insn, index)
            index += 2 if insn.opcode == op.LD_IMM64 else 1
            if targets is not None:
                blocks[start] = Block(start, index, targets)
                break
            if index >= length or index in leaders:
                blocks[start] = Block(start, index, (index,))
                break
    return blocks


def order_blocks(insns: Sequence[Insn], entry: int) -> list[Block]:
    """Blocks of a function in reverse postorder."""
    order = _reverse_postorder(blocks_from(insns, entry), entry)
    for number, block in enumerate(order):
        block.order = number
    return order


def analyse(order: list[Block]) -> None:
    """Fill in dominators and loops of a function's ordered blocks. Raises Irreducible."""
    blocks = {block.start: block for block in order}
    before: list[list[Block]] = [[] for _ in order]
    for block in order:
        for target in dict.fromkeys(block.next):
            if target in blocks:
                before[blocks[target].order].append(block)
    _dominators(order, before)
    _loops(order, before)


def _reverse_postorder(blocks: dict[int, Block], entry: int) -> list[Block]:
    """The taken branch comes after the code behind the jump, so that the order follows the source."""
    seen = {entry}
    done: list[Block] = []
    stack = [(blocks[entry], [t for t in blocks[entry].next if t in blocks])]
    while stack:
        block, left = stack[-1]
        while left:
            target = left.pop()
            if target not in seen:
                seen.add(target)
                stack.append((blocks[target], [t for t in blocks[target].next if t in blocks]))
                break
        else:
            done.append(block)
            stack.pop()
    done.reverse()
    return done


def _dominators(order: list[Block], before: list[list[Block]]) -> None:
    """Cooper, Harvey, Kennedy: A Simple, Fast Dominance Algorithm."""
    immediate = [-1] * len(order)
    immediate[0] = 0
    left = work_limit(len(order))
    changed = True
    while changed:
        changed = False
        for number in range(1, len(order)):
            new = -1
            for pred in reversed(before[number]):  # last first: many jumps to one exit are then one walk up
                other = pred.order
                if immediate[other] < 0:
                    continue
                if new < 0:
                    new = other
                    continue
                while new != other:
                    left -= 1
                    while other > new:
                        left -= 1
                        other = immediate[other]
                    while new > other:
                        left -= 1
                        new = immediate[new]
                if left < 0:
                    raise Irreducible
            if new != immediate[number]:
                immediate[number] = new
                changed = True
    for number in range(1, len(order)):
        order[number].dominator = order[immediate[number]]
        order[number].depth = order[immediate[number]].depth + 1


def _intervals(order: list[Block]) -> tuple[list[int], list[int]]:
    """Numbers of a walk through the dominator tree: block b lies under a when its number is in a's
    [first, end)."""
    size = [1] * len(order)
    for block in reversed(order[1:]):
        assert block.dominator is not None
        size[block.dominator.order] += size[block.order]
    first = [0] * len(order)
    free = [1] * len(order)  # the number that the next child gets
    for block in order[1:]:
        assert block.dominator is not None
        parent = block.dominator.order
        first[block.order] = free[parent]
        free[parent] += size[block.order]
        free[block.order] = first[block.order] + 1
    return first, [number + count for number, count in zip(first, size, strict=True)]


def _loops(order: list[Block], before: list[list[Block]]) -> None:
    """Natural loops; inner ones are found first because headers are taken last to first."""
    left = work_limit(len(order))
    first, end = _intervals(order)
    for header in reversed(order):
        latches = []
        for pred in before[header.order]:
            if pred.order < header.order:
                header.forward += 1
            elif first[header.order] <= first[pred.order] < end[header.order]:
                latches.append(pred)
            else:
                raise Irreducible
        if not latches:
            continue
        header.is_header = True
        body = {header.order}
        todo = list(latches)
        while todo:
            block = todo.pop()
            if block.order in body:
                continue
            body.add(block.order)
            todo += before[block.order]
        left -= len(body)
        if left < 0:
            raise Irreducible
        for number in body:
            block = order[number]
            if block.loop is None:
                block.loop = header
            elif block.is_header and block.around is None and block is not header:
                block.around = header
        # A block of an inner loop keeps that loop; its header learns above what is around it.
