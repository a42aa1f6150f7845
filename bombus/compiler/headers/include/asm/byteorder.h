/* SPDX-License-Identifier: BSD-2-Clause */
/* The byte order of the program, not that of the machine whose headers the system has: bit-fields depend on it. */
#ifndef __BOMBUS_ASM_BYTEORDER_H__
#define __BOMBUS_ASM_BYTEORDER_H__
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#include <linux/byteorder/little_endian.h>
#else
#include <linux/byteorder/big_endian.h>
#endif
#endif
