/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef __BOMBUS_LINUX_STDDEF_H__
#define __BOMBUS_LINUX_STDDEF_H__
#ifndef NULL
#define NULL ((void *)0)
#endif
#endif
