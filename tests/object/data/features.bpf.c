// SPDX-License-Identifier: BSD-2-Clause
/* What an object can ask of a loader beside maps and code. */
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

extern int LINUX_KERNEL_VERSION __kconfig;
extern unsigned long CONFIG_HZ __kconfig;
extern bool CONFIG_BPF_SYSCALL __kconfig;
extern char CONFIG_DEFAULT_HOSTNAME[16] __kconfig __weak;
extern enum libbpf_tristate CONFIG_NO_SUCH_OPTION __kconfig __weak;
extern const void bpf_prog_alloc __ksym;
extern const void no_such_symbol __ksym __weak;
extern const int no_such_percpu __ksym __weak;

struct task_struct___here {
	int pid;
	int no_such_member;
	struct task_struct___here *real_parent;
	unsigned int no_such_bits : 3;
} __attribute__((preserve_access_index));

struct no_such_struct {
	int a;
} __attribute__((preserve_access_index));

enum bpf_map_type___here { BPF_MAP_TYPE_HASH___here, BPF_MAP_TYPE_NONSENSE = 1 };
enum big : unsigned long long { BIG = 0x123456789abcdefULL };

int custom SEC(".data.custom") = 5;
const int lookup[4] SEC(".rodata.table") = { 1, 2, 3, 4 };
static volatile int counter;
volatile enum big big = BIG;

__weak int weak_add(int a)
{
	return a + counter;
}

__hidden int hidden_add(int a)
{
	return a + custom;
}

static __noinline long callback(__u32 index, void *ctx)
{
	counter += lookup[index & 3];
	return 0;
}

SEC("?raw_tp")
int not_by_default(void *ctx)
{
	return 0;
}

SEC("raw_tp/sys_enter")
int probe(void *ctx)
{
	struct task_struct___here *task = (void *)bpf_get_current_task();
	int found = bpf_core_field_exists(task->pid) + 2 * bpf_core_field_exists(task->no_such_member);

	found += 4 * bpf_core_type_exists(struct no_such_struct) + bpf_core_type_size(struct task_struct___here);
	found += bpf_core_enum_value_exists(enum bpf_map_type___here, BPF_MAP_TYPE_HASH___here);
	found += bpf_core_enum_value_exists(enum bpf_map_type___here, BPF_MAP_TYPE_NONSENSE);
	found += bpf_core_field_size(task->pid) + bpf_core_type_id_local(struct no_such_struct);
	if (bpf_core_field_exists(task->no_such_member))
		found += BPF_CORE_READ(task, no_such_member);
	if (bpf_core_field_exists(task->no_such_bits))
		found += BPF_CORE_READ_BITFIELD_PROBED(task, no_such_bits);
	return found + BPF_CORE_READ(task, real_parent, pid);
}

SEC("raw_tp/sys_exit")
int config(void *ctx)
{
	long sum = LINUX_KERNEL_VERSION + CONFIG_HZ + CONFIG_BPF_SYSCALL + CONFIG_DEFAULT_HOSTNAME[0];

	if (&no_such_symbol)
		sum++;
	if (CONFIG_NO_SUCH_OPTION == TRI_MODULE)
		sum--;
	bpf_loop(4, callback, 0, 0);
	return sum + (long)&bpf_prog_alloc + weak_add(1) + hidden_add(big);
}

char LICENSE[] SEC("license") = "GPL";
__u32 _version SEC("version") = 0x60000;
