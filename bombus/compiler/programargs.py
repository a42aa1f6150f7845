
"""Programs that name their arguments: where in the context each lies."""

from __future__ import annotations

import ast
from typing import Final

from bombus.bpf.context import Context
from bombus.bpf.contexts import PtRegs
from bombus.compiler import tree
from bombus.compiler.check import Checker
from bombus.compiler.types import BOOL, IntT, RefT, Type

_COMPUTED: Final = frozenset({"ksyscall", "usdt", "usdt.s"})
# Registers of a system call's arguments (x86-64: the fourth is in r10)
_SYSCALL: Final = ("di", "si", "dx", "r10", "r8", "r9")
# Kinds of sections whose context is a row of registers
_ROWS: Final = frozenset({
    "tp_btf", "fentry", "fexit", "fmod_ret", "fentry.s", "fexit.s", "fmod_ret.s", "lsm", "lsm.s", "lsm_cgroup",
    "struct_ops", "struct_ops.s", "raw_tracepoint", "raw_tp", "raw_tracepoint.w", "raw_tp.w",
})  # fmt: skip
_PROBES: Final = ("kprobe", "kretprobe", "uprobe", "uretprobe", "kretsyscall")
# System V AMD64: arguments of a function, and what it returns
_REGISTERS: Final = ("di", "si", "dx", "cx", "r8", "r9")
_RESULT: Final = "ax"
_MOST: Final = 12  # MAX_BPF_FUNC_ARGS


def place_arguments(c: Checker, made: tree.Function, nodes: list[ast.arg]) -> None:
    """Fill in `loads` of a program with typed arguments, and where its references point. Does nothing when its one
    parameter is the context."""
    base = made.section.removeprefix("?").partition("/")[0]
    if base in _COMPUTED:
        _compute_arguments(c, made, nodes, base)
        return
    row, probe = base in _ROWS, base.split(".")[0] in _PROBES
    if not (row or probe) or not made.params or (len(made.params) == 1 and _whole(made.params[0].type)):
        return
    first = _context(made.params[0].type)
    if first is not None and probe and first is not PtRegs:
        c.wrong(nodes[0], f"programs in {made.section} get a struct pt_regs, not {first.__name__}",
                "annotate it: ctx: contexts.PtRegs")  # fmt: skip
    registers = _registers(base, probe)
    given = len(made.params) - (first is not None)
    if given > len(registers):
        c.wrong(nodes[-1], f"programs in {made.section} get {len(registers)} argument{'s' * (len(registers) != 1)}",
                "name those that are used, in order")  # fmt: skip
    for index, (variable, node) in enumerate(zip(made.params, nodes, strict=True)):
        if not index and first is not None:
            made.loads.append(-1)
            continue
        variable.type = _argument(c, node, variable.type, base, row)
        made.loads.append(registers[index - (first is not None)])


def _compute_arguments(c: Checker, made: tree.Function, nodes: list[ast.arg], base: str) -> None:
    """Arguments that code of `bombus.bpf.arguments` finds: the function's one parameter is the context then."""
    if not made.params or (len(made.params) == 1 and _whole(made.params[0].type)):
        return
    from bombus.bpf.arguments import MOST_USDT, syscall_argument, usdt_argument
    from bombus.bpf.ints import s64, u32, u64

    params = list(zip(made.params, nodes, strict=True))
    ctx = tree.Variable("ctx.", RefT(PtRegs, "ctx"))
    if _context(made.params[0].type) is PtRegs:
        ctx = params.pop(0)[0]
    most = len(_SYSCALL) if base == "ksyscall" else MOST_USDT
    if len(params) > most:
        c.wrong(params[most][1], f"programs in {made.section} get {most} arguments",
                "name those that are used, in order")  # fmt: skip
    c.program.needs_gpl(c, params[0][1], "reading these arguments (probe_read_kernel)")
    find = syscall_argument if base == "ksyscall" else usdt_argument
    for index, (variable, node) in enumerate(params):
        if not isinstance(variable.type, IntT) and variable.type != BOOL:
            c.wrong(node, f"{node.arg} is a number or an address in user memory, not {variable.type}",
                    f"annotate it: {node.arg}: u64, and use helpers.probe_read_user(...)")  # fmt: skip
        where = PtRegs.LAYOUT.members[_SYSCALL[index]].offset if base == "ksyscall" else index

        def compute(
            checker: Checker, node: ast.arg = node, kind: Type = variable.type, number: int = where
        ) -> tree.Expr:  # fmt: skip
            at = checker.at(node)
            function = checker.program.function(find, checker, node)
            checker.function.calls.add(function.name)
            which = tree.Const(at, IntT(u64 if base == "ksyscall" else u32), number)
            return tree.Cast(at, kind, tree.Call(at, IntT(s64), function, [tree.Read(at, ctx.type, ctx), which]))

        made.computed.append((variable, compute))
    made.params = [ctx]


def _registers(base: str, probe: bool) -> list[int]:
    """Offsets in the context."""
    if not probe:
        return [index * 8 for index in range(_MOST)]
    members = PtRegs.LAYOUT.members
    names = (_RESULT,) if "ret" in base else _REGISTERS
    return [members[name].offset for name in names]


def _whole(kind: Type) -> bool:
    """Is this a context of its own, and no argument?"""
    return isinstance(kind, RefT) and kind.is_struct and not kind.target.CORE and not kind.nullable


def _context(kind: Type) -> type[Context] | None:
    if isinstance(kind, RefT) and kind.is_struct and issubclass(kind.target, Context):
        found: type[Context] = kind.target
        return found
    return None


def _argument(c: Checker, node: ast.arg, kind: Type, base: str, row: bool) -> Type:
    """The type of an argument, with the memory that it points to."""
    if isinstance(kind, IntT) or kind == BOOL:
        return kind
    if not isinstance(kind, RefT):
        c.wrong(node, f"{kind} is no type of an argument", "u8 to u64, s8 to s64, bool and kernel structs are")
    if base.startswith(("uprobe", "uretprobe")):
        c.wrong(node, f"{node.arg} points to memory of a user program",
                f"annotate it: {node.arg}: u64, and use helpers.probe_read_user(...)")  # fmt: skip
    if not kind.is_struct or not kind.target.CORE:
        c.wrong(node, f"{node.arg} points to memory of the kernel, {kind} is no struct of the kernel",
                f"annotate it: {node.arg}: u64, or declare the struct with core=True")  # fmt: skip
    direct = row and not base.startswith("raw_")
    return RefT(kind.target, "btf" if direct else "kernel", kind.nullable)
