/* SPDX-License-Identifier: BSD-2-Clause */
/* Byte order, of constants at compile time and of values with one instruction. */
#ifndef __BPF_ENDIAN__
#define __BPF_ENDIAN__

#define __bpf_swapped16(x) ((__u16)((__u16)(x) << 8 | (__u16)(x) >> 8))
#define __bpf_swapped32(x) \
	((__u32)(((__u32)(x) & 0xffU) << 24 | ((__u32)(x) & 0xff00U) << 8 | ((__u32)(x) & 0xff0000U) >> 8 | \
		 (__u32)(x) >> 24))
#define __bpf_swapped64(x) \
	((__u64)((__u64)__bpf_swapped32((__u64)(x) & 0xffffffffULL) << 32 | __bpf_swapped32((__u64)(x) >> 32)))

/* Names that programs of the kernel's use. */
#define ___bpf_swab16(x) __bpf_swapped16(x)
#define ___bpf_swab32(x) __bpf_swapped32(x)
#define ___bpf_swab64(x) __bpf_swapped64(x)

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define __bpf_ntohs(x) __builtin_bswap16(x)
#define __bpf_htons(x) __builtin_bswap16(x)
#define __bpf_constant_ntohs(x) __bpf_swapped16(x)
#define __bpf_constant_htons(x) __bpf_swapped16(x)
#define __bpf_ntohl(x) __builtin_bswap32(x)
#define __bpf_htonl(x) __builtin_bswap32(x)
#define __bpf_constant_ntohl(x) __bpf_swapped32(x)
#define __bpf_constant_htonl(x) __bpf_swapped32(x)
#define __bpf_be64_to_cpu(x) __builtin_bswap64(x)
#define __bpf_cpu_to_be64(x) __builtin_bswap64(x)
#define __bpf_constant_be64_to_cpu(x) __bpf_swapped64(x)
#define __bpf_constant_cpu_to_be64(x) __bpf_swapped64(x)
#elif __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define __bpf_ntohs(x) (x)
#define __bpf_htons(x) (x)
#define __bpf_constant_ntohs(x) (x)
#define __bpf_constant_htons(x) (x)
#define __bpf_ntohl(x) (x)
#define __bpf_htonl(x) (x)
#define __bpf_constant_ntohl(x) (x)
#define __bpf_constant_htonl(x) (x)
#define __bpf_be64_to_cpu(x) (x)
#define __bpf_cpu_to_be64(x) (x)
#define __bpf_constant_be64_to_cpu(x) (x)
#define __bpf_constant_cpu_to_be64(x) (x)
#else
#error "the compiler does not tell its byte order"
#endif

#define __bpf_by_constness(x, constant, value) (__builtin_constant_p(x) ? constant(x) : value(x))

#define bpf_htons(x) __bpf_by_constness(x, __bpf_constant_htons, __bpf_htons)
#define bpf_ntohs(x) __bpf_by_constness(x, __bpf_constant_ntohs, __bpf_ntohs)
#define bpf_htonl(x) __bpf_by_constness(x, __bpf_constant_htonl, __bpf_htonl)
#define bpf_ntohl(x) __bpf_by_constness(x, __bpf_constant_ntohl, __bpf_ntohl)
#define bpf_cpu_to_be64(x) __bpf_by_constness(x, __bpf_constant_cpu_to_be64, __bpf_cpu_to_be64)
#define bpf_be64_to_cpu(x) __bpf_by_constness(x, __bpf_constant_be64_to_cpu, __bpf_be64_to_cpu)

#endif
