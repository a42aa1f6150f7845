"""How verifiers differ between kernel versions: one row for each change of behaviour.

`Rules.of(version)` freezes the rows into plain attributes, so that the checks read a bool.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from bombus.errors import NotSupported
from bombus.spec.version import KernelVersion, since
from bombus.verifier import OLDEST
from bombus.verifier.bounds import Bounds
from bombus.verifier.bounds_alu import MUL_BY_CASES, SIGNED_MUL, UNSIGNED_MUL, WRAPPING


class Change(NamedTuple):
    """From Linux `since` on, `name` is true."""

    name: str
    since: KernelVersion
    what: str


CHANGES: tuple[Change, ...] = (
    Change("static_liveness", since("6.18"), "what is read is no longer marked on states while they are verified"),
    Change("live_registers", since("6.15"), "registers' liveness is computed before verification"),
    Change("live_regs_log", since("6.15"), "level 2 logs begin with the registers live before each instruction"),
    Change("speculation_barriers", since("6.17"), "what may not be executed speculatively gets a barrier"),
    Change("loops_by_scc", since("6.17"), "loops are found before verification, and their states converge together"),
    Change("unions_are_numbers", since("6.13"), "arguments that are unions are numbers to programs"),
    Change("references_returned", since("6.15"), "struct_ops programs may hand a reference to the kernel as result"),
    Change("bugs_named", since("6.15"), "what should never happen is called a verifier bug"),
    Change("kptr_kinds_named", since("6.13"), "messages about accesses of kptrs name the kind of kptr"),
    Change("rcu_required", since("6.18"), "functions that RCU protects may be called in its sections only"),
    Change("fields_checked_alike", since("6.18"), "work queues are looked for in a map's value as timers are"),
    Change("percpu_kptrs_mixed", since("6.13"), "per-CPU kptrs take other objects too, which late 6.12 refuses"),
    Change("leaf_pointers", since("6.17"), "pointers to what is no struct are memory that may be read with probes"),
    Change("neg_tracked", since("6.17"), "the range of a negated scalar is known"),
    Change("acquire_release", since("6.15"), "load-acquire and store-release"),
    Change("timed_may_goto", since("6.15"), "may_goto counts time, not only steps"),
    Change("signed_multiply", since("6.14"), "products of signed ranges are tracked"),
    Change("refs_in_state", since("6.14"), "references, locks and disabled interrupts are one list of the whole state"),
    Change("helper_reads_keep_stack", since("6.14"), "what helpers only read of the stack stays known"),
    Change("pointer_halves_not_zero", since("6.13"), "the low half of a pointer counts as not zero, not in late 6.12"),
    Change("halves_forgotten_first", since("6.13"),
           "a moved pointer's 32-bit ranges are forgotten before a speculative path takes it, not in late 6.12"),
    Change("too_many_paths_fault", since("6.13"), "too many open paths: EFAULT, in late 6.12 E2BIG"),
    Change("offset_in_place", since("6.13"),
           "'scalar += pointer' adds in place; late 6.1 and 6.12 copy the pointer first, with its liveness"),
    Change("fetches_not_followed", since("6.13"), "precision does not follow atomic fetches, as late 6.12 does"),
    Change("null_args_not_precise", since("6.13"), "null arguments are not marked precise, as in late 6.1 and 6.12"),
    Change("dynptr_reads_logged", since("6.18"), "logs show the dynptrs that helpers read"),
    Change("swaps_tracked", since("6.18"), "the bits of byte-swapped scalars are known"),
    Change("states_stay_counted", since("6.17"), "the states of functions verified before count in the peak"),
    Change("linked_differences", since("6.18"), "scalars stay linked through 32-bit sums and differences"),
    Change("single_values", since("6.18"), "a range that meets the known bits in one value is that value"),
    Change("live_links", since("6.18"), "only live registers learn from the scalars that they are linked to"),
    Change("tail_call_exits_subprogs", since("6.18"), "a tail call that succeeds returns from the subprogram it is in"),
    Change("tail_call_map_named", since("6.18"), "a tail call with a map of another type has a message of its own"),
    Change("one_reference_argument", since("6.18"), "two arguments with references are the program's fault: EACCES"),
    Change("sleepable_effects", since("6.15"), "global functions that may sleep are known to do so"),
    Change("callback_exit_clears_args", since("6.18"), "going back, a callback's end forgets r1 to r5 of its caller"),
    Change("wrapping_sums", since("6.17"), "sums of which all values wrap around keep their range"),
    Change("multiply_by_cases", since("6.18"), "known bits of products follow both cases of each unknown bit"),
    Change("plain_memory_arguments", since("6.18"), "memory that is never null has no id as a function's argument"),
    Change("may_goto_zero", since("6.14"), "may_goto may go to the next instruction"),
    Change("private_stack", since("6.13"), "tracing programs' subprograms may have stacks of their own"),
    Change("constant_keys", since("6.14"), "lookups in arrays with a constant key inside the array are never null"),
    Change("fork_sign_masks", since("6.12"), "and/or with a constant forks on registers that are -1 or 0"),
    Change("cannot_use_helper", since("6.12"), "'program of this type cannot use helper' instead of 'unknown func'"),
    Change("fastcall", since("6.12"), "spills around calls that keep registers may vanish"),
    Change("packet_effects", since("6.12"), "global functions that move packet data are known to do so"),
    Change("ld_abs_exits_subprogs", since("6.1"), "a failed packet load returns from the subprogram it is in"),
    Change("ld_abs_in_callback_by_depth", since("6.12"), "packet loads are not allowed within callbacks"),
    Change("forget_ranges_on_not_set", since("6.1"), "ranges are forgotten where a tested bit is clear"),
    Change("linked_history", since("6.12"), "linked scalars are part of the history that precision follows"),
    Change("any_source", since("6.10"), "all but sums and 'and' are followed too when the second operand is unknown"),
    Change("linked_offsets", since("6.11"), "scalars that differ by a constant stay linked"),
    Change("cpu_number_bounded", since("6.10"), "the number of the CPU is known to be small"),
    Change("zeros_beside_spills", since("6.8"), "zeros beside a narrower spill stay known"),
    Change("lazy_globals", since("6.8"), "global functions are verified after the program, when they are called"),
    Change("plain_constants", since("6.8"), "messages show known bits of which all are known as a plain number"),
    Change("zero_size_named", since("6.8"), "a size that may be zero has a message of its own"),
    Change("stack_off_in_errors", since("6.8"), "messages about variable stack offsets name the fixed part too"),
    Change("dynptrs_guarded", since("6.3"), "what is on the stack of a dynptr cannot be overwritten unnoticed"),
    Change("part_spills_linked", since("6.8"), "a spilled part of a scalar learns what is learned of the scalar"),
    Change("any_memory_for_keys", since("6.2"), "keys and values may lie in any memory; trusted pointers are known"),
    Change("jit_stack_rounding", since("6.8"), "frames of compiled programs are rounded to 16 bytes"),
    Change("may_goto", since("6.9"), "the may_goto instruction"),
    Change("source_in_log", since("6.9"), "logs name the source file and line"),
    Change("smin_smax_in_errors", since("6.8"), "return values out of range are shown as smin and smax"),
    Change("argument_tags", since("6.8"), "__arg_ctx, __arg_nonnull and their kin"),
    Change("precise_history", since("6.8"), "stack accesses are part of the history that precision follows"),
    Change("exits_precise", since("6.8"), "what a program returns must be known precisely"),
    Change("precision_through_calls", since("6.4"), "precision is followed into and out of functions"),
    Change("long_history_kept", since("6.6"), "a long history makes a checkpoint"),
    Change("range_invariants", since("6.8"), "contradicting ranges are noticed after a condition"),
    Change("compare_ranges", since("6.8"), "jumps that compare two ranges are predicted and teach both"),
    Change("equal_not_null", since("6.3"), "what equals a pointer that is never null is not null"),
    Change("traced_tracers", since("6.8"), "tracing programs may attach to tracing programs, one deep"),
    Change("loops_on_any_edge", since("6.8"), "calls and fall-through may go back: recursion is found while walking"),
    Change("spills_any_scalar", since("6.9"), "spilled scalars without limits, and 0, stay known and linked"),
    Change("narrow_fills", since("6.9"), "part of a spilled scalar can be filled"),
    Change("lock_errnos", since("6.2"), "wrong locks are EINVAL, not EACCES"),
    Change("locks_across_functions", since("6.9"), "static functions may return with a lock held"),
    Change("functions_checked_early", since("6.7"), "func_info is looked at before the subprograms are known"),
    Change("target_checked_late", since("6.4"), "what the program attaches to is looked at after the control flow"),
    Change("sleepable_by_attach_type", since("6.2"), "whether a program may sleep depends on its attach type too"),
    Change("zeros_at_variable_offsets", since("6.3"), "0 stored at a variable stack offset stays known"),
    Change("kptr_errors_named", since("6.4"), "wrong kptr arguments are EINVAL and named by register"),
    Change("store_imm_to_context", since("6.3"), "constants may be stored to the context"),
    Change("release_by_offset", since("6.2"), "moved pointers that are released: EINVAL; ring buffer memory is named"),
    Change("maps_not_null", since("6.8"), "maps and plain memory count as pointers that are never null"),
    Change("narrow_moves_linked", since("6.8"), "32-bit copies of small scalars stay linked"),
    Change("ids_compared", since("6.3"), "states fit only when scalars and map values are linked alike"),
    Change("exact_loops", since("6.7"), "an infinite loop is one where nothing at all changed"),
    Change("callbacks_converge", since("6.7"), "callbacks are verified until their states converge"),
    Change("map_checks_once", since("6.14"), "a map is checked against the program once, not at each use"),
    Change("cpu_v4", since("6.6"), "gotol, bswap, sign-extending loads and moves, signed division"),
)

# The newest version whose verifier was compared with a real kernel's; newer ones are taken to be like it.
NEWEST = since("6.18")


@dataclass(frozen=True, slots=True)
class Rules:
    """What the verifier of one kernel version does. Each attribute is a row of CHANGES."""

    version: KernelVersion
    static_liveness: bool
    live_registers: bool
    live_regs_log: bool
    speculation_barriers: bool
    loops_by_scc: bool
    unions_are_numbers: bool
    references_returned: bool
    bugs_named: bool
    kptr_kinds_named: bool
    rcu_required: bool
    fields_checked_alike: bool
    percpu_kptrs_mixed: bool
    leaf_pointers: bool
    neg_tracked: bool
    acquire_release: bool
    timed_may_goto: bool
    signed_multiply: bool
    refs_in_state: bool
    helper_reads_keep_stack: bool
    pointer_halves_not_zero: bool
    halves_forgotten_first: bool
    too_many_paths_fault: bool
    offset_in_place: bool
    fetches_not_followed: bool
    null_args_not_precise: bool
    dynptr_reads_logged: bool
    swaps_tracked: bool
    states_stay_counted: bool
    linked_differences: bool
    single_values: bool
    live_links: bool
    tail_call_exits_subprogs: bool
    tail_call_map_named: bool
    one_reference_argument: bool
    sleepable_effects: bool
    callback_exit_clears_args: bool
    wrapping_sums: bool
    multiply_by_cases: bool
    plain_memory_arguments: bool
    may_goto_zero: bool
    private_stack: bool
    constant_keys: bool
    fork_sign_masks: bool
    cannot_use_helper: bool
    fastcall: bool
    packet_effects: bool
    ld_abs_exits_subprogs: bool
    ld_abs_in_callback_by_depth: bool
    forget_ranges_on_not_set: bool
    linked_history: bool
    any_source: bool
    linked_offsets: bool
    cpu_number_bounded: bool
    zeros_beside_spills: bool
    lazy_globals: bool
    plain_constants: bool
    zero_size_named: bool
    stack_off_in_errors: bool
    dynptrs_guarded: bool
    part_spills_linked: bool
    any_memory_for_keys: bool
    jit_stack_rounding: bool
    may_goto: bool
    source_in_log: bool
    smin_smax_in_errors: bool
    argument_tags: bool
    precise_history: bool
    exits_precise: bool
    precision_through_calls: bool
    long_history_kept: bool
    range_invariants: bool
    compare_ranges: bool
    equal_not_null: bool
    traced_tracers: bool
    loops_on_any_edge: bool
    spills_any_scalar: bool
    narrow_fills: bool
    lock_errnos: bool
    locks_across_functions: bool
    functions_checked_early: bool
    target_checked_late: bool
    sleepable_by_attach_type: bool
    zeros_at_variable_offsets: bool
    kptr_errors_named: bool
    store_imm_to_context: bool
    release_by_offset: bool
    maps_not_null: bool
    narrow_moves_linked: bool
    ids_compared: bool
    exact_loops: bool
    callbacks_converge: bool
    map_checks_once: bool
    cpu_v4: bool

    @property
    def alu_table(self) -> dict[int, Callable[[Bounds, Bounds], Bounds]]:
        if self.multiply_by_cases:
            return MUL_BY_CASES
        if self.wrapping_sums:
            return WRAPPING
        return SIGNED_MUL if self.signed_multiply else UNSIGNED_MUL

    @staticmethod
    @lru_cache(maxsize=16)
    def of(version: KernelVersion) -> Rules:
        """The rules of a version. NotSupported for one whose verifier bombus does not know."""
        if version < OLDEST:
            raise NotSupported(f"the verifier of Linux {version}", f"bombus knows those from {OLDEST} on")
        return Rules(version, **{change.name: version >= change.since for change in CHANGES})
