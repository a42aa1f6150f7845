#include "twin.h"
struct task_struct { int tgid; struct task_struct *real_parent; } __attribute__((preserve_access_index));
struct linux_binprm { const char *filename; } __attribute__((preserve_access_index));
struct exec { struct task_struct *task; __u64 old_pid; struct linux_binprm *bprm; };
struct event { __u32 pid, parent, uid, length; char comm[16], filename[128]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); } events SEC(".maps");
const volatile __u32 only = 0;
SEC("tp_btf/sched_process_exec") int exec(struct exec *ctx)
{
	struct task_struct *task = ctx->task, *above;
	struct linux_binprm *program = ctx->bprm;
	if (!task || !program || !(above = task->real_parent)) return 0;
	__u32 parent = above->tgid;
	if (only && parent != only) return 0;
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) return 0;
	event->pid = task->tgid;
	event->parent = parent;
	event->uid = bpf_get_current_uid_gid();
	bpf_get_current_comm(event->comm, 16);
	event->length = bpf_probe_read_kernel_str(event->filename, 128, program->filename);
	bpf_ringbuf_submit(event, 0);
	return 0;
}
char LICENSE[] SEC("license") = "GPL";
