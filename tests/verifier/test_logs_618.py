# ruff: noqa: E501, W291
"""Whole level 2 logs of small programs, as the running Linux 6.18 wrote them."""

from __future__ import annotations

import re

import pytest

from bombus.isa.insn import Insn
from bombus.spec.version import KernelVersion
from bombus.verifier.main import verify
from bombus.verifier.program import ROOT, Program

_SOCKET_FILTER = 1

# name: instructions (opcode, dst, src, off, imm), log
CASES: dict[str, tuple[list[tuple[int, int, int, int, int]], str]] = {
    "slots of a caller that a function reads and writes": (
        [
            (0x85, 0, 0, 0, 7), (0x7b, 10, 0, -8, 0), (0x7a, 10, 0, -16, 1), (0xbf, 1, 10, 0, 0),
            (0x85, 0, 1, 0, 3), (0x79, 0, 10, -16, 0), (0x57, 0, 0, 0, 1), (0x95, 0, 0, 0, 0),
            (0x79, 2, 1, -8, 0), (0x15, 2, 0, 1, 0), (0x7a, 1, 0, -16, 0), (0xb7, 0, 0, 0, 0),
            (0x95, 0, 0, 0, 0),
        ],
        """\
func#0 @0
func#1 @8
Live regs before insn:
      0: .......... (85) call bpf_get_prandom_u32#7
      1: 0.2345.... (7b) *(u64 *)(r10 -8) = r0
      2: ..2345.... (7a) *(u64 *)(r10 -16) = 1
      3: ..2345.... (bf) r1 = r10
      4: .12345.... (85) call pc+3
      5: .......... (79) r0 = *(u64 *)(r10 -16)
      6: 0......... (57) r0 &= 1
      7: 0......... (95) exit
      8: .1........ (79) r2 = *(u64 *)(r1 -8)
      9: .12....... (15) if r2 == 0x0 goto pc+1
     10: .1........ (7a) *(u64 *)(r1 -16) = 0
     11: .......... (b7) r0 = 0
     12: 0......... (95) exit
0: R1=ctx() R10=fp0
0: (85) call bpf_get_prandom_u32#7    ; R0=scalar()
1: (7b) *(u64 *)(r10 -8) = r0         ; R0=scalar(id=1) R10=fp0 fp-8=scalar(id=1)
2: (7a) *(u64 *)(r10 -16) = 1         ; R10=fp0 fp-16=1
3: (bf) r1 = r10                      ; R1=fp0 R10=fp0
4: (85) call pc+3
caller:
 R10=fp0 fp-8=scalar(id=1) fp-16=1
callee:
 frame1: R1=fp[0]0 R10=fp0
8: frame1: R1=fp[0]0 R10=fp0
8: (79) r2 = *(u64 *)(r1 -8)          ; frame1: R1=fp[0]0 R2=scalar(id=1)
9: (15) if r2 == 0x0 goto pc+1        ; frame1: R2=scalar(id=1,umin=1)
10: (7a) *(u64 *)(r1 -16) = 0         ; frame1: R1=fp[0]0
11: (b7) r0 = 0                       ; frame1: R0=0
12: (95) exit
(4,8) frame 0 insn 10 +written -16 
(4,8) frame 0 insn 8 +live -8 
(4,8) live stack update done in 2 iterations
(0) frame 0 insn 4 +live -8 
(0) frame 0 insn 2 +live -8 
(0) frame 0 insn 2 +written -16 
(0) frame 0 insn 1 +written -8,-16 
(0) frame 0 insn 0 +written -8,-16 
(0) live stack update done in 2 iterations
returning from callee:
 frame1: R0=0 R1=fp[0]0 R2=scalar(id=1,umin=1) R10=fp0
to caller at 5:
 R0=0 R10=fp0 fp-8=scalar(id=1,umin=1) fp-16=0

from 12 to 5: R0=0 R10=fp0 fp-8=scalar(id=1,umin=1) fp-16=0
5: (79) r0 = *(u64 *)(r10 -16)        ; R0=0 R10=fp0 fp-16=0
6: (57) r0 &= 1                       ; R0=0
7: (95) exit
(0) frame 0 insn 5 +live -16 
(0) frame 0 insn 4 +live -16 
(0) live stack update done in 2 iterations

from 9 to 11: safe
verification time 0 usec
stack depth 16+0
processed 14 insns (limit 1000000) max_states_per_insn 0 total_states 1 peak_states 1 mark_read 0
""",
    ),
    "a slot that is live around a loop": (
        [
            (0x85, 0, 0, 0, 7), (0x57, 0, 0, 0, 3), (0x7b, 10, 0, -8, 0), (0xb7, 6, 0, 0, 0),
            (0x79, 1, 10, -8, 0), (0x07, 6, 0, 0, 1), (0xbd, 6, 1, -3, 0), (0xb7, 0, 0, 0, 0),
            (0x95, 0, 0, 0, 0),
        ],
        """\
func#0 @0
Live regs before insn:
      0: .......... (85) call bpf_get_prandom_u32#7
      1: 0......... (57) r0 &= 3
      2: 0......... (7b) *(u64 *)(r10 -8) = r0
      3: .......... (b7) r6 = 0
  1   4: ......6... (79) r1 = *(u64 *)(r10 -8)
  1   5: .1....6... (07) r6 += 1
  1   6: .1....6... (bd) if r6 <= r1 goto pc-3
      7: .......... (b7) r0 = 0
      8: 0......... (95) exit
0: R1=ctx() R10=fp0
0: (85) call bpf_get_prandom_u32#7    ; R0=scalar()
1: (57) r0 &= 3                       ; R0=scalar(smin=smin32=0,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3))
2: (7b) *(u64 *)(r10 -8) = r0         ; R0=scalar(id=1,smin=smin32=0,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3)) R10=fp0 fp-8=scalar(id=1,smin=smin32=0,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3))
3: (b7) r6 = 0                        ; R6=0
4: (79) r1 = *(u64 *)(r10 -8)         ; R1=scalar(id=1,smin=smin32=0,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3)) R10=fp0 fp-8=scalar(id=1,smin=smin32=0,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3))
5: (07) r6 += 1                       ; R6=1
6: (bd) if r6 <= r1 goto pc-3         ; R1=0 R6=1
7: (b7) r0 = 0                        ; R0=0
8: (95) exit
(0) frame 0 insn 4 +live -8 
(0) frame 0 insn 2 +written -8 
(0) frame 0 insn 1 +written -8 
(0) frame 0 insn 0 +written -8 
(0) frame 0 insn 6 +live -8 
(0) live stack update done in 3 iterations
SCC enter (1)

from 6 to 4: R0=scalar(id=1,smin=smin32=0,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3)) R1=scalar(id=1,smin=umin=smin32=umin32=1,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3)) R6=1 R10=fp0 fp-8=scalar(id=1,smin=umin=smin32=umin32=1,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3))
4: R0=scalar(id=1,smin=smin32=0,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3)) R1=scalar(id=1,smin=umin=smin32=umin32=1,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3)) R6=1 R10=fp0 fp-8=scalar(id=1,smin=umin=smin32=umin32=1,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3))
4: (79) r1 = *(u64 *)(r10 -8)         ; R1=scalar(id=1,smin=umin=smin32=umin32=1,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3)) R10=fp0 fp-8=scalar(id=1,smin=umin=smin32=umin32=1,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3))
5: (07) r6 += 1                       ; R6=2
6: (bd) if r6 <= r1 goto pc-3         ; R1=1 R6=2
7: (b7) r0 = 0                        ; R0=0
8: (95) exit

from 6 to 4: R0=scalar(id=1,smin=smin32=0,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3)) R1=scalar(id=1,smin=umin=smin32=umin32=2,smax=umax=smax32=umax32=3,var_off=(0x2; 0x1)) R6=2 R10=fp0 fp-8=scalar(id=1,smin=umin=smin32=umin32=2,smax=umax=smax32=umax32=3,var_off=(0x2; 0x1))
4: R0=scalar(id=1,smin=smin32=0,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3)) R1=scalar(id=1,smin=umin=smin32=umin32=2,smax=umax=smax32=umax32=3,var_off=(0x2; 0x1)) R6=2 R10=fp0 fp-8=scalar(id=1,smin=umin=smin32=umin32=2,smax=umax=smax32=umax32=3,var_off=(0x2; 0x1))
4: (79) r1 = *(u64 *)(r10 -8)         ; R1=scalar(id=1,smin=umin=smin32=umin32=2,smax=umax=smax32=umax32=3,var_off=(0x2; 0x1)) R10=fp0 fp-8=scalar(id=1,smin=umin=smin32=umin32=2,smax=umax=smax32=umax32=3,var_off=(0x2; 0x1))
5: (07) r6 += 1                       ; R6=3
6: (bd) if r6 <= r1 goto pc-3         ; R1=2 R6=3
7: (b7) r0 = 0                        ; R0=0
8: (95) exit

from 6 to 4: R0=scalar(id=1,smin=smin32=0,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3)) R1=3 R6=3 R10=fp0 fp-8=3
4: R0=scalar(id=1,smin=smin32=0,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3)) R1=3 R6=3 R10=fp0 fp-8=3
4: (79) r1 = *(u64 *)(r10 -8)         ; R1=3 R10=fp0 fp-8=3
5: (07) r6 += 1                       ; R6=4
6: (bd) if r6 <= r1 goto pc-3
mark_precise: frame0: last_idx 6 first_idx 6 subseq_idx -1 
mark_precise: frame0: parent state regs=r6 stack=:  R0=scalar(id=1,smin=smin32=0,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3)) R1=3 R6=P4 R10=fp0 fp-8=3
mark_precise: frame0: last_idx 5 first_idx 4 subseq_idx 6 
mark_precise: frame0: regs=r6 stack= before 5: (07) r6 += 1
mark_precise: frame0: regs=r6 stack= before 4: (79) r1 = *(u64 *)(r10 -8)
mark_precise: frame0: regs=r6 stack= before 6: (bd) if r6 <= r1 goto pc-3
mark_precise: frame0: regs=r1,r6 stack=-8 before 5: (07) r6 += 1
mark_precise: frame0: regs=r1,r6 stack=-8 before 4: (79) r1 = *(u64 *)(r10 -8)
mark_precise: frame0: regs=r6 stack=-8 before 6: (bd) if r6 <= r1 goto pc-3
mark_precise: frame0: regs=r1,r6 stack=-8 before 5: (07) r6 += 1
mark_precise: frame0: regs=r1,r6 stack=-8 before 4: (79) r1 = *(u64 *)(r10 -8)
mark_precise: frame0: parent state regs=r6 stack=-8:  R0=scalar(id=1,smin=smin32=0,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3)) R1=scalar(id=1,smin=umin=smin32=umin32=1,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3)) R6=P1 R10=fp0 fp-8=Pscalar(id=1,smin=umin=smin32=umin32=1,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3))
mark_precise: frame0: last_idx 6 first_idx 0 subseq_idx 4 
mark_precise: frame0: regs=r6 stack=-8 before 6: (bd) if r6 <= r1 goto pc-3
mark_precise: frame0: regs=r1,r6 stack=-8 before 5: (07) r6 += 1
mark_precise: frame0: regs=r1,r6 stack=-8 before 4: (79) r1 = *(u64 *)(r10 -8)
mark_precise: frame0: regs=r6 stack=-8 before 3: (b7) r6 = 0
mark_precise: frame0: regs= stack=-8 before 2: (7b) *(u64 *)(r10 -8) = r0
mark_precise: frame0: regs=r0 stack= before 1: (57) r0 &= 3
mark_precise: frame0: regs=r0 stack= before 0: (85) call bpf_get_prandom_u32#7
mark_precise: frame0: last_idx 6 first_idx 6 subseq_idx -1 
mark_precise: frame0: parent state regs=r1 stack=:  R0=scalar(id=1,smin=smin32=0,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3)) R1=P3 R6=P4 R10=fp0 fp-8=3
mark_precise: frame0: last_idx 5 first_idx 4 subseq_idx 6 
mark_precise: frame0: regs=r1 stack= before 5: (07) r6 += 1
mark_precise: frame0: regs=r1 stack= before 4: (79) r1 = *(u64 *)(r10 -8)
mark_precise: frame0: regs= stack=-8 before 6: (bd) if r6 <= r1 goto pc-3
mark_precise: frame0: regs=r1,r6 stack=-8 before 5: (07) r6 += 1
mark_precise: frame0: regs=r1,r6 stack=-8 before 4: (79) r1 = *(u64 *)(r10 -8)
mark_precise: frame0: regs=r6 stack=-8 before 6: (bd) if r6 <= r1 goto pc-3
mark_precise: frame0: regs=r1,r6 stack=-8 before 5: (07) r6 += 1
mark_precise: frame0: regs=r1,r6 stack=-8 before 4: (79) r1 = *(u64 *)(r10 -8)
mark_precise: frame0: parent state regs= stack=:  R0=scalar(id=1,smin=smin32=0,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3)) R1=scalar(id=1,smin=umin=smin32=umin32=1,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3)) R6=P1 R10=fp0 fp-8=Pscalar(id=1,smin=umin=smin32=umin32=1,smax=umax=smax32=umax32=3,var_off=(0x0; 0x3))
6: R1=3 R6=4
7: (b7) r0 = 0                        ; R0=0
8: (95) exit
SCC exit (1)
verification time 0 usec
stack depth 8
processed 24 insns (limit 1000000) max_states_per_insn 1 total_states 2 peak_states 2 mark_read 0
""",
    ),
    "bytes swapped and negated": (
        [
            (0x85, 0, 0, 0, 7), (0x57, 0, 0, 0, 255), (0xbf, 1, 0, 0, 0), (0xdc, 0, 0, 0, 16),
            (0x87, 1, 0, 0, 0), (0xd7, 1, 0, 0, 64), (0xb7, 0, 0, 0, 0), (0x95, 0, 0, 0, 0),
        ],
        """\
func#0 @0
Live regs before insn:
      0: .......... (85) call bpf_get_prandom_u32#7
      1: 0......... (57) r0 &= 255
      2: 0......... (bf) r1 = r0
      3: 01........ (dc) r0 = be16 r0
      4: .1........ (87) r1 = -r1
      5: .1........ (d7) r1 = bswap64 r1
      6: .......... (b7) r0 = 0
      7: 0......... (95) exit
0: R1=ctx() R10=fp0
0: (85) call bpf_get_prandom_u32#7    ; R0=scalar()
1: (57) r0 &= 255                     ; R0=scalar(smin=smin32=0,smax=umax=smax32=umax32=255,var_off=(0x0; 0xff))
2: (bf) r1 = r0                       ; R0=scalar(id=1,smin=smin32=0,smax=umax=smax32=umax32=255,var_off=(0x0; 0xff)) R1=scalar(id=1,smin=smin32=0,smax=umax=smax32=umax32=255,var_off=(0x0; 0xff))
3: (dc) r0 = be16 r0                  ; R0=scalar(smin=smin32=0,smax=umax=smax32=umax32=0xff00,var_off=(0x0; 0xff00))
4: (87) r1 = -r1                      ; R1=scalar(smin=smin32=-255,smax=smax32=0)
5: (d7) r1 = bswap64 r1               ; R1=scalar()
6: (b7) r0 = 0                        ; R0=0
7: (95) exit
verification time 0 usec
stack depth 0
processed 8 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
""",
    ),
    "linked through 32-bit sums and one value left": (
        [
            (0x85, 0, 0, 0, 7), (0xbc, 1, 0, 0, 0), (0xbc, 2, 1, 0, 0), (0x04, 2, 0, 0, -3),
            (0x26, 2, 0, 1, 10), (0xbf, 3, 1, 0, 0), (0xb7, 0, 0, 0, 0), (0x85, 0, 0, 0, 7),
            (0x57, 0, 0, 0, 12), (0xa5, 0, 0, 2, 7), (0xa5, 0, 0, 1, 12), (0xb7, 0, 0, 0, 0),
            (0xb7, 0, 0, 0, 0), (0x95, 0, 0, 0, 0),
        ],
        """\
func#0 @0
Live regs before insn:
      0: .......... (85) call bpf_get_prandom_u32#7
      1: 0......... (bc) w1 = w0
      2: .1........ (bc) w2 = w1
      3: .12....... (04) w2 += -3
      4: .12....... (26) if w2 > 0xa goto pc+1
      5: .1........ (bf) r3 = r1
      6: .......... (b7) r0 = 0
      7: .......... (85) call bpf_get_prandom_u32#7
      8: 0......... (57) r0 &= 12
      9: 0......... (a5) if r0 < 0x7 goto pc+2
     10: 0......... (a5) if r0 < 0xc goto pc+1
     11: .......... (b7) r0 = 0
     12: .......... (b7) r0 = 0
     13: 0......... (95) exit
0: R1=ctx() R10=fp0
0: (85) call bpf_get_prandom_u32#7    ; R0=scalar()
1: (bc) w1 = w0                       ; R0=scalar() R1=scalar(smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff))
2: (bc) w2 = w1                       ; R1=scalar(id=1,smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff)) R2=scalar(id=1,smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff))
3: (04) w2 += -3                      ; R2=scalar(id=1-3,smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff))
4: (26) if w2 > 0xa goto pc+1         ; R2=scalar(id=1-3,smin=smin32=0,smax=umax=smax32=umax32=10,var_off=(0x0; 0xf))
5: (bf) r3 = r1                       ; R1=scalar(id=1,smin=umin=smin32=umin32=3,smax=umax=smax32=umax32=13,var_off=(0x0; 0xf)) R3=scalar(id=1,smin=umin=smin32=umin32=3,smax=umax=smax32=umax32=13,var_off=(0x0; 0xf))
6: (b7) r0 = 0                        ; R0=0
7: (85) call bpf_get_prandom_u32#7    ; R0=scalar()
8: (57) r0 &= 12                      ; R0=scalar(smin=smin32=0,smax=umax=smax32=umax32=12,var_off=(0x0; 0xc))
9: (a5) if r0 < 0x7 goto pc+2         ; R0=scalar(smin=umin=smin32=umin32=7,smax=umax=smax32=umax32=12,var_off=(0x0; 0xc))
10: (a5) if r0 < 0xc goto pc+1        ; R0=12
11: (b7) r0 = 0                       ; R0=0
12: (b7) r0 = 0                       ; R0=0
13: (95) exit

from 10 to 12: R0=8 R10=fp0
12: R0=8 R10=fp0
12: (b7) r0 = 0                       ; R0=0
13: (95) exit

from 9 to 12: R0=scalar(smin=smin32=0,smax=umax=smax32=umax32=4,var_off=(0x0; 0x4)) R10=fp0
12: R0=scalar(smin=smin32=0,smax=umax=smax32=umax32=4,var_off=(0x0; 0x4)) R10=fp0
12: (b7) r0 = 0                       ; R0=0
13: (95) exit

from 4 to 6: R0=scalar() R1=scalar(id=1,smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff)) R2=scalar(id=1-3,smin=umin=umin32=11,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff)) R10=fp0
6: R0=scalar() R1=scalar(id=1,smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff)) R2=scalar(id=1-3,smin=umin=umin32=11,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff)) R10=fp0
6: (b7) r0 = 0                        ; R0=0
7: (85) call bpf_get_prandom_u32#7
8: safe
verification time 0 usec
stack depth 0
processed 21 insns (limit 1000000) max_states_per_insn 0 total_states 2 peak_states 2 mark_read 0
""",
    ),
    "products and sums that wrap around": (
        [
            (0x85, 0, 0, 0, 7), (0x54, 0, 0, 0, 6), (0x24, 0, 0, 0, 5), (0x54, 0, 0, 0, 126),
            (0x04, 0, 0, 0, -200), (0xb7, 0, 0, 0, 0), (0x95, 0, 0, 0, 0),
        ],
        """\
func#0 @0
Live regs before insn:
      0: .......... (85) call bpf_get_prandom_u32#7
      1: 0......... (54) w0 &= 6
      2: 0......... (24) w0 *= 5
      3: 0......... (54) w0 &= 126
      4: 0......... (04) w0 += -200
      5: .......... (b7) r0 = 0
      6: 0......... (95) exit
0: R1=ctx() R10=fp0
0: (85) call bpf_get_prandom_u32#7    ; R0=scalar()
1: (54) w0 &= 6                       ; R0=scalar(smin=smin32=0,smax=umax=smax32=umax32=6,var_off=(0x0; 0x6))
2: (24) w0 *= 5                       ; R0=scalar(smin=smin32=0,smax=umax=smax32=umax32=30,var_off=(0x0; 0x1e))
3: (54) w0 &= 126                     ; R0=scalar(smin=smin32=0,smax=umax=smax32=umax32=30,var_off=(0x0; 0x1e))
4: (04) w0 += -200                    ; R0=scalar(smin=umin=umin32=0xffffff38,smax=umax=umax32=0xffffff56,smin32=-200,smax32=-170,var_off=(0xffffff00; 0x7e))
5: (b7) r0 = 0                        ; R0=0
6: (95) exit
verification time 0 usec
stack depth 0
processed 7 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
""",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_log_equals_the_kernels(name: str) -> None:
    rows, expected = CASES[name]
    program = Program(
        [Insn(*row) for row in rows], _SOCKET_FILTER, KernelVersion(6, 18), 0, "GPL", "", 0, ROOT, {}, (), None, [], [],
        0, False, None, 6, 2, frozenset((0, 1, 2)),
    )
    log = re.sub(r"verification time \d+", "verification time 0", verify(program).log)
    assert log == expected
