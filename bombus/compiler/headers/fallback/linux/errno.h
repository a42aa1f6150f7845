/* SPDX-License-Identifier: BSD-2-Clause */
/* Where the system has no headers of the kernel: numbers that all architectures of BPF's kernels but MIPS and SPARC share. */
#ifndef __BOMBUS_LINUX_ERRNO_H__
#define __BOMBUS_LINUX_ERRNO_H__
#define EPERM 1
#define ENOENT 2
#define ESRCH 3
#define EINTR 4
#define EIO 5
#define ENXIO 6
#define E2BIG 7
#define EBADF 9
#define EAGAIN 11
#define ENOMEM 12
#define EACCES 13
#define EFAULT 14
#define EBUSY 16
#define EEXIST 17
#define ENODEV 19
#define EINVAL 22
#define ENOSPC 28
#define ERANGE 34
#define ENAMETOOLONG 36
#define EPROTO 71
#define EOVERFLOW 75
#define EOPNOTSUPP 95

#define ETIMEDOUT 110
#endif
