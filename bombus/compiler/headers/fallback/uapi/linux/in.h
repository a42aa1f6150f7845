/* SPDX-License-Identifier: BSD-2-Clause */
/* The kernel's own sources say uapi/ where others do not. */
#include <linux/in.h>
