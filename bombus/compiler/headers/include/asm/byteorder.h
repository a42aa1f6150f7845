/* SPDX-License-Identifier: BSD-2-Clause */
/* The byte order of the program, not that of the machine whose headers the system has: bit-fields depend on it. */
#ifndef __BOMBUS_ASM_BYTEORDER_H__
#define __BOMBUS_ASM_BYTEORDER_H__
#if !__has_include(<linux/byteorder/little_endian.h>) /* the system has no headers of the kernel */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define __LITTLE_ENDIAN 1234
#define __LITTLE_ENDIAN_BITFIELD
#else
#define __BIG_ENDIAN 4321
#define __BIG_ENDIAN_BITFIELD
#endif
#elif __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#include <linux/byteorder/little_endian.h>
#else
#include <linux/byteorder/big_endian.h>
#endif
#endif
