/* SPDX-License-Identifier: BSD-2-Clause */
/* Where the system has no headers of the kernel: UDP headers (RFC 768). */
#ifndef _UAPI_LINUX_UDP_H
#define _UAPI_LINUX_UDP_H
#include <linux/types.h>
struct udphdr {
	__be16 source;
	__be16 dest;
	__be16 len;
	__sum16 check;
};
#endif
