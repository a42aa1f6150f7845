/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Kernel memory by names ("compile once, run everywhere"): the loader corrects offsets, sizes, shifts and enum values
 * for the kernel that it loads into.
 */
#ifndef __BPF_CORE_READ_H__
#define __BPF_CORE_READ_H__

#include "bpf_helpers.h"

/* What __builtin_preserve_field_info, _type_info, _enum_value and __builtin_btf_type_id are asked for. */

enum bpf_field_info_kind {
	BPF_FIELD_BYTE_OFFSET = 0,
	BPF_FIELD_BYTE_SIZE = 1,
	BPF_FIELD_EXISTS = 2,
	BPF_FIELD_SIGNED = 3,
	BPF_FIELD_LSHIFT_U64 = 4,
	BPF_FIELD_RSHIFT_U64 = 5,
};

enum bpf_type_id_kind {
	BPF_TYPE_ID_LOCAL = 0,
	BPF_TYPE_ID_TARGET = 1,
};

enum bpf_type_info_kind {
	BPF_TYPE_EXISTS = 0,
	BPF_TYPE_SIZE = 1,
	BPF_TYPE_MATCHES = 2,
};

enum bpf_enum_value_kind {
	BPF_ENUMVAL_EXISTS = 0,
	BPF_ENUMVAL_VALUE = 1,
};

/* A type as a place of it, an enumerator as a place of its type: how the builtins are told of either. */
#if defined(__clang__)
#define __bpf_core_type(type) (*(typeof(type) *)0)
#define __bpf_core_enumerator(type, value) (*(typeof(type) *)value)
#else
#define __bpf_core_type(type) (*({ extern typeof(type) *__bpf_core_place; __bpf_core_place; }))
#define __bpf_core_enumerator(type, value) __bpf_core_type(type), value
#endif

/* gcc before 14 relocates accesses only. Without this, the builtins would become calls of functions that nobody has. */
#if !defined(__clang__) && !__has_builtin(__builtin_preserve_field_info)
#define __bpf_core_missing(what) ({ _Static_assert(0, what " needs clang or gcc 14"); 0; })
#define __builtin_preserve_field_info(...) __bpf_core_missing("CO-RE on members (bpf_core_field_exists and its kin)")
#define __builtin_preserve_type_info(...) __bpf_core_missing("CO-RE on types (bpf_core_type_exists and its kin)")
#define __builtin_preserve_enum_value(...) __bpf_core_missing("CO-RE on enumerators (bpf_core_enum_value)")
#define __builtin_btf_type_id(...) __bpf_core_missing("CO-RE on type ids (bpf_core_type_id_kernel, bpf_core_cast)")
#endif

/* Members: bpf_core_field_exists(p->x) or bpf_core_field_exists(struct t, x). */

#define __bpf_core_field1(place) (place)
#define __bpf_core_field2(type, member) (((typeof(type) *)0)->member)
#define __bpf_core_field(field...) ___bpf_apply(__bpf_core_field, ___bpf_narg(field))(field)

#define bpf_core_field_exists(field...) \
	__builtin_preserve_field_info(__bpf_core_field(field), BPF_FIELD_EXISTS)
#define bpf_core_field_size(field...) \
	__builtin_preserve_field_info(__bpf_core_field(field), BPF_FIELD_BYTE_SIZE)
#define bpf_core_field_offset(field...) \
	__builtin_preserve_field_info(__bpf_core_field(field), BPF_FIELD_BYTE_OFFSET)

/* Types: those of the program and those of the kernel. */

#define bpf_core_type_id_local(type) __builtin_btf_type_id(__bpf_core_type(type), BPF_TYPE_ID_LOCAL)
#define bpf_core_type_id_kernel(type) __builtin_btf_type_id(__bpf_core_type(type), BPF_TYPE_ID_TARGET)
#define bpf_core_type_exists(type) __builtin_preserve_type_info(__bpf_core_type(type), BPF_TYPE_EXISTS)
#define bpf_core_type_matches(type) __builtin_preserve_type_info(__bpf_core_type(type), BPF_TYPE_MATCHES)
#define bpf_core_type_size(type) __builtin_preserve_type_info(__bpf_core_type(type), BPF_TYPE_SIZE)

/* Enumerators */

#define bpf_core_enum_value_exists(enum_type, enum_value) \
	__builtin_preserve_enum_value(__bpf_core_enumerator(enum_type, enum_value), BPF_ENUMVAL_EXISTS)
#define bpf_core_enum_value(enum_type, enum_value) \
	__builtin_preserve_enum_value(__bpf_core_enumerator(enum_type, enum_value), BPF_ENUMVAL_VALUE)

/* Bit-fields */

#define __CORE_RELO(src, field, info) __builtin_preserve_field_info((src)->field, BPF_FIELD_##info)

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define __bpf_core_bits_room(to, src, field) ((void *)(to))
#else
#define __bpf_core_bits_room(to, src, field) ((void *)(to) + (8 - __CORE_RELO(src, field, BYTE_SIZE)))
#endif

/* The bits of a word that hold a member, as a number. */
#define __bpf_core_bits(word, src, field) \
	({ \
		word <<= __CORE_RELO(src, field, LSHIFT_U64); \
		if (__CORE_RELO(src, field, SIGNED)) \
			word = ((long long)word) >> __CORE_RELO(src, field, RSHIFT_U64); \
		else \
			word = word >> __CORE_RELO(src, field, RSHIFT_U64); \
		word; \
	})

/* A bit-field of memory that must be read by a helper. */
#define BPF_CORE_READ_BITFIELD_PROBED(src, field) \
	({ \
		unsigned long long __val = 0; \
		bpf_probe_read_kernel(__bpf_core_bits_room(&__val, src, field), __CORE_RELO(src, field, BYTE_SIZE), \
				      (const void *)(src) + __CORE_RELO(src, field, BYTE_OFFSET)); \
		__bpf_core_bits(__val, src, field); \
	})

/* A bit-field of memory that the program may read itself. */
#define BPF_CORE_READ_BITFIELD(src, field) \
	({ \
		const void *__place = (const void *)(src) + __CORE_RELO(src, field, BYTE_OFFSET); \
		unsigned long long __val; \
		/* The offset must not be merged into the loads: each would need a correction of its own. */ \
		asm volatile("" : "+r"(__place)); \
		switch (__CORE_RELO(src, field, BYTE_SIZE)) { \
		case 1: __val = *(const unsigned char *)__place; break; \
		case 2: __val = *(const unsigned short *)__place; break; \
		case 4: __val = *(const unsigned int *)__place; break; \
		case 8: __val = *(const unsigned long long *)__place; break; \
		default: __val = 0; break; \
		} \
		__bpf_core_bits(__val, src, field); \
	})

/* Change a bit-field of memory that the program may write. */
#define BPF_CORE_WRITE_BITFIELD(src, field, new_val) \
	({ \
		void *__place = (void *)(src) + __CORE_RELO(src, field, BYTE_OFFSET); \
		unsigned int __size = __CORE_RELO(src, field, BYTE_SIZE); \
		unsigned int __left = __CORE_RELO(src, field, LSHIFT_U64); \
		unsigned int __right = __CORE_RELO(src, field, RSHIFT_U64); \
		unsigned long long __mask, __word, __bits = new_val; \
		unsigned int __up = __right - __left; \
		asm volatile("" : "+r"(__place)); \
		__mask = (~0ULL << __right) >> __left; \
		__bits = (__bits << __up) & __mask; \
		switch (__size) { \
		case 1: __word = *(unsigned char *)__place; *(unsigned char *)__place = (__word & ~__mask) | __bits; break; \
		case 2: __word = *(unsigned short *)__place; *(unsigned short *)__place = (__word & ~__mask) | __bits; break; \
		case 4: __word = *(unsigned int *)__place; *(unsigned int *)__place = (__word & ~__mask) | __bits; break; \
		case 8: \
			__word = *(unsigned long long *)__place; \
			*(unsigned long long *)__place = (__word & ~__mask) | __bits; \
			break; \
		} \
	})

/* One read */

#define bpf_core_read(dst, sz, src) bpf_probe_read_kernel(dst, sz, (const void *)__builtin_preserve_access_index(src))
#define bpf_core_read_user(dst, sz, src) \
	bpf_probe_read_user(dst, sz, (const void *)__builtin_preserve_access_index(src))
#define bpf_core_read_str(dst, sz, src) \
	bpf_probe_read_kernel_str(dst, sz, (const void *)__builtin_preserve_access_index(src))
#define bpf_core_read_user_str(dst, sz, src) \
	bpf_probe_read_user_str(dst, sz, (const void *)__builtin_preserve_access_index(src))

extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __weak __ksym;

/* The same address as a pointer that the verifier lets the program read through (6.2). */
#define bpf_core_cast(ptr, type) ((typeof(type) *)bpf_rdonly_cast((ptr), bpf_core_type_id_kernel(type)))

/*
 * Chains: BPF_CORE_READ(task, mm, exe_file, f_inode) reads every pointer but the last as a pointer of the kernel.
 * __bpf_path joins names with arrows; __bpf_init and __bpf_last take a list apart.
 */
#define __bpf_chain_len(...) ___bpf_narg(__VA_ARGS__)

#define __bpf_path2(a, b) a->b
#define __bpf_path3(a, b, c) a->b->c
#define __bpf_path4(a, b, c, d) a->b->c->d
#define __bpf_path5(a, b, c, d, e) a->b->c->d->e
#define __bpf_path6(a, b, c, d, e, f) a->b->c->d->e->f
#define __bpf_path7(a, b, c, d, e, f, g) a->b->c->d->e->f->g
#define __bpf_path8(a, b, c, d, e, f, g, h) a->b->c->d->e->f->g->h
#define __bpf_path9(a, b, c, d, e, f, g, h, i) a->b->c->d->e->f->g->h->i
#define __bpf_path10(a, b, c, d, e, f, g, h, i, j) a->b->c->d->e->f->g->h->i->j
#define __bpf_path(...) ___bpf_apply(__bpf_path, __bpf_chain_len(__VA_ARGS__))(__VA_ARGS__)
#define __bpf_path_type(...) typeof(__bpf_path(__VA_ARGS__))

/* The last step: from `at`, which stands for what the names before lead to. */
#define __bpf_final(read, dst, type, at, member) read((void *)(dst), sizeof(*(dst)), &((type)(at))->member)
/* A step between: the pointer that is read takes the place of `at`. */
#define __bpf_step(read, type, member) read(&__at, sizeof(__at), &((type)(__at))->member);

#define __bpf_chain2(get, ptr, dst, a, b) __bpf_final(get, dst, typeof(a), a, b)
#define __bpf_chain3(get, ptr, dst, a, b, c) \
	({ const void *__at; ptr(&__at, sizeof(__at), &((typeof(a))(a))->b); \
	   __bpf_final(get, dst, __bpf_path_type(a, b), __at, c); })
#define __bpf_chain4(get, ptr, dst, a, b, c, d) \
	({ const void *__at; ptr(&__at, sizeof(__at), &((typeof(a))(a))->b); \
	   __bpf_step(ptr, __bpf_path_type(a, b), c) \
	   __bpf_final(get, dst, __bpf_path_type(a, b, c), __at, d); })
#define __bpf_chain5(get, ptr, dst, a, b, c, d, e) \
	({ const void *__at; ptr(&__at, sizeof(__at), &((typeof(a))(a))->b); \
	   __bpf_step(ptr, __bpf_path_type(a, b), c) \
	   __bpf_step(ptr, __bpf_path_type(a, b, c), d) \
	   __bpf_final(get, dst, __bpf_path_type(a, b, c, d), __at, e); })
#define __bpf_chain6(get, ptr, dst, a, b, c, d, e, f) \
	({ const void *__at; ptr(&__at, sizeof(__at), &((typeof(a))(a))->b); \
	   __bpf_step(ptr, __bpf_path_type(a, b), c) \
	   __bpf_step(ptr, __bpf_path_type(a, b, c), d) \
	   __bpf_step(ptr, __bpf_path_type(a, b, c, d), e) \
	   __bpf_final(get, dst, __bpf_path_type(a, b, c, d, e), __at, f); })
#define __bpf_chain7(get, ptr, dst, a, b, c, d, e, f, g) \
	({ const void *__at; ptr(&__at, sizeof(__at), &((typeof(a))(a))->b); \
	   __bpf_step(ptr, __bpf_path_type(a, b), c) \
	   __bpf_step(ptr, __bpf_path_type(a, b, c), d) \
	   __bpf_step(ptr, __bpf_path_type(a, b, c, d), e) \
	   __bpf_step(ptr, __bpf_path_type(a, b, c, d, e), f) \
	   __bpf_final(get, dst, __bpf_path_type(a, b, c, d, e, f), __at, g); })
#define __bpf_chain8(get, ptr, dst, a, b, c, d, e, f, g, h) \
	({ const void *__at; ptr(&__at, sizeof(__at), &((typeof(a))(a))->b); \
	   __bpf_step(ptr, __bpf_path_type(a, b), c) \
	   __bpf_step(ptr, __bpf_path_type(a, b, c), d) \
	   __bpf_step(ptr, __bpf_path_type(a, b, c, d), e) \
	   __bpf_step(ptr, __bpf_path_type(a, b, c, d, e), f) \
	   __bpf_step(ptr, __bpf_path_type(a, b, c, d, e, f), g) \
	   __bpf_final(get, dst, __bpf_path_type(a, b, c, d, e, f, g), __at, h); })
#define __bpf_chain9(get, ptr, dst, a, b, c, d, e, f, g, h, i) \
	({ const void *__at; ptr(&__at, sizeof(__at), &((typeof(a))(a))->b); \
	   __bpf_step(ptr, __bpf_path_type(a, b), c) \
	   __bpf_step(ptr, __bpf_path_type(a, b, c), d) \
	   __bpf_step(ptr, __bpf_path_type(a, b, c, d), e) \
	   __bpf_step(ptr, __bpf_path_type(a, b, c, d, e), f) \
	   __bpf_step(ptr, __bpf_path_type(a, b, c, d, e, f), g) \
	   __bpf_step(ptr, __bpf_path_type(a, b, c, d, e, f, g), h) \
	   __bpf_final(get, dst, __bpf_path_type(a, b, c, d, e, f, g, h), __at, i); })
#define __bpf_chain10(get, ptr, dst, a, b, c, d, e, f, g, h, i, j) \
	({ const void *__at; ptr(&__at, sizeof(__at), &((typeof(a))(a))->b); \
	   __bpf_step(ptr, __bpf_path_type(a, b), c) \
	   __bpf_step(ptr, __bpf_path_type(a, b, c), d) \
	   __bpf_step(ptr, __bpf_path_type(a, b, c, d), e) \
	   __bpf_step(ptr, __bpf_path_type(a, b, c, d, e), f) \
	   __bpf_step(ptr, __bpf_path_type(a, b, c, d, e, f), g) \
	   __bpf_step(ptr, __bpf_path_type(a, b, c, d, e, f, g), h) \
	   __bpf_step(ptr, __bpf_path_type(a, b, c, d, e, f, g, h), i) \
	   __bpf_final(get, dst, __bpf_path_type(a, b, c, d, e, f, g, h, i), __at, j); })
#define __bpf_chain(get, ptr, dst, ...) \
	___bpf_apply(__bpf_chain, __bpf_chain_len(__VA_ARGS__))(get, ptr, dst, __VA_ARGS__)

/* Into a variable: kernel or user memory, with CO-RE or with the offsets of the program's own types. */
#define BPF_CORE_READ_INTO(dst, src, a, ...) \
	({ __bpf_chain(bpf_core_read, bpf_core_read, dst, (src), a, ##__VA_ARGS__); })
#define BPF_CORE_READ_USER_INTO(dst, src, a, ...) \
	({ __bpf_chain(bpf_core_read_user, bpf_core_read_user, dst, (src), a, ##__VA_ARGS__); })
#define BPF_PROBE_READ_INTO(dst, src, a, ...) \
	({ __bpf_chain(bpf_probe_read_kernel, bpf_probe_read_kernel, dst, (src), a, ##__VA_ARGS__); })
#define BPF_PROBE_READ_USER_INTO(dst, src, a, ...) \
	({ __bpf_chain(bpf_probe_read_user, bpf_probe_read_user, dst, (src), a, ##__VA_ARGS__); })

/* Zero-terminated text into an array. */
#define BPF_CORE_READ_STR_INTO(dst, src, a, ...) \
	({ __bpf_chain(bpf_core_read_str, bpf_core_read, dst, (src), a, ##__VA_ARGS__); })
#define BPF_CORE_READ_USER_STR_INTO(dst, src, a, ...) \
	({ __bpf_chain(bpf_core_read_user_str, bpf_core_read_user, dst, (src), a, ##__VA_ARGS__); })
#define BPF_PROBE_READ_STR_INTO(dst, src, a, ...) \
	({ __bpf_chain(bpf_probe_read_kernel_str, bpf_probe_read_kernel, dst, (src), a, ##__VA_ARGS__); })
#define BPF_PROBE_READ_USER_STR_INTO(dst, src, a, ...) \
	({ __bpf_chain(bpf_probe_read_user_str, bpf_probe_read_user, dst, (src), a, ##__VA_ARGS__); })

/* As an expression. Members may be const: clang 21 and newer warn of const variables that begin without a value. */
#if defined(__clang__) && __clang_major__ >= 21
#define __bpf_result_type(...) __typeof_unqual__(__bpf_path(__VA_ARGS__))
#else
#define __bpf_result_type(...) __bpf_path_type(__VA_ARGS__)
#endif
#define __bpf_chain_value(into, src, a, ...) \
	({ __bpf_result_type((src), a, ##__VA_ARGS__) __result; into(&__result, (src), a, ##__VA_ARGS__); __result; })
#define BPF_CORE_READ(src, a, ...) __bpf_chain_value(BPF_CORE_READ_INTO, src, a, ##__VA_ARGS__)
#define BPF_CORE_READ_USER(src, a, ...) __bpf_chain_value(BPF_CORE_READ_USER_INTO, src, a, ##__VA_ARGS__)
#define BPF_PROBE_READ(src, a, ...) __bpf_chain_value(BPF_PROBE_READ_INTO, src, a, ##__VA_ARGS__)
#define BPF_PROBE_READ_USER(src, a, ...) __bpf_chain_value(BPF_PROBE_READ_USER_INTO, src, a, ##__VA_ARGS__)

#endif
