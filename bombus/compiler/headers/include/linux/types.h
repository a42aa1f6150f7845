/* SPDX-License-Identifier: BSD-2-Clause */
/* The kernel's <linux/types.h>: the system's where there is one, and nothing beside vmlinux.h, which has all types. */
#ifndef __BOMBUS_LINUX_TYPES_H__
#define __BOMBUS_LINUX_TYPES_H__

#ifdef __VMLINUX_H__
#ifndef __bitwise
#define __bitwise
#endif
#ifndef __aligned_u64
#define __aligned_u64 __u64 __attribute__((aligned(8)))
#endif
#elif __has_include_next(<linux/types.h>)
#include_next <linux/types.h>
#else
typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;

#define __bitwise
typedef __u16 __le16;
typedef __u16 __be16;
typedef __u32 __le32;
typedef __u32 __be32;
typedef __u64 __le64;
typedef __u64 __be64;
typedef __u16 __sum16;
typedef __u32 __wsum;
typedef unsigned int __poll_t;

#define __aligned_u64 __u64 __attribute__((aligned(8)))
#define __aligned_be64 __be64 __attribute__((aligned(8)))
#define __aligned_le64 __le64 __attribute__((aligned(8)))
#endif

#endif
