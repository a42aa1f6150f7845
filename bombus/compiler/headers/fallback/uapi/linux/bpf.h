/* SPDX-License-Identifier: BSD-2-Clause */
/* The kernel's own sources say uapi/ where others do not, and count on what its inner headers bring along. */
#ifndef __BOMBUS_UAPI_LINUX_BPF_H__
#define __BOMBUS_UAPI_LINUX_BPF_H__
#include <linux/bpf.h>
#ifndef __VMLINUX_H__
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s8 s8;
typedef __s16 s16;
typedef __s32 s32;
typedef __s64 s64;
#ifndef __bool_true_false_are_defined
#include <stdbool.h>
#endif
#endif
#ifndef AF_INET
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#endif
#ifndef SOL_SOCKET
#define SOL_SOCKET 1
#endif
#ifndef SOL_IP
#define SOL_IP 0
#define SOL_TCP 6
#define SOL_UDP 17
#define SOL_IPV6 41
#endif
#if __has_include(<asm/socket.h>)
#include <asm/socket.h>
#endif
#ifndef __force
#define __force
#endif
#ifndef TASK_COMM_LEN
#define TASK_COMM_LEN 16
#endif
#endif
