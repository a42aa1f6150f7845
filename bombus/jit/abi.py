"""The contract between compiled programs and whoever runs them.

A program becomes one relocatable object. It exports

    u64 bpf_main(struct run *run, u64 ctx, u32 tail_calls);             instruction 0, r1 = ctx; returns r0. tail_calls:
                                                                        how many were made before (0)
    u64 bpf_func_N(struct run *run, u64 r1, ... u64 r5);                the function at instruction N, for callbacks:
                                                                        only those that a BPF_PSEUDO_FUNC names

and may need, by these names (each symbol only where the program uses it)

    u64 bpf_helper_N(struct run *run, u64 r1, ... u64 r5);              helper N; returns r0
    u64 bpf_kfunc_F_N(struct run *run, u64 r1, ... u64 r5);             kernel function N of fd_array[F]
    u64 bpf_tail_call(struct run *run, u64 ctx, u64 array, u64 index);  the `bpf_main` to jump to, 0 to fall through;
                                                                        all ones: it ran and left `run->result`.
                                                                        The program counts the calls, index is a u32
    u64 bpf_load_packet(struct run *run, u64 skb, u64 offset, u64 size);
                                                                        BPF_LD_ABS and BPF_LD_IND: offset is an s32,
                                                                        sign extended; all ones where the packet ends
    u64 bpf_address_cast(struct run *run, u64 value, u64 to, u64 from);
    u32 bpf_find(struct run *run, u64 address, u64 size, u32 kind);     see below
    bpf_array_N                                                         its address is where the values of the array lie
                                                                        that the look-up at instruction N is for
    bpf_map_N                                                           its address is where the memory of the map lies
                                                                        whose code stands for the call of instruction N
    bpf_jumps_N                                                         u64[]: for each slot of the array of the tail
                                                                        call at instruction N the `bpf_main` to jump to,
                                                                        0 where bpf_tail_call must be asked
    bpf_imm_N                                                           its address is the N-th 64-bit immediate that is
                                                                        no plain number (maps, map values, variables)
    bpf_program                                                         its address is stored where code reports a
                                                                        fault, to tell programs apart after tail calls
    bpf_functions                                                       its address + 8 * N is the value of a
                                                                        BPF_PSEUDO_FUNC of instruction N
    memset, memcpy, memmove, memcmp, bcmp, sched_yield and the compiler's own routines of the target (__udivdi3,
    __atomic_fetch_add_8, ...).

Numbers are passed as C passes `uint64_t` on the target. BPF addresses have 64 bits everywhere; where pointers have 32,
they are cut. All memory of the program is in the target's byte order.

`struct run` (RUN: offset and size in bytes) belongs to one run. The caller sets `status` 0, `frame` to
the first of as many FRAME_STRIDE-byte frames as the run may take (8; 239 with tail calls out of subprograms), `top` to
the last frame that the program may use (frame + 7 * FRAME_STRIDE), and `budget` for code that counts (it stops at the
first instruction beyond it). Functions whose stack no callee can see keep it in native frames and leave `frame` alone.

A helper that fails sets `status` and returns: the program leaves at once, with any r0. `status` afterwards:

    0 RETURNED   r0 is the result
    1 ERROR      a callee said so; `insn` is the calling instruction
    2 FAULT      wrong code was reached: `fault` counts into `Lowered.faults` of `program`
    3 BUDGET     used up
    4 STACK      a call needs more frames

Checked accesses are looked up in `regions`, the regions that were met last (start, bytes that may be read from there,
bytes that may be written; u64 each), and bpf_find(address, size, kind; kind 0: load, 1: store, 2: atomic) is asked for
those that are not there. bpf_find enters the region into the table and returns its index; NOT_FOUND with `status` set
when there is none. Kind 3 is a load that gives 0 there: NOT_FOUND, and the run goes on. What makes a region go away or
shrink empties the table (count 0), which is only looked at after calls.
"""

from __future__ import annotations

from typing import Final

RETURNED: Final = 0
ERROR: Final = 1
FAULT: Final = 2
BUDGET: Final = 3
STACK: Final = 4

# name -> offset and size in bytes
RUN: Final[dict[str, tuple[int, int]]] = {
    "status": (0, 4),
    "insn": (4, 4),
    "fault": (8, 4),
    "tail_calls": (12, 4),
    "budget": (16, 8),
    "frame": (24, 8),
    "top": (32, 8),
    "result": (40, 8),
    "ordinary": (48, 8),  # other than 0: clocks are the machine's, and random numbers any
    "cpu": (56, 4),
    "count": (60, 4),  # of regions
    "program": (64, 8),
    "regions": (72, 24 * 16),
    "epoch": (456, 8),  # what Python's callees say of memory's changes; code does not look at it
}
REGION_BYTES: Final = 24
MAX_REGIONS: Final = 16
RUN_BYTES: Final = 80 + REGION_BYTES * MAX_REGIONS
NOT_FOUND: Final = 0xFFFF_FFFF

LOAD: Final = 0
STORE: Final = 1
ATOMIC: Final = 2
PROBE: Final = 3

MAIN: Final = "bpf_main"
FUNCTIONS: Final = "bpf_functions"
PROGRAM: Final = "bpf_program"
TAIL_CALL: Final = "bpf_tail_call"
LOAD_PACKET: Final = "bpf_load_packet"
ADDRESS_CAST: Final = "bpf_address_cast"
FIND: Final = "bpf_find"
ALREADY_RAN: Final = 0xFFFF_FFFF_FFFF_FFFF  # what bpf_tail_call returns when the target ran in another engine

# Parameters of what programs call, after `run`, and what comes back.
SIGNATURES: Final[dict[str, tuple[str, ...]]] = {
    TAIL_CALL: ("i64", "i64", "i64", "i64"),
    LOAD_PACKET: ("i64", "i64", "i64", "i64"),
    ADDRESS_CAST: ("i64", "i64", "i64", "i64"),
    FIND: ("i32", "i64", "i64", "i32"),
}


def helper_symbol(number: int) -> str:
    return f"bpf_helper_{number & 0xFFFF_FFFF}"


def kfunc_symbol(btf_id: int, fd_index: int) -> str:
    return f"bpf_kfunc_{fd_index & 0xFFFF}_{btf_id & 0xFFFF_FFFF}"


def function_symbol(entry: int) -> str:
    return f"bpf_func_{entry}"


def array_symbol(index: int) -> str:
    return f"bpf_array_{index}"


def map_symbol(index: int) -> str:
    return f"bpf_map_{index}"


def object_symbol(index: int) -> str:
    return f"bpf_object_{index}"


def jumps_symbol(index: int) -> str:
    return f"bpf_jumps_{index}"


def immediate_symbol(number: int) -> str:
    return f"bpf_imm_{number}"
