/* SPDX-License-Identifier: BSD-2-Clause */
/* Where the system has no headers of the kernel. */
#ifndef __BOMBUS_ASM_TYPES_H__
#define __BOMBUS_ASM_TYPES_H__
#include <linux/types.h>
#endif
