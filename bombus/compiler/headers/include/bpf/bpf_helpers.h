/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What BPF programs in C are written with: sections, map definitions, attributes, printing, loops.
 * Include a header that has __u32 and its kin first: "vmlinux.h" or <linux/bpf.h>.
 */
#ifndef __BPF_HELPERS__
#define __BPF_HELPERS__

#include "bpf_helper_defs.h"

/* Sections */

#if defined(__clang__)
#define SEC(name) \
	_Pragma("GCC diagnostic push") \
	_Pragma("GCC diagnostic ignored \"-Wignored-attributes\"") \
	__attribute__((section(name), used)) \
	_Pragma("GCC diagnostic pop")
#else
#define SEC(name) __attribute__((section(name), used))
#endif

/* Maps: members whose types carry numbers, types and arrays of initial values, as BTF keeps them. */

#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]
#define __ulong(name, val) enum { ___bpf_concat(__unique_value, __COUNTER__) = val } name

/* Functions. The kernel's own headers may have defined some of these. */

#undef __always_inline
#define __always_inline inline __attribute__((always_inline))

#ifndef __noinline
#define __noinline __attribute__((noinline))
#endif
#ifndef __weak
#define __weak __attribute__((weak))
#endif
#ifndef __hidden
#define __hidden __attribute__((visibility("hidden")))
#endif

/* Plain C */

#ifndef NULL
#define NULL ((void *)0)
#endif

#undef offsetof
#define offsetof(type, member) ((unsigned long)&((type *)0)->member)

#undef container_of
#define container_of(ptr, type, member) \
	({ \
		void *__of_member = (void *)(ptr); \
		((type *)(__of_member - offsetof(type, member))); \
	})

#ifndef KERNEL_VERSION
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))
#endif

#ifndef likely
#define likely(x) __builtin_expect(!!(x), 1)
#endif
#ifndef unlikely
#define unlikely(x) __builtin_expect(!!(x), 0)
#endif

/* The compiler moves no memory access across a barrier(), and knows nothing of a variable after barrier_var(). */
#ifndef barrier
#define barrier() asm volatile("" ::: "memory")
#endif
#ifndef barrier_var
#define barrier_var(var) asm volatile("" : "+r"(var))
#endif

/* Code behind this must not remain: when it does, the object does not load, and the name says why. */
#ifndef __bpf_unreachable
#define __bpf_unreachable() __builtin_trap()
#endif

/* The kernel's configuration, symbols and pointers */

enum libbpf_pin_type {
	LIBBPF_PIN_NONE,
	LIBBPF_PIN_BY_NAME,
};

enum libbpf_tristate {
	TRI_NO = 0,
	TRI_YES = 1,
	TRI_MODULE = 2,
};

#define __kconfig __attribute__((section(".kconfig")))
#define __ksym __attribute__((section(".ksyms")))

#if defined(__clang__)
#define __bpf_type_tag(name) __attribute__((btf_type_tag(name)))
#define __bpf_decl_tag(name) __attribute__((btf_decl_tag(name)))
#else
#if defined(__has_attribute) && __has_attribute(btf_type_tag)
#define __bpf_type_tag(name) __attribute__((btf_type_tag(name)))
#else
#define __bpf_type_tag(name)
#endif
#if defined(__has_attribute) && __has_attribute(btf_decl_tag)
#define __bpf_decl_tag(name) __attribute__((btf_decl_tag(name)))
#else
#define __bpf_decl_tag(name)
#endif
#endif

#define __kptr __bpf_type_tag("kptr")
#define __kptr_untrusted __bpf_type_tag("kptr_untrusted")
#define __percpu_kptr __bpf_type_tag("percpu_kptr")
#define __uptr __bpf_type_tag("uptr")

/* What the verifier may assume of a global function's argument. */
#define __arg_ctx __bpf_decl_tag("arg:ctx")
#define __arg_nonnull __bpf_decl_tag("arg:nonnull")
#define __arg_nullable __bpf_decl_tag("arg:nullable")
#define __arg_trusted __bpf_decl_tag("arg:trusted")
#define __arg_untrusted __bpf_decl_tag("arg:untrusted")
#define __arg_arena __bpf_decl_tag("arg:arena")

#if defined(__clang__)
#define bpf_ksym_exists(sym) \
	({ \
		_Static_assert(!__builtin_constant_p(!!(sym)), #sym " must be a weak extern for bpf_ksym_exists()"); \
		!!(sym); \
	})
#else
#define bpf_ksym_exists(sym) (!!(sym))
#endif

/* Macros over any number of arguments */

#ifndef ___bpf_concat
#define ___bpf_concat(a, b) a##b
#endif
#ifndef ___bpf_apply
#define ___bpf_apply(fn, n) ___bpf_concat(fn, n)
#endif
#ifndef ___bpf_nth
#define ___bpf_nth(_, _1, _2, _3, _4, _5, _6, _7, _8, _9, _a, _b, _c, N, ...) N
#endif
#ifndef ___bpf_narg
#define ___bpf_narg(...) ___bpf_nth(_, ##__VA_ARGS__, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#endif

/* Each argument into its own slot of an array of 64-bit numbers. */
#define __bpf_put0(to, at)
#define __bpf_put1(to, at, x) to[at] = x
#define __bpf_put2(to, at, x, ...) to[at] = x; __bpf_put1(to, at + 1, __VA_ARGS__)
#define __bpf_put3(to, at, x, ...) to[at] = x; __bpf_put2(to, at + 1, __VA_ARGS__)
#define __bpf_put4(to, at, x, ...) to[at] = x; __bpf_put3(to, at + 1, __VA_ARGS__)
#define __bpf_put5(to, at, x, ...) to[at] = x; __bpf_put4(to, at + 1, __VA_ARGS__)
#define __bpf_put6(to, at, x, ...) to[at] = x; __bpf_put5(to, at + 1, __VA_ARGS__)
#define __bpf_put7(to, at, x, ...) to[at] = x; __bpf_put6(to, at + 1, __VA_ARGS__)
#define __bpf_put8(to, at, x, ...) to[at] = x; __bpf_put7(to, at + 1, __VA_ARGS__)
#define __bpf_put9(to, at, x, ...) to[at] = x; __bpf_put8(to, at + 1, __VA_ARGS__)
#define __bpf_put10(to, at, x, ...) to[at] = x; __bpf_put9(to, at + 1, __VA_ARGS__)
#define __bpf_put11(to, at, x, ...) to[at] = x; __bpf_put10(to, at + 1, __VA_ARGS__)
#define __bpf_put12(to, at, x, ...) to[at] = x; __bpf_put11(to, at + 1, __VA_ARGS__)
#define ___bpf_fill(to, args...) ___bpf_apply(__bpf_put, ___bpf_narg(args))(to, 0, ##args)

/* An array `values` for a formatting helper; without arguments it has no element. */
#define __bpf_values(values, args...) \
	unsigned long long values[___bpf_narg(args)]; \
	_Pragma("GCC diagnostic push") \
	_Pragma("GCC diagnostic ignored \"-Wint-conversion\"") \
	___bpf_fill(values, ##args); \
	_Pragma("GCC diagnostic pop")

/* Printing */

/* A line for an iterator's reader. */
#define BPF_SEQ_PRINTF(seq, fmt, args...) \
	({ \
		static const char ___fmt[] = fmt; \
		__bpf_values(___param, ##args) \
		bpf_seq_printf(seq, ___fmt, sizeof(___fmt), ___param, sizeof(___param)); \
	})

/* Text into memory; gives the length that the whole text needs. */
#define BPF_SNPRINTF(out, out_size, fmt, args...) \
	({ \
		static const char ___fmt[] = fmt; \
		__bpf_values(___param, ##args) \
		bpf_snprintf(out, out_size, ___fmt, ___param, sizeof(___param)); \
	})

/* A line into one of a program's own streams. */
#define bpf_stream_printk(stream_id, fmt, args...) \
	({ \
		static const char ___fmt[] = fmt; \
		__bpf_values(___param, ##args) \
		bpf_stream_vprintk_impl(stream_id, ___fmt, ___param, sizeof(___param), NULL); \
	})
extern int bpf_stream_vprintk_impl(int stream_id, const char *fmt__str, const void *args, __u32 len__sz,
				   void *aux__prog) __weak __ksym;

#ifdef BPF_NO_GLOBAL_DATA
#define BPF_PRINTK_FMT_MOD
#else
#define BPF_PRINTK_FMT_MOD static const
#endif

#define __bpf_printk(fmt, ...) \
	({ \
		BPF_PRINTK_FMT_MOD char ____fmt[] = fmt; \
		bpf_trace_printk(____fmt, sizeof(____fmt), ##__VA_ARGS__); \
	})

#define __bpf_vprintk(fmt, args...) \
	({ \
		static const char ___fmt[] = fmt; \
		__bpf_values(___param, ##args) \
		bpf_trace_vprintk(___fmt, sizeof(___fmt), ___param, sizeof(___param)); \
	})

/* bpf_trace_printk takes three values; more need bpf_trace_vprintk (5.16). */
#define __bpf_pick_printk(...) \
	___bpf_nth(_, ##__VA_ARGS__, __bpf_vprintk, __bpf_vprintk, __bpf_vprintk, __bpf_vprintk, __bpf_vprintk, \
		   __bpf_vprintk, __bpf_vprintk, __bpf_vprintk, __bpf_vprintk, __bpf_printk /*3*/, __bpf_printk /*2*/, \
		   __bpf_printk /*1*/, __bpf_printk /*0*/)

/* A line into the kernel's trace pipe, with up to 12 values. */
#define bpf_printk(fmt, args...) __bpf_pick_printk(args)(fmt, ##args)

/* Tail calls whose slot is a constant: the kernel turns these into direct jumps. */
#if defined(__bpf__) || defined(__BPF__)
static __always_inline void bpf_tail_call_static(void *ctx, const void *map, const __u32 slot)
{
	if (!__builtin_constant_p(slot))
		__bpf_unreachable();

#if !defined(__clang__) && __GNUC__ < 13 /* whose assembler has another syntax */
	bpf_tail_call(ctx, (void *)map, slot);
#else
	/* In asm, so that the map and the slot are never merged with those of another call. */
	asm volatile("r1 = %[ctx]\n\t"
		     "r2 = %[map]\n\t"
		     "r3 = %[slot]\n\t"
		     "call 12"
		     :: [ctx]"r"(ctx), [map]"r"(map), [slot]"i"(slot)
		     : "r0", "r1", "r2", "r3", "r4", "r5");
#endif
}
#endif

/* Loops over open-coded iterators (6.4) */

struct bpf_iter_num;

extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __weak __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __weak __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __weak __ksym;

/*
 * bpf_for_each(css, pos, root, flags) { ... } runs over bpf_iter_css_new(), _next(), _destroy(). The iterator is
 * destroyed however the loop is left.
 */
#ifndef bpf_for_each
#define bpf_for_each(type, cur, args...) \
	for (struct bpf_iter_##type __it __attribute__((aligned(8), cleanup(bpf_iter_##type##_destroy))), \
		*__made __attribute__((unused)) = \
			(bpf_iter_##type##_new(&__it, ##args), (void)bpf_iter_##type##_destroy, (void *)0); \
	     (((cur) = bpf_iter_##type##_next(&__it)));)
#endif

/* bpf_for(i, start, end) { ... } gives i every number from start up to, but without, end. */
#ifndef bpf_for
#define bpf_for(i, start, end) \
	for (struct bpf_iter_num __it __attribute__((aligned(8), cleanup(bpf_iter_num_destroy))), \
		*__made __attribute__((unused)) = \
			(bpf_iter_num_new(&__it, (start), (end)), (void)bpf_iter_num_destroy, (void *)0); \
	     ({ \
		     int *__number = bpf_iter_num_next(&__it); \
		     (__number && ((i) = *__number, (i) >= (start) && (i) < (end))); \
	     });)
#endif

/* bpf_repeat(n) { ... } runs n times. */
#ifndef bpf_repeat
#define bpf_repeat(n) \
	for (struct bpf_iter_num __it __attribute__((aligned(8), cleanup(bpf_iter_num_destroy))), \
		*__made __attribute__((unused)) = \
			(bpf_iter_num_new(&__it, 0, (n)), (void)bpf_iter_num_destroy, (void *)0); \
	     bpf_iter_num_next(&__it);)
#endif

#endif
