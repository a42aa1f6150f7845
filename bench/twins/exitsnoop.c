#include "twin.h"
struct task_struct { int pid, tgid, exit_code; __u64 start_time; struct task_struct *real_parent; } __attribute__((preserve_access_index));
struct exit { __u64 common; };
struct event { __u32 pid, parent, code, signal; __u64 age; char comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); } events SEC(".maps");
const volatile __u32 only = 0;
SEC("tracepoint/sched/sched_process_exit") int exit_(struct exit *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf(), *above = task->real_parent;
	if (!above || task->pid != task->tgid) return 0;
	__u32 parent = above->tgid;
	if (only && parent != only) return 0;
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) return 0;
	__u32 status = task->exit_code;
	event->pid = task->tgid;
	event->parent = parent;
	event->code = status >> 8 & 0xFF;
	event->signal = status & 0x7F;
	event->age = bpf_ktime_get_ns() - task->start_time;
	bpf_get_current_comm(event->comm, 16);
	bpf_ringbuf_submit(event, 0);
	return 0;
}
char LICENSE[] SEC("license") = "GPL";
