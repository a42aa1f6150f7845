"""One verification: everything that the checks share. The checks are functions over an `Env`, one module a subject."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from bombus.asm.kernel import KernelStyle
from bombus.errors import NotSupported
from bombus.isa.insn import Insn
from bombus.spec.version import since
from bombus.verifier import bounds, bounds_early, tnum
from bombus.verifier.bounds import ANY, ANY32, ANY64, CONSISTENT, NO_SINGLE, Bounds, Range, const, violation
from bombus.verifier.bounds_alu import truncate
from bombus.verifier.log import LEVEL2, LEVELS, Log
from bombus.verifier.program import (
    F_ANY_ALIGNMENT,
    F_SLEEPABLE,
    F_STRICT_ALIGNMENT,
    F_TEST_REG_INVARIANTS,
    F_TEST_STATE_FREQ,
    LineInfo,
    MapInfo,
    Program,
    Refused,
)
from bombus.verifier.regs import (
    PTR_TO_STACK,
    SCALAR_VALUE,
    UNINIT,
    UNKNOWN,
    UNKNOWN_PRECISE,
    Reg,
    known,
    type_name,
)
from bombus.verifier.rules import Rules
from bombus.verifier.slot_live import SlotLiveness
from bombus.verifier.state import Frame, History, Reference, State
from bombus.verifier.tnum import Tnum

if TYPE_CHECKING:
    from bombus.btf.parse import Btf
    from bombus.verifier.attach import Target
    from bombus.verifier.branch import Outcome
    from bombus.verifier.kfuncs import Kfunc
    from bombus.verifier.loops import Visit
    from bombus.verifier.prototypes import Proto

# Limits (Linux 6.12 include/linux/bpf.h, include/linux/bpf_verifier.h).
MAX_INSNS: Final = 1_000_000
MAX_PENDING: Final = 8192
MAX_STATES_PER_INSN: Final = 64
MAX_SUBPROGS: Final = 256
MAX_FRAMES: Final = 8
MAX_STACK: Final = 512
MAX_MAPS: Final = 64
MAX_VAR_OFF: Final = 1 << 29
MAX_VAR_SIZE: Final = 1 << 29
MAX_PACKET_OFF: Final = 0xFFFF
ALL_TOUCHED: Final = (1 << 64) - 1
TYPED_SINCE: Final = since("6.12")  # how kernels before treat pointers to their own types is not known here

# How memory is accessed.
READ: Final = 0
WRITE: Final = 1

EPERM: Final = 1
ENOENT: Final = 2
ESRCH: Final = 3
E2BIG: Final = 7
EBADF: Final = 9
EACCES: Final = 13
EFAULT: Final = 14
EBUSY: Final = 16
EEXIST: Final = 17
EINVAL: Final = 22
ERANGE: Final = 34
EPROTO: Final = 71
EOPNOTSUPP: Final = 95
ENOTSUPP: Final = 524

# What a piece of history says beside the jump (Linux 6.12 include/linux/bpf_verifier.h: INSN_F_*).
F_STACK_ACCESS: Final = 1
F_DST_STACK: Final = 2
F_SRC_STACK: Final = 4

NO_CALLBACK: Final = -1  # Aux.callback
SEVERAL_CALLBACKS: Final = -2


class Aux:
    """What the verifier learns about one instruction over all paths."""

    __slots__ = (
        "access",
        "after",
        "alu",
        "barrier",
        "barrier_after",
        "before",
        "before_a",
        "before_b",
        "bounds_after",
        "callback",
        "calls_callback",
        "constant",
        "fastcall_pattern",
        "fastcall_spills",
        "force_checkpoint",
        "jump_point",
        "jump_target",
        "loop_function",
        "loop_inlines",
        "map",
        "map_off",
        "map_poisoned",
        "next_of_iterator",
        "outcome",
        "pointer_operand",
        "pointer_type",
        "prune_point",
        "scalar_after",
        "seen",
        "stack_argument",
        "stack_number",
        "step",
        "variable",
    )

    def __init__(self) -> None:
        self.access = 0  # kinds of memory that it touches, of isa.facts
        self.alu: tuple[int, int] | None = None
        self.barrier = False  # against speculation, before the instruction
        self.barrier_after = False  # after a store that could hide what it overwrites
        self.callback = NO_CALLBACK  # where the function begins that another helper than bpf_loop always calls
        self.calls_callback = False
        self.fastcall_pattern = False
        self.fastcall_spills = 0
        self.force_checkpoint = False
        self.jump_point = False
        self.jump_target = False
        self.loop_function = -1  # where what a bpf_loop calls begins; loop_inlines: always the same, with flags 0
        self.loop_inlines = False
        self.map: MapInfo | None = None
        self.map_off = 0
        self.map_poisoned = False
        self.next_of_iterator = False  # a call of bpf_iter_*_next
        self.pointer_operand = 0  # of an addition or subtraction, of isa.facts
        self.pointer_type = 0
        self.prune_point = False
        self.seen = False
        self.variable: Reg | None = None  # what a ld_imm64 of a kernel symbol yields
        self.stack_number = False  # a pointer into the stack may become a number here
        self.stack_argument = False  # a pointer into the stack goes to a callee, or into memory
        self.step: tuple[int, int] | None = None  # of the other operand: smin, smax; it is precise, so all paths count
        # Paths mostly bring the same values to an instruction: what the last ones gave is kept.
        self.constant: Reg | None = None  # its immediate
        self.before: Reg | None = None  # a pointer that it moved or loaded through, and what it gave
        self.after: Reg | None = None
        self.before_a: Bounds | None = None  # operands, what is known of the result, and the result as a plain scalar
        self.before_b: Bounds | None = None
        self.bounds_after: Bounds | None = None
        self.scalar_after: Reg | None = None
        self.outcome: Outcome | None = None


@dataclass(slots=True)
class Argument:
    """How a function sees one argument: `kind` is "scalar", "ctx", "mem", "dynptr", "typed" or "arena".

    size: bytes of memory; btf_id, flags: the kernel's struct behind a typed pointer, and how far it is trusted.
    """

    kind: str
    size: int = 0
    nullable: bool = False
    btf_id: int = 0
    flags: int = 0


@dataclass(slots=True)
class Subprog:
    start: int
    end: int = 0
    name: str = ""
    linkage: int = 0  # 0 static, 1 global, 2 extern
    type_id: int = 0
    stack_depth: int = 0
    has_tail_call: bool = False
    has_ld_abs: bool = False
    tail_call_reachable: bool = False
    is_callback: bool = False
    is_async_callback: bool = False
    changes_packet: bool = False
    might_sleep: bool = False
    fastcall_stack_off: int = 0
    keep_fastcall_stack: bool = False
    arguments: list[Argument] | None = None
    unreliable: bool = False
    called: bool = False
    verified: bool = False


class Pending:
    """A path that waits to be explored."""

    __slots__ = ("insn", "log_position", "previous", "state")

    def __init__(self, state: State, insn: int, previous: int, log_position: int) -> None:
        self.state = state
        self.insn = insn
        self.previous = previous
        self.log_position = log_position


Recorder = Callable[[int, State], None]
Check = Callable[["Env", Insn], None]


class Env:
    """The state of one verification."""

    __slots__ = (
        "after",
        "alu_table",
        "arena",
        "aux",
        "back_edges",
        "bpf_capable",
        "bucket_sizes",
        "bypass_spec_v1",
        "bypass_spec_v4",
        "checks",
        "compares_live",
        "compatible",
        "current_history",
        "entering",
        "exception_callback",
        "explore_alu_limits",
        "explored",
        "extends",
        "free_states",
        "gpl",
        "has_btf",
        "id_gen",
        "idmap",
        "idmap_cur",
        "idmap_next",
        "insn_idx",
        "insn_line_end",
        "insn_line_width",
        "insns",
        "jumps",
        "jumps_before",
        "kept_states",
        "kfuncs",
        "last_line",
        "leaks_allowed",
        "line_at",
        "live_before",
        "log",
        "mark_read_walk",
        "marked",
        "max_ctx_offset",
        "max_states_per_insn",
        "peak_states",
        "pending",
        "postorder",
        "previous_insn",
        "prints",
        "prints_all",
        "processed",
        "processed_before",
        "program",
        "prototypes",
        "reaches",
        "reaching",
        "recorder",
        "rules",
        "sane_at",
        "scc",
        "sleepable",
        "slot_live",
        "state",
        "straight",
        "strict_alignment",
        "style",
        "subprog_at",
        "subprogs",
        "sync",
        "target",
        "test_invariants",
        "test_state_freq",
        "texts",
        "throws",
        "to_clean",
        "total_states",
        "touched_regs",
        "touched_slots",
        "truncate",
        "uninit_stack_allowed",
        "unknown",
        "unknown_bytes",
        "used_maps",
        "visits",
    )

    def __init__(self, program: Program, recorder: Recorder | None = None) -> None:
        self.program = program
        self.recorder = recorder
        self.rules = Rules.of(program.version)
        self.log = Log(program.log_level, program.log_size)
        self.prints = program.log_level & LEVELS != 0
        self.prints_all = program.log_level & LEVEL2 != 0
        self.insns: list[Insn] = list(program.insns)
        self.aux = [Aux() for _ in self.insns]
        caps = program.privileges
        self.bpf_capable = caps.bpf
        self.leaks_allowed = caps.perfmon
        self.uninit_stack_allowed = caps.perfmon
        self.bypass_spec_v1 = caps.perfmon
        self.bypass_spec_v4 = caps.perfmon
        self.strict_alignment = bool(program.flags & F_STRICT_ALIGNMENT) and not program.flags & F_ANY_ALIGNMENT
        self.test_state_freq = caps.bpf and bool(program.flags & F_TEST_STATE_FREQ)
        self.test_invariants = bool(program.flags & F_TEST_REG_INVARIANTS)
        self.sleepable = bool(program.flags & F_SLEEPABLE)
        self.gpl = program.license in GPL_COMPATIBLE
        self.has_btf = bool(program.func_info)
        self.sane_at = CONSISTENT | NO_SINGLE if self.rules.single_values else CONSISTENT
        if not self.rules.range_invariants:
            self.sane_at = 0  # nobody looks
        # How the views of a scalar sharpen each other.
        early = not self.rules.compare_ranges
        self.sync: Final[Callable[[Tnum, Range, Range], Bounds]] = bounds_early.sync if early else bounds.sync
        self.truncate: Final[Callable[[Bounds, int], Bounds]] = bounds_early.truncate if early else truncate
        self.unknown = UNKNOWN if caps.bpf else UNKNOWN_PRECISE
        # By number of bytes, what they are as a scalar when nothing is known of them.
        self.unknown_bytes = {size: self.unknown.with_bounds(self.truncate(ANY, size)) for size in (1, 2, 4)}
        self.subprogs: list[Subprog] = []
        self.subprog_at: dict[int, int] = {}
        self.line_at: dict[int, LineInfo] = {}
        self.used_maps: list[MapInfo] = []
        self.arena: MapInfo | None = None
        self.target: Target | None = None  # what the program attaches to through BTF
        self.extends = False  # it replaces a function of another program, whose type it has taken over
        self.live_before: list[int] = []
        self.scc: list[int] = []
        self.after: list[tuple[int, ...]] = []  # by instruction, those that may follow
        self.postorder: dict[int, list[int]] = {}  # by start of a subprogram, its instructions
        self.slot_live: SlotLiveness | None = SlotLiveness() if self.rules.static_liveness else None
        self.marked = self.slot_live is None  # what is read is marked on states (see live)
        self.compares_live = self.rules.live_registers and recorder is None  # states only by their live registers
        self.alu_table = self.rules.alu_table
        # By instruction, what checks it, None for jumps; the same, but None also where checkpoints are, and at the end.
        self.checks: list[Check | None] = []
        self.straight: list[Check | None] = []

        self.state: State = State([Frame(-1, 0, 0, marked=self.marked)], 0)
        self.pending: list[Pending] = []
        self.kfuncs: dict[tuple[int, int], Kfunc] = {}  # by BTF id and place in fd_array, those that the program calls
        self.throws = False
        self.exception_callback = -1  # where the program's callback for exceptions begins
        self.explored: dict[tuple[int, int], list[State]] = {}  # checkpoints, by the kernel's list and instruction
        self.bucket_sizes = [0] * len(self.insns)  # of the kernel's lists
        self.to_clean: dict[int, list[State]] = {}  # by instruction, finished checkpoints not yet cleaned
        self.current_history: History | None = None
        self.id_gen = 0
        self.idmap: dict[int, int] = {}
        self.idmap_cur: set[int] = set()
        self.idmap_next = 0
        self.insn_idx = 0
        self.previous_insn = -1
        self.explore_alu_limits = False

        self.processed = 0
        self.processed_before = 0
        self.jumps = 0
        self.jumps_before = 0
        self.total_states = 0
        self.peak_states = 0
        self.kept_states = 0
        self.free_states = 0
        self.back_edges = 0
        self.visits: dict[tuple[int, ...], Visit] = {}
        self.max_states_per_insn = 0
        self.max_ctx_offset = 0
        self.mark_read_walk = 0

        self.touched_regs = 0
        self.touched_slots = 0
        self.entering: Frame | None = None  # a callback that the path goes on in, before callbacks converged
        self.insn_line_end = 0
        self.insn_line_width = 0
        self.last_line: LineInfo | None = None
        self.style: KernelStyle | None = None
        self.texts: dict[int, str] = {}
        self.prototypes: dict[int, Proto | None] = {}  # see prototypes.prototype
        self.compatible: set[tuple[int, int]] = set()  # helpers and types of maps that go together
        self.reaching: dict[int, bytearray] = {}
        self.reaches: list[int] = []  # see precision.reaches

    def kernel_btf(self, what: str) -> Btf:
        """The kernel's types. NotSupported, naming `what` needs them, without those of the program's kernel."""
        btf = self.program.vmlinux
        if btf is None:
            raise NotSupported(f"verification of {what}", f"it needs the BTF of Linux {self.program.version}")
        if self.program.version < TYPED_SINCE:
            raise NotSupported(
                f"verification of {what} as Linux {self.program.version} does",
                f"bombus knows how kernel types are checked from {TYPED_SINCE} on",
            )
        return btf

    def module_btf(self, fd: int, what: str) -> Btf:
        """The types of a kernel module. NotSupported, naming `what` needs them, when they were not given."""
        btf = self.program.modules.get(fd)
        if btf is None:
            raise NotSupported(f"verification of {what}", "their BTF is not here")
        return btf

    # Registers of the running frame.

    @property
    def frame(self) -> Frame:
        return self.state.frames[-1]

    @property
    def regs(self) -> list[Reg]:
        return self.state.frames[-1].regs

    def frame_of(self, reg: Reg) -> Frame:
        """Whose stack a stack pointer points to."""
        return self.state.frames[reg.frame]

    def new_id(self) -> int:
        self.id_gen += 1
        return self.id_gen

    def known(self, number: int) -> Reg:
        """A constant scalar as an instruction makes it."""
        return known(number, not self.bpf_capable)

    def invalid(self) -> Reg:
        """What becomes of a register whose pointer is no longer valid."""
        return self.unknown if self.leaks_allowed else UNINIT

    def is_pointer(self, reg: Reg) -> bool:
        """Whether the register must be kept secret from the program's owner."""
        return not self.leaks_allowed and reg.type != SCALAR_VALUE

    def note_stack_argument(self, regno: int) -> None:
        """Whoever is called here, or reads what is stored here, may look at the stack by its address."""
        if self.state.frames[-1].regs[regno].type == PTR_TO_STACK:
            self.aux[self.insn_idx].stack_argument = True

    def note_stack_number(self, reg: Reg) -> None:
        """What the register becomes here, or what is read where it is stored, may be taken for a number."""
        if reg.type == PTR_TO_STACK:
            self.aux[self.insn_idx].stack_number = True

    def references(self, frame: Frame) -> tuple[Reference, ...]:
        return frame.refs

    # Words.

    def say(self, text: str) -> None:
        if self.log.level:
            self.log.write(text)

    def defect(self, text: str) -> NoReturn:
        """Refuse the program for what the kernel takes for an error of its own."""
        self.fail(EFAULT, f"verifier {'bug' if self.rules.bugs_named else 'internal error'}: {text}")

    def fail(self, errno: int, text: str = "") -> NoReturn:
        """Refuse the program. `text` is the kernel's message, a line without its end."""
        if text and self.log.level:
            self.log.write(text + "\n")
        raise Refused(errno, self.insn_idx)

    def line_of(self, insn: int) -> LineInfo | None:
        """The line record that covers an instruction."""
        return self.line_at.get(insn)

    def subprog_of(self, insn: int) -> int:
        """The number of the subprogram that contains an instruction."""
        low, high = 0, len(self.subprogs) - 1
        while low < high:
            middle = (low + high + 1) // 2
            if self.subprogs[middle].start <= insn:
                low = middle
            else:
                high = middle - 1
        return low

    def note_peak(self) -> None:
        """States in memory, as Linux 6.17 and later count them."""
        self.peak_states = max(self.peak_states, self.kept_states + self.free_states + self.back_edges)

    # Paths.

    def push(self, insn: int, previous: int, *, speculative: bool = False) -> State:
        """Queue a copy of the current state to go on at `insn`."""
        state = self.state.copy()
        self.pending.append(Pending(state, insn, previous, self.log.position))
        if speculative:
            state.speculative = True
        if len(self.pending) > MAX_PENDING:
            # Observed of conditional jumps.
            errno = E2BIG if self.rules.fastcall and not self.rules.too_many_paths_fault else EFAULT
            self.fail(errno, f"The sequence of {len(self.pending)} jumps is too complex.")
        if state.parent is not None:
            state.parent.branches += 1
        return state

    def name(self, type_: int) -> str:
        """A pointer type as messages name it."""
        name = type_name(type_)
        return name if self.rules.release_by_offset else name.replace("ringbuf_mem", "alloc_mem")

    def sane(self, reg: Reg, where: str) -> Reg:
        """The register, or one without ranges when its ranges contradict each other."""
        bounds = reg.bounds
        if bounds.checked >= (self.sane_at if reg.type == SCALAR_VALUE else CONSISTENT):
            return reg
        if not self.sane_at:
            return reg
        if self.rules.single_values and reg.type == SCALAR_VALUE and bounds.r64[0] != bounds.r64[1]:
            reg = single(reg)
            bounds = reg.bounds
        text = violation(bounds)
        if text and self.rules.single_values and reg.type == SCALAR_VALUE and bounds.is_const:
            number = bounds.bits[0]
            if bounds.r64[0] == bounds.r64[1] == number:
                # Its only value was found before the 32-bit views were looked at.
                reg = reg.but(bounds=const(number))
                bounds = reg.bounds
                text = ""
        if not text:
            bounds.checked |= self.sane_at if reg.type == SCALAR_VALUE else CONSISTENT
            return reg
        umin, umax, smin, smax = bounds.r64
        umin32, umax32, smin32, smax32 = bounds.r32
        value, mask = bounds.bits
        prefix = "verifier bug: " if self.rules.bugs_named else ""
        self.say(
            f"{prefix}REG INVARIANTS VIOLATION ({where}): {text} u64=[{umin:#x}, {umax & (1 << 64) - 1:#x}] "
            f"s64=[{smin & (1 << 64) - 1:#x}, {smax & (1 << 64) - 1:#x}] u32=[{umin32:#x}, {umax32 & 0xFFFFFFFF:#x}] "
            f"s32=[{smin32 & 0xFFFFFFFF:#x}, {smax32 & 0xFFFFFFFF:#x}] var_off=({value:#x}, {mask:#x})\n"
        )
        if self.test_invariants:
            raise Refused(EFAULT, self.insn_idx)
        return reg.but(bounds=Bounds(bounds.bits, ANY64, ANY32))


def single(reg: Reg) -> Reg:
    """The scalar as a constant when only one number of its unsigned range has its known bits."""
    value, mask = reg.bounds.bits
    umin, umax = reg.bounds.r64[:2]
    following = tnum.after(value, mask, umin)
    if umin & ~mask == value:
        if following <= umax:
            return reg
        return reg.but(bounds=const(umin))
    if following == value | mask or following <= umax < tnum.after(value, mask, following):
        return reg.but(bounds=const(following))
    return reg


# include/linux/license.h: license_is_gpl_compatible
GPL_COMPATIBLE: Final = frozenset(
    ("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL")
)
