"""Functions of programs as targets: what is attached to them, and programs that run with it.

A call of such a function becomes a call of a helper of its own, which runs what is attached, and the function between.
A program that nothing is attached to knows nothing of this: its code is another one. What is attached to the main
function alone needs no other code: it is run around it.

Linux 6.12 kernel/bpf/trampoline.c (__bpf_trampoline_link_prog, bpf_freplace_check_tgt_prog: who may be where),
arch/x86/net/bpf_jit_comp.c (a tail call enters behind the place where a trampoline would be called).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from bombus.bits import U64
from bombus.btf.types import Func, FuncProto
from bombus.errors import KernelError, VmFault
from bombus.isa import opcodes as op
from bombus.kernel.user.kernelviews import Views
from bombus.kernel.user.maps.fdarray import EXTENDED_ALONE, ProgArrayMap
from bombus.kernel.user.progfault import located
from bombus.kernel.user.progverify import types_of
from bombus.kernel.user.trampoline import MOST, Attached, run_attached
from bombus.verifier.btfkit import argument_words, type_or_none
from bombus.vm.engines import engine

if TYPE_CHECKING:
    from bombus.btf.parse import Btf
    from bombus.isa.facts import Facts
    from bombus.isa.insn import Insn
    from bombus.kernel.user.prog import Prog
    from bombus.kernel.user.progenv import ProgEnv
    from bombus.kernel.user.userlink import UserLink
    from bombus.vm.env import Compiled, HelperFn
    from bombus.vm.run import Run

CALL: Final = "BPF_LINK_CREATE"
_HOOK: Final = 0x4000_0000  # helpers from here on: the function at instruction n
_REG_ARGS: Final = 5


class Point:
    """One function. entry: its instruction; words: how many of its arguments are told (five where its types say nothing
    reliable); before, after: fentry and fexit programs, the newest first."""

    def __init__(self, prog: Prog, type_id: int, entry: int) -> None:
        self.prog = prog
        self.type_id = type_id
        self.entry = entry
        self.before: list[Attached] = []
        self.after: list[Attached] = []
        self.extension: Prog | None = None
        btf = types_of(prog.btf)
        self.proto = None if _unreliable(prog, type_id) else _proto(btf, type_id)
        self.words = _REG_ARGS if self.proto is None or btf is None else argument_words(btf, self.proto)
        self.name = _name(btf, type_id)
        self._views = Views(prog, btf, self.proto)

    def __bool__(self) -> bool:
        return bool(self.before or self.after or self.extension)

    def check(self, prog: Prog) -> None:
        """NotSupported for a program that cannot be shown what it looks at."""
        self._views.check(prog)

    def reach(self, args: Sequence[int], body: Callable[[], int]) -> int:
        """Run what is attached, and the function itself."""
        args = (*args, 0, 0, 0, 0, 0)[:_REG_ARGS]
        if self.extension is not None:
            return _instead(self.extension, args)
        before, after = self.before[:], self.after[:]  # a link that goes meanwhile goes for the next call
        kernel = self.prog.kernel
        memory = kernel.memory
        with self._views.of(args) as shown:
            words = [self.words, *(arg & U64 for arg in shown[: self.words]), 0]
            # As `trampoline.called` has it: their count before the arguments, the result behind them.
            ctx = memory.allocate(8 * len(words), name=f"the arguments of {self.name}", kind="ctx")
            try:
                for one in before:
                    ctx.view[:] = struct.pack(f"<{len(words)}Q", *words)
                    run_attached(kernel, one, ctx.start + 8)
                result = words[-1] = body() & U64
                for one in after:
                    ctx.view[:] = struct.pack(f"<{len(words)}Q", *words)
                    run_attached(kernel, one, ctx.start + 8)
                return result
            finally:
                memory.remove(ctx)


def _instead(extension: Prog, args: Sequence[int]) -> int:
    compiled = extension.compiled
    try:
        return compiled.call(compiled.base, args)
    except VmFault as fault:
        if fault.owner is None:
            fault.owner = compiled
        raise located(extension, fault) from None


def _unreliable(prog: Prog, type_id: int) -> bool:
    return any(one[1] == type_id and one[2] for one in prog.functions or ())


def _proto(btf: Btf | None, type_id: int) -> FuncProto | None:
    function = type_or_none(btf, type_id) if btf is not None else None
    proto = type_or_none(btf, function.type) if btf is not None and isinstance(function, Func) else None
    return proto if isinstance(proto, FuncProto) else None


def _name(btf: Btf | None, type_id: int) -> str:
    function = type_or_none(btf, type_id) if btf is not None else None
    return function.name if function is not None else f"function {type_id}"


def _entry(prog: Prog, type_id: int) -> int:
    size, records = prog.func_info
    for at in range(0, len(records), size or 1):
        insn, number = struct.unpack_from("<II", records, at)
        if number == type_id:
            return int(insn)
    raise KernelError(errno.EINVAL, CALL, f"the program has no function of type {type_id}")


class Watched:
    """What is attached to one program's functions."""

    def __init__(self, prog: Prog) -> None:
        self.prog = prog
        self.points: dict[int, Point] = {}  # by instruction
        self._forms: dict[frozenset[int], Compiled] = {frozenset(): prog.compiled}
        self._around = WatchedProgram(self, prog.compiled)

    @property
    def is_extended(self) -> bool:
        return any(point.extension is not None for point in self.points.values())

    def _point(self, type_id: int) -> Point:
        entry = _entry(self.prog, type_id)
        point = self.points.get(entry)
        if point is None:
            point = self.points[entry] = Point(self.prog, type_id, entry)
        return point

    def check(self, type_id: int, *, extension: bool) -> Point:
        """The point of a function when another program may be attached there. KernelError(EBUSY, E2BIG)."""
        point = self._point(type_id)
        if point.extension is not None:
            raise KernelError(errno.EBUSY, CALL, f"{point.name} is replaced by a program")
        count = len(point.before) + len(point.after)
        if extension:
            if count:
                raise KernelError(errno.EBUSY, CALL, f"programs are attached to {point.name}")
            if _arrays(self.prog) and self.prog.kernel.version >= EXTENDED_ALONE:
                raise KernelError(errno.EBUSY, CALL, "the program is in an array of programs for tail calls")
        elif count >= MOST:
            raise KernelError(errno.E2BIG, CALL, f"{MOST} programs are attached to {point.name}")
        return point

    def add(self, point: Point, link: UserLink, cookie: int, *, after: bool) -> Callable[[], None]:
        """Attach a program that watches. Returns what takes it off again."""
        here = point.after if after else point.before
        here.insert(0, Attached(link, cookie))
        self._changed()

        def undo() -> None:
            here[:] = [one for one in here if one.link is not link]
            self._changed()

        return undo

    def replace(self, point: Point, extension: Prog) -> Callable[[], None]:
        """Have a function replaced. Returns what undoes that."""
        point.extension = extension
        self._changed()

        def undo() -> None:
            point.extension = None
            self._changed()

        return undo

    def _changed(self) -> None:
        """Take the code that goes with what is attached now."""
        prog = self.prog
        inside = frozenset(entry for entry, point in self.points.items() if point and entry)
        form = self._forms.get(inside)
        if form is None:
            env: Any = WatchedEnv(prog.env, self, inside)
            code = _calling(prog.xlated, inside)
            form = self._forms[inside] = engine(prog.kernel.engine).compile(code, env, prog.compiled.base)
            env.form = form
        self._around.form = form
        any_here = any(self.points.values())
        prog.compiled = self._around if any_here else form
        # Native code jumps to native code without asking.
        for item in _arrays(prog):
            item.forget_code()


def _arrays(prog: Prog) -> list[ProgArrayMap]:
    """The arrays for tail calls that a program is in."""
    arrays = [item for item in prog.kernel.ids["map"] if isinstance(item, ProgArrayMap)]
    return [item for item in arrays if any(other is prog for other in item.slots.values())]


def _calling(insns: Sequence[Insn], entries: frozenset[int]) -> list[Insn]:
    """The program with calls of these functions as calls of helpers."""
    return [
        insn._replace(src=0, imm=_HOOK + at + 1 + insn.imm)
        if insn.opcode == op.CALL and insn.src == op.BPF_PSEUDO_CALL and at + 1 + insn.imm in entries
        else insn
        for at, insn in enumerate(insns)
    ]


class WatchedEnv:
    """The surroundings of a program whose functions are watched: its own, and helpers that call them."""

    def __init__(self, env: ProgEnv, watched: Watched, entries: frozenset[int]) -> None:
        self.form: Compiled | None = None  # what was compiled for it
        self._env = env
        self._watched = watched
        self._entries = entries
        insns = env.prog.xlated
        self._calls = frozenset(
            at for at, insn in enumerate(insns)
            if insn.opcode == op.CALL and insn.src == op.BPF_PSEUDO_CALL and at + 1 + insn.imm in entries
        )  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    @property
    def facts(self) -> Facts | None:
        facts = self._env.facts
        if facts is None:
            return None
        loops = {at: function for at, function in facts.loops.items() if function not in self._entries}
        # Whoever is called instead may be code of another kind, which finds the stack by its address.
        return facts._replace(loops=loops, stack_arguments=facts.stack_arguments | self._calls)

    @property
    def called(self) -> frozenset[int]:
        return self._env.called | self._entries

    def helper(self, number: int) -> HelperFn:
        if number < _HOOK:
            return self._env.helper(number)
        entry = number - _HOOK
        points = self._watched.points

        def call(r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
            form, args = self.form, (r1, r2, r3, r4, r5)
            assert form is not None
            address = form.base + 8 * entry
            point = points[entry]
            return point.reach(args, lambda: form.call(address, args)) if point else form.call(address, args)

        return call


class WatchedProgram:
    """`vm.env.Compiled` of a program that something is attached to. form: its code."""

    def __init__(self, watched: Watched, form: Compiled) -> None:
        self._watched = watched
        self.form = form

    @property
    def base(self) -> int:
        return self.form.base

    def prepare(self) -> None:
        self.form.prepare()

    def native_form(self) -> Any:
        """Native code that a tail call goes to: past what is attached to the main function."""
        form: Any = self.form
        inner = getattr(form, "native_form", None)
        return form if inner is None and hasattr(form, "is_native") else inner() if inner is not None else None

    def run(self, ctx: int) -> int:
        form = self.form
        point = self._watched.points.get(0)
        if not point:
            return form.run(ctx)
        return point.reach((ctx, 0, 0, 0, 0), lambda: form.run(ctx))

    def enter(self, ctx: int, run: Run) -> int:
        return self.form.enter(ctx, run)

    def call(self, address: int, args: Sequence[int]) -> int:
        form = self.form
        entry, rest = divmod(address - form.base, 8)
        point = self._watched.points.get(entry) if not rest else None
        if not point:
            return form.call(address, args)
        return point.reach(args, lambda: form.call(address, args))
