/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Arguments of user-space static probes (USDT). The loader writes for each place of a probe where its arguments lie
 * into the two maps here; names and layouts are what libbpf's loader fills in.
 */
#ifndef __USDT_BPF_H__
#define __USDT_BPF_H__

#include <linux/errno.h>
#include "bpf_helpers.h"
#include "bpf_tracing.h"

/* How many different descriptions, and how many places in all, the maps have room for. */
#ifndef BPF_USDT_MAX_SPEC_CNT
#define BPF_USDT_MAX_SPEC_CNT 256
#endif
#ifndef BPF_USDT_MAX_IP_CNT
#define BPF_USDT_MAX_IP_CNT (4 * BPF_USDT_MAX_SPEC_CNT)
#endif
#define BPF_USDT_MAX_ARG_CNT 12

enum __bpf_usdt_arg_type {
	BPF_USDT_ARG_CONST,	/* the value is val_off */
	BPF_USDT_ARG_REG,	/* the value is in a register */
	BPF_USDT_ARG_REG_DEREF,	/* the value lies in user memory, val_off from where a register points */
};

struct __bpf_usdt_arg_spec {
	__u64 val_off;
	enum __bpf_usdt_arg_type arg_type;
	short reg_off;		/* of the register in struct pt_regs */
	bool arg_signed;
	char arg_bitshift;	/* 64 less the bits of the value */
};

struct __bpf_usdt_spec {
	struct __bpf_usdt_arg_spec args[BPF_USDT_MAX_ARG_CNT];
	__u64 usdt_cookie;
	short arg_cnt;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BPF_USDT_MAX_SPEC_CNT);
	__type(key, int);
	__type(value, struct __bpf_usdt_spec);
} __bpf_usdt_specs SEC(".maps") __weak;

/* For kernels without attach cookies (before 5.15). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BPF_USDT_MAX_IP_CNT);
	__type(key, long);
	__type(value, __u32);
} __bpf_usdt_ip_to_spec_id SEC(".maps") __weak;

extern const _Bool LINUX_HAS_BPF_COOKIE __kconfig;

static __always_inline int __bpf_usdt_spec_id(struct pt_regs *ctx)
{
	if (LINUX_HAS_BPF_COOKIE) {
		return (int)bpf_get_attach_cookie(ctx);
	} else {
		long place = PT_REGS_IP(ctx);
		int *known = bpf_map_lookup_elem(&__bpf_usdt_ip_to_spec_id, &place);

		return known ? *known : -ESRCH;
	}
}

static __always_inline struct __bpf_usdt_spec *__bpf_usdt_spec_of(struct pt_regs *ctx)
{
	int id = __bpf_usdt_spec_id(ctx);

	return id < 0 ? NULL : bpf_map_lookup_elem(&__bpf_usdt_specs, &id);
}

/* How many arguments the probe has; -ESRCH when it is not known. */
__weak __hidden int bpf_usdt_arg_cnt(struct pt_regs *ctx)
{
	struct __bpf_usdt_spec *spec = __bpf_usdt_spec_of(ctx);

	return spec ? spec->arg_cnt : -ESRCH;
}

/* Bytes of an argument; -ESRCH for an unknown probe, -ENOENT for an argument that it does not have. */
__weak __hidden int bpf_usdt_arg_size(struct pt_regs *ctx, __u64 arg_num)
{
	struct __bpf_usdt_spec *spec = __bpf_usdt_spec_of(ctx);

	if (!spec)
		return -ESRCH;
	if (arg_num >= BPF_USDT_MAX_ARG_CNT)
		return -ENOENT;
	barrier_var(arg_num);
	if (arg_num >= (__u64)spec->arg_cnt)
		return -ENOENT;
	return (64u - (unsigned int)spec->args[arg_num].arg_bitshift) / 8u;
}

/* An argument's value, from 0 on. Results as above, -EINVAL for a description of another kind. */
__weak __hidden int bpf_usdt_arg(struct pt_regs *ctx, __u64 arg_num, long *res)
{
	struct __bpf_usdt_spec *spec = __bpf_usdt_spec_of(ctx);
	struct __bpf_usdt_arg_spec *arg;
	unsigned long value;
	int err;

	*res = 0;
	if (!spec)
		return -ESRCH;
	if (arg_num >= BPF_USDT_MAX_ARG_CNT)
		return -ENOENT;
	barrier_var(arg_num);
	if (arg_num >= (__u64)spec->arg_cnt)
		return -ENOENT;

	arg = &spec->args[arg_num];
	switch (arg->arg_type) {
	case BPF_USDT_ARG_CONST:
		value = arg->val_off;
		break;
	case BPF_USDT_ARG_REG:
		err = bpf_probe_read_kernel(&value, sizeof(value), (void *)ctx + arg->reg_off);
		if (err)
			return err;
		break;
	case BPF_USDT_ARG_REG_DEREF:
		err = bpf_probe_read_kernel(&value, sizeof(value), (void *)ctx + arg->reg_off);
		if (err)
			return err;
		err = bpf_probe_read_user(&value, sizeof(value), (void *)value + arg->val_off);
		if (err)
			return err;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
		value >>= arg->arg_bitshift;
#endif
		break;
	default:
		return -EINVAL;
	}
	value <<= arg->arg_bitshift;
	*res = arg->arg_signed ? (long)value >> arg->arg_bitshift : (long)(value >> arg->arg_bitshift);
	return 0;
}

/* What user space gave with the attachment. */
__weak __hidden long bpf_usdt_cookie(struct pt_regs *ctx)
{
	struct __bpf_usdt_spec *spec = __bpf_usdt_spec_of(ctx);

	return spec ? (long)spec->usdt_cookie : 0;
}

#define __bpf_usdt_value(n) ({ long __value; bpf_usdt_arg(ctx, n, &__value); (void *)__value; })
#define __bpf_usdt_list0() ctx
#define __bpf_usdt_list1(x) __bpf_usdt_list0(), __bpf_usdt_value(0)
#define __bpf_usdt_list2(x, ...) __bpf_usdt_list1(__VA_ARGS__), __bpf_usdt_value(1)
#define __bpf_usdt_list3(x, ...) __bpf_usdt_list2(__VA_ARGS__), __bpf_usdt_value(2)
#define __bpf_usdt_list4(x, ...) __bpf_usdt_list3(__VA_ARGS__), __bpf_usdt_value(3)
#define __bpf_usdt_list5(x, ...) __bpf_usdt_list4(__VA_ARGS__), __bpf_usdt_value(4)
#define __bpf_usdt_list6(x, ...) __bpf_usdt_list5(__VA_ARGS__), __bpf_usdt_value(5)
#define __bpf_usdt_list7(x, ...) __bpf_usdt_list6(__VA_ARGS__), __bpf_usdt_value(6)
#define __bpf_usdt_list8(x, ...) __bpf_usdt_list7(__VA_ARGS__), __bpf_usdt_value(7)
#define __bpf_usdt_list9(x, ...) __bpf_usdt_list8(__VA_ARGS__), __bpf_usdt_value(8)
#define __bpf_usdt_list10(x, ...) __bpf_usdt_list9(__VA_ARGS__), __bpf_usdt_value(9)
#define __bpf_usdt_list11(x, ...) __bpf_usdt_list10(__VA_ARGS__), __bpf_usdt_value(10)
#define __bpf_usdt_list12(x, ...) __bpf_usdt_list11(__VA_ARGS__), __bpf_usdt_value(11)

/* int BPF_USDT(name, int x, void *p) { ... }: a program with the probe's arguments as its own, and `ctx`. */
#define BPF_USDT(name, args...) \
	name(struct pt_regs *ctx); \
	static __always_inline typeof(name(0)) ____##name(struct pt_regs *ctx, ##args); \
	typeof(name(0)) name(struct pt_regs *ctx) \
	{ \
		_Pragma("GCC diagnostic push") \
		_Pragma("GCC diagnostic ignored \"-Wint-conversion\"") \
		return ____##name(___bpf_apply(__bpf_usdt_list, ___bpf_narg(args))(args)); \
		_Pragma("GCC diagnostic pop") \
	} \
	static __always_inline typeof(name(0)) ____##name(struct pt_regs *ctx, ##args)

#endif
