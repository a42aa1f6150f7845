#include "twin.h"
struct task_struct { int pid, tgid; } __attribute__((preserve_access_index));
struct wakeup { struct task_struct *task; };
struct switch_args { __u64 preempt; struct task_struct *prev, *next; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 10240); __type(key, __u32); __type(value, __u64); } started SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 32); __type(key, __u32); __type(value, __u64); } histogram SEC(".maps");
const volatile __u32 only = 0;
static __u32 log2(__u64 v)
{
	__u32 r = 0;
	if (v >> 16) { v >>= 16; r += 16; }
	if (v >> 8) { v >>= 8; r += 8; }
	if (v >> 4) { v >>= 4; r += 4; }
	if (v >> 2) { v >>= 2; r += 2; }
	if (v >> 1) { v >>= 1; r += 1; }
	return r;
}
SEC("tp_btf/sched_wakeup") int wakeup(struct wakeup *ctx)
{
	struct task_struct *task = ctx->task;
	if (task && (!only || task->tgid == only)) {
		__u32 pid = task->pid;
		__u64 now = bpf_ktime_get_ns();
		bpf_map_update_elem(&started, &pid, &now, 0);
	}
	return 0;
}
SEC("tp_btf/sched_switch") int switch_(struct switch_args *ctx)
{
	struct task_struct *task = ctx->next;
	if (!task) return 0;
	__u32 pid = task->pid;
	__u64 *since = bpf_map_lookup_elem(&started, &pid);
	if (!since) return 0;
	__u64 waited = (bpf_ktime_get_ns() - *since) / 1000;
	__u32 key = log2(waited);
	if (key > 31) key = 31;
	__u64 *slot = bpf_map_lookup_elem(&histogram, &key);
	if (slot) __sync_fetch_and_add(slot, 1);
	bpf_map_delete_elem(&started, &pid);
	return 0;
}
char LICENSE[] SEC("license") = "GPL";
