/* Helpers behind checks whose answer is known before the program runs. */
#include "common.h"
struct task_struct { int there; int missing; } CORE;
struct newer { int x; } CORE;
const volatile u32 wanted = 0;
extern u32 LINUX_KERNEL_VERSION __kconfig;

SEC("kprobe/field") int field(struct task_struct *t)
{
	if (exists(t->missing))
		return ktime_get_tai_ns();
	return ktime_get_ns();
}

SEC("kprobe/both") int both(struct task_struct *t)
{
	if (exists(t->missing))
		return ktime_get_tai_ns();
	return ktime_get_tai_ns() + 1;
}

static __noinline u64 behind(void *x)
{
	return ktime_get_tai_ns();
}

SEC("kprobe/call") int call(void *t)
{
	if (type_exists(struct newer))
		return behind(t);
	return 0;
}

SEC("kprobe/constant") int constant(void *t)
{
	if (wanted)
		return ktime_get_tai_ns();
	return 0;
}

SEC("kprobe/version") int version(void *t)
{
	if (LINUX_KERNEL_VERSION > 0x060100)
		return ktime_get_tai_ns();
	return 0;
}

SEC("kprobe/runtime") int runtime(u32 *t)
{
	u32 value = 0;

	probe_read_kernel(&value, 4, t);
	if (value)
		return ktime_get_tai_ns();
	return 0;
}
