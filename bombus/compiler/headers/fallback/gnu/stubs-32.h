/* SPDX-License-Identifier: BSD-2-Clause */
/* glibc asks for this one when the compiler's target is not x86-64, as BPF is not; it has nothing for BPF programs. */
