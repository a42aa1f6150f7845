// Lines of text: with none to twelve values, for iterators, into memory.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";
char text[64];

SEC("iter/task")
int dump(struct bpf_iter__task *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct task_struct *task = ctx->task;

	if (!task)
		return 0;
	if (!ctx->meta->seq_num)
		BPF_SEQ_PRINTF(seq, "pid comm\n");
	BPF_SEQ_PRINTF(seq, "%d %s\n", task->pid, task->comm);
	return 0;
}

SEC("tp/syscalls/sys_enter_getpgid")
int lines(void *ctx)
{
	long n = bpf_get_current_pid_tgid();

	bpf_printk("none");
	bpf_printk("%d", (int)n);
	bpf_printk("%d %x", (int)n, (int)n);
	bpf_printk("%d %x %llu", (int)n, (int)n, n);
	bpf_printk("%d %x %llu %d", (int)n, (int)n, n, 4);
	bpf_printk("%d %d %d %d %d %d %d %d %d %d %d %d", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, (int)n);
	BPF_SNPRINTF(text, sizeof(text), "%d of %d: %s", (int)n, 7, "x");
	return 0;
}
