#include "twin.h"
struct seq_file { unsigned long size; } __attribute__((preserve_access_index));
struct bpf_iter_meta { struct seq_file *seq; } __attribute__((preserve_access_index));
struct task_struct { int pid, tgid; } __attribute__((preserve_access_index));
struct bpf_iter__task { struct bpf_iter_meta *meta; struct task_struct *task; };
struct line { int pid, tgid; };
SEC("iter/task") int tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct bpf_iter_meta *meta = ctx->meta;
	if (!task || !meta) return 0;
	struct seq_file *seq = meta->seq;
	if (!seq) return 0;
	struct line line = { task->pid, task->tgid };
	bpf_seq_write(seq, &line, sizeof(line));
	return 0;
}
char LICENSE[] SEC("license") = "GPL";
