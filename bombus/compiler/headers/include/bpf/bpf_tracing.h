/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Arguments and results of what a program is attached to: registers of probes (PT_REGS_*), and programs written as
 * functions with those arguments (BPF_PROG, BPF_KPROBE, BPF_KSYSCALL, ...).
 *
 * Registers need -D__TARGET_ARCH_x86 (arm64, arm, s390, powerpc, mips, sparc, riscv, arc, loongarch).
 */
#ifndef __BPF_TRACING_H__
#define __BPF_TRACING_H__

#include "bpf_helpers.h"
#include "bpf_pt_regs.h"

/* All arguments of a list, each after a comma and made from its place by `get`. */
#define __bpf_each0(get, n)
#define __bpf_each1(get, n, x) , get(n)
#define __bpf_each2(get, n, x, ...) , get(n) __bpf_each1(get, n + 1, __VA_ARGS__)
#define __bpf_each3(get, n, x, ...) , get(n) __bpf_each2(get, n + 1, __VA_ARGS__)
#define __bpf_each4(get, n, x, ...) , get(n) __bpf_each3(get, n + 1, __VA_ARGS__)
#define __bpf_each5(get, n, x, ...) , get(n) __bpf_each4(get, n + 1, __VA_ARGS__)
#define __bpf_each6(get, n, x, ...) , get(n) __bpf_each5(get, n + 1, __VA_ARGS__)
#define __bpf_each7(get, n, x, ...) , get(n) __bpf_each6(get, n + 1, __VA_ARGS__)
#define __bpf_each8(get, n, x, ...) , get(n) __bpf_each7(get, n + 1, __VA_ARGS__)
#define __bpf_each9(get, n, x, ...) , get(n) __bpf_each8(get, n + 1, __VA_ARGS__)
#define __bpf_each10(get, n, x, ...) , get(n) __bpf_each9(get, n + 1, __VA_ARGS__)
#define __bpf_each11(get, n, x, ...) , get(n) __bpf_each10(get, n + 1, __VA_ARGS__)
#define __bpf_each12(get, n, x, ...) , get(n) __bpf_each11(get, n + 1, __VA_ARGS__)
#define __bpf_each(get, args...) ___bpf_apply(__bpf_each, ___bpf_narg(args))(get, 0, ##args)

#define __bpf_quiet(code) \
	_Pragma("GCC diagnostic push") \
	_Pragma("GCC diagnostic ignored \"-Wint-conversion\"") \
	code \
	_Pragma("GCC diagnostic pop")

/*
 * int BPF_PROG(name, struct file *file, int ret) { ... }: programs whose context is an array of numbers (fentry, LSM,
 * tp_btf, struct_ops, ...). The array is there as `ctx`.
 */
#define __bpf_slot(n) ctx[n]
#define BPF_PROG(name, args...) \
	name(unsigned long long *ctx); \
	static __always_inline typeof(name(0)) ____##name(unsigned long long *ctx, ##args); \
	typeof(name(0)) name(unsigned long long *ctx) \
	{ \
		__bpf_quiet(return ____##name(ctx __bpf_each(__bpf_slot, ##args));) \
	} \
	static __always_inline typeof(name(0)) ____##name(unsigned long long *ctx, ##args)

/*
 * int BPF_PROG2(name, struct pair, p, int, n) { ... }: the same where structs are passed by value, in one or two slots.
 * Types and names stand apart, since a struct's size says where the next argument lies.
 */
#define __bpf_slots(type) ((sizeof(type) + 7) / 8)
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define __bpf_low(type, word) (word)
#else
#define __bpf_low(type, word) ((word) << (sizeof(type) < 8 ? 64 - 8 * sizeof(type) : 0))
#endif
#define __bpf_slot_value(at, type) \
	({ \
		_Static_assert(sizeof(type) <= 16, "an argument of more than 16 bytes is not passed by value"); \
		union { unsigned long long slots[2]; typeof(type) value; } __u = { \
			.slots = { __bpf_low(type, ctx[at]), __bpf_slots(type) > 1 ? ctx[(at) + __bpf_slots(type) - 1] : 0 }, \
		}; \
		__u.value; \
	})

#define __bpf_pair_count(...) \
	__bpf_nth24(_, ##__VA_ARGS__, 12, 12, 11, 11, 10, 10, 9, 9, 8, 8, 7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0)
#define __bpf_nth24(_, _1, _2, _3, _4, _5, _6, _7, _8, _9, _10, _11, _12, _13, _14, _15, _16, _17, _18, _19, _20, _21, \
		    _22, _23, _24, N, ...) N

#define __bpf_params0()
#define __bpf_params1(t, x) , t x
#define __bpf_params2(t, x, ...) , t x __bpf_params1(__VA_ARGS__)
#define __bpf_params3(t, x, ...) , t x __bpf_params2(__VA_ARGS__)
#define __bpf_params4(t, x, ...) , t x __bpf_params3(__VA_ARGS__)
#define __bpf_params5(t, x, ...) , t x __bpf_params4(__VA_ARGS__)
#define __bpf_params6(t, x, ...) , t x __bpf_params5(__VA_ARGS__)
#define __bpf_params7(t, x, ...) , t x __bpf_params6(__VA_ARGS__)
#define __bpf_params8(t, x, ...) , t x __bpf_params7(__VA_ARGS__)
#define __bpf_params9(t, x, ...) , t x __bpf_params8(__VA_ARGS__)
#define __bpf_params10(t, x, ...) , t x __bpf_params9(__VA_ARGS__)
#define __bpf_params11(t, x, ...) , t x __bpf_params10(__VA_ARGS__)
#define __bpf_params12(t, x, ...) , t x __bpf_params11(__VA_ARGS__)
#define __bpf_params(args...) ___bpf_apply(__bpf_params, __bpf_pair_count(args))(args)

#define __bpf_pairs0(at)
#define __bpf_pairs1(at, t, x) , __bpf_slot_value(at, t)
#define __bpf_pairs2(at, t, x, ...) , __bpf_slot_value(at, t) __bpf_pairs1(at + __bpf_slots(t), __VA_ARGS__)
#define __bpf_pairs3(at, t, x, ...) , __bpf_slot_value(at, t) __bpf_pairs2(at + __bpf_slots(t), __VA_ARGS__)
#define __bpf_pairs4(at, t, x, ...) , __bpf_slot_value(at, t) __bpf_pairs3(at + __bpf_slots(t), __VA_ARGS__)
#define __bpf_pairs5(at, t, x, ...) , __bpf_slot_value(at, t) __bpf_pairs4(at + __bpf_slots(t), __VA_ARGS__)
#define __bpf_pairs6(at, t, x, ...) , __bpf_slot_value(at, t) __bpf_pairs5(at + __bpf_slots(t), __VA_ARGS__)
#define __bpf_pairs7(at, t, x, ...) , __bpf_slot_value(at, t) __bpf_pairs6(at + __bpf_slots(t), __VA_ARGS__)
#define __bpf_pairs8(at, t, x, ...) , __bpf_slot_value(at, t) __bpf_pairs7(at + __bpf_slots(t), __VA_ARGS__)
#define __bpf_pairs9(at, t, x, ...) , __bpf_slot_value(at, t) __bpf_pairs8(at + __bpf_slots(t), __VA_ARGS__)
#define __bpf_pairs10(at, t, x, ...) , __bpf_slot_value(at, t) __bpf_pairs9(at + __bpf_slots(t), __VA_ARGS__)
#define __bpf_pairs11(at, t, x, ...) , __bpf_slot_value(at, t) __bpf_pairs10(at + __bpf_slots(t), __VA_ARGS__)
#define __bpf_pairs12(at, t, x, ...) , __bpf_slot_value(at, t) __bpf_pairs11(at + __bpf_slots(t), __VA_ARGS__)
#define __bpf_pairs(args...) ___bpf_apply(__bpf_pairs, __bpf_pair_count(args))(0, ##args)

#define BPF_PROG2(name, args...) \
	name(unsigned long long *ctx); \
	static __always_inline typeof(name(0)) ____##name(unsigned long long *ctx __bpf_params(args)); \
	typeof(name(0)) name(unsigned long long *ctx) \
	{ \
		return ____##name(ctx __bpf_pairs(args)); \
	} \
	static __always_inline typeof(name(0)) ____##name(unsigned long long *ctx __bpf_params(args))

/* int BPF_KPROBE(name, int dfd, struct filename *path) { ... }: the probed function's arguments, registers as `ctx`. */
#define __bpf_regs0()
#define __bpf_regs1(x) , (void *)PT_REGS_PARM1(ctx)
#define __bpf_regs2(x, ...) __bpf_regs1(__VA_ARGS__), (void *)PT_REGS_PARM2(ctx)
#define __bpf_regs3(x, ...) __bpf_regs2(__VA_ARGS__), (void *)PT_REGS_PARM3(ctx)
#define __bpf_regs4(x, ...) __bpf_regs3(__VA_ARGS__), (void *)PT_REGS_PARM4(ctx)
#define __bpf_regs5(x, ...) __bpf_regs4(__VA_ARGS__), (void *)PT_REGS_PARM5(ctx)
#define __bpf_regs6(x, ...) __bpf_regs5(__VA_ARGS__), (void *)PT_REGS_PARM6(ctx)
#define __bpf_regs7(x, ...) __bpf_regs6(__VA_ARGS__), (void *)PT_REGS_PARM7(ctx)
#define __bpf_regs8(x, ...) __bpf_regs7(__VA_ARGS__), (void *)PT_REGS_PARM8(ctx)
#define __bpf_regs(args...) ___bpf_apply(__bpf_regs, ___bpf_narg(args))(args)

#define __bpf_probe(name, list, args...) \
	name(struct pt_regs *ctx); \
	static __always_inline typeof(name(0)) ____##name(struct pt_regs *ctx, ##args); \
	typeof(name(0)) name(struct pt_regs *ctx) \
	{ \
		__bpf_quiet(return ____##name(ctx list(args));) \
	} \
	static __always_inline typeof(name(0)) ____##name(struct pt_regs *ctx, ##args)

#define BPF_KPROBE(name, args...) __bpf_probe(name, __bpf_regs, ##args)

/* int BPF_KRETPROBE(name, int ret) { ... }: the result of the probed function. */
#define __bpf_result0()
#define __bpf_result1(x) , (void *)PT_REGS_RC(ctx)
#define __bpf_result(args...) ___bpf_apply(__bpf_result, ___bpf_narg(args))(args)

#define BPF_KRETPROBE(name, args...) __bpf_probe(name, __bpf_result, ##args)

/* The same for user space. */
#define BPF_UPROBE(name, args...) BPF_KPROBE(name, ##args)
#define BPF_URETPROBE(name, args...) BPF_KRETPROBE(name, ##args)

/*
 * int BPF_KSYSCALL(name, int dfd, const char *path) { ... }: a system call's arguments. On most architectures the
 * probed function gets a pointer to the registers of user space, on some the arguments; the loader knows which.
 */
#define __bpf_sysargs0()
#define __bpf_sysargs1(x) , (void *)PT_REGS_PARM1_SYSCALL(__regs)
#define __bpf_sysargs2(x, ...) __bpf_sysargs1(__VA_ARGS__), (void *)PT_REGS_PARM2_SYSCALL(__regs)
#define __bpf_sysargs3(x, ...) __bpf_sysargs2(__VA_ARGS__), (void *)PT_REGS_PARM3_SYSCALL(__regs)
#define __bpf_sysargs4(x, ...) __bpf_sysargs3(__VA_ARGS__), (void *)PT_REGS_PARM4_SYSCALL(__regs)
#define __bpf_sysargs5(x, ...) __bpf_sysargs4(__VA_ARGS__), (void *)PT_REGS_PARM5_SYSCALL(__regs)
#define __bpf_sysargs6(x, ...) __bpf_sysargs5(__VA_ARGS__), (void *)PT_REGS_PARM6_SYSCALL(__regs)
#define __bpf_sysargs7(x, ...) __bpf_sysargs6(__VA_ARGS__), (void *)PT_REGS_PARM7_SYSCALL(__regs)
#define __bpf_sysargs(args...) ___bpf_apply(__bpf_sysargs, ___bpf_narg(args))(args)
#define __bpf_wrapped0()
#define __bpf_wrapped1(x) , (void *)PT_REGS_PARM1_CORE_SYSCALL(__regs)
#define __bpf_wrapped2(x, ...) __bpf_wrapped1(__VA_ARGS__), (void *)PT_REGS_PARM2_CORE_SYSCALL(__regs)
#define __bpf_wrapped3(x, ...) __bpf_wrapped2(__VA_ARGS__), (void *)PT_REGS_PARM3_CORE_SYSCALL(__regs)
#define __bpf_wrapped4(x, ...) __bpf_wrapped3(__VA_ARGS__), (void *)PT_REGS_PARM4_CORE_SYSCALL(__regs)
#define __bpf_wrapped5(x, ...) __bpf_wrapped4(__VA_ARGS__), (void *)PT_REGS_PARM5_CORE_SYSCALL(__regs)
#define __bpf_wrapped6(x, ...) __bpf_wrapped5(__VA_ARGS__), (void *)PT_REGS_PARM6_CORE_SYSCALL(__regs)
#define __bpf_wrapped7(x, ...) __bpf_wrapped6(__VA_ARGS__), (void *)PT_REGS_PARM7_CORE_SYSCALL(__regs)
#define __bpf_wrapped(args...) ___bpf_apply(__bpf_wrapped, ___bpf_narg(args))(args)

#define BPF_KSYSCALL(name, args...) \
	name(struct pt_regs *ctx); \
	extern _Bool LINUX_HAS_SYSCALL_WRAPPER __kconfig; \
	static __always_inline typeof(name(0)) ____##name(struct pt_regs *ctx, ##args); \
	typeof(name(0)) name(struct pt_regs *ctx) \
	{ \
		struct pt_regs *__regs = LINUX_HAS_SYSCALL_WRAPPER ? (struct pt_regs *)PT_REGS_PARM1(ctx) : ctx; \
		__bpf_quiet( \
			if (LINUX_HAS_SYSCALL_WRAPPER) \
				return ____##name(ctx __bpf_wrapped(args)); \
			else \
				return ____##name(ctx __bpf_sysargs(args)); \
		) \
	} \
	static __always_inline typeof(name(0)) ____##name(struct pt_regs *ctx, ##args)

#define BPF_KPROBE_SYSCALL BPF_KSYSCALL

#endif
