// Macros younger than the libbpf of most distributions: loops, casts, symbols, tags, user probes.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

char LICENSE[] SEC("license") = "GPL";
extern int LINUX_KERNEL_VERSION __kconfig;
extern const void bpf_prog_put __ksym __weak;
extern void bpf_no_such_function(void) __ksym __weak;
long total;

struct kept {
	struct task_struct __kptr *task;
	struct bpf_refcount ref;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__uint(pinning, LIBBPF_PIN_NONE);
	__type(key, int);
	__type(value, struct kept);
} tasks SEC(".maps");

__weak int global(struct pt_regs *ctx __arg_ctx, int *slot __arg_nonnull)
{
	return *slot + (ctx != NULL);
}

SEC("raw_tp/sys_exit")
int loops(void *ctx)
{
	struct task_struct *task = bpf_core_cast((void *)bpf_get_current_task(), struct task_struct);
	int i, sum = 0, *number;

	bpf_for(i, 0, 10)
		sum += i;
	bpf_repeat(5)
		sum++;
	bpf_for_each(num, number, 0, 3)
		sum += *number;
	if (bpf_ksym_exists(bpf_no_such_function))
		bpf_no_such_function();
	if (LINUX_KERNEL_VERSION >= KERNEL_VERSION(6, 2, 0))
		sum += task->pid;
	total += sum;
	return 0;
}

SEC("uprobe//bin/sh:main")
int BPF_UPROBE(start, int argc, char **argv)
{
	total += argc + (argv != NULL);
	return 0;
}

SEC("uretprobe//bin/sh:main")
int BPF_URETPROBE(stop, int ret)
{
	total += ret;
	return 0;
}
