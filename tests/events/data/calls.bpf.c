// SPDX-License-Identifier: BSD-2-Clause
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

enum kind { KIND_ENTER = 1, KIND_EXIT = 2 };
struct event { __u64 number; __u32 pid; enum kind kind; char comm[16]; };
struct hist { __u32 slots[26]; };
struct stack_key { __u32 pid; __s32 user_stack_id; __s32 kern_stack_id; };
const volatile __u32 target_pid = 0;
const volatile __u64 target_cgroup = 0;
const volatile _Bool filter_cg = 0;
struct { __uint(type, BPF_MAP_TYPE_CGROUP_ARRAY); __uint(max_entries, 1); __uint(key_size, 4); __uint(value_size, 4); } cgroup_map SEC(".maps");
__u64 dropped;
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 512); __type(key, __u32); __type(value, __u64); } calls SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16); __type(key, __u32); __type(value, struct hist); } numbers SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 20); __type(key, __u32); __type(value, __u64); } call_hist SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_STACK_TRACE); __uint(max_entries, 1024); __uint(key_size, 4); __uint(value_size, 127 * 8); } stacks SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 512); __type(key, struct stack_key); __type(value, __u64); } where SEC(".maps");
static __u32 log2(__u64 v) { __u32 r = 0; for (int i = 0; i < 19; i++) { if (v > 1) { v >>= 1; r++; } } return r; }

SEC("raw_tp/sys_enter")
int enter(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	__u64 one = 1, *count, number = ctx->args[1];
	__u32 call = number, slot;
	struct event *e;

	if (target_pid && pid != target_pid)
		return 0;
	if (target_cgroup && bpf_get_current_cgroup_id() != target_cgroup)
		return 0;
	if (filter_cg && !bpf_current_task_under_cgroup(&cgroup_map, 0))
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e) {
		__sync_fetch_and_add(&dropped, 1);
	} else {
		e->number = number; e->pid = pid; e->kind = KIND_ENTER;
		bpf_get_current_comm(e->comm, sizeof(e->comm));
		bpf_ringbuf_submit(e, 0);
	}
	count = bpf_map_lookup_elem(&calls, &call);
	if (count) __sync_fetch_and_add(count, 1); else bpf_map_update_elem(&calls, &call, &one, 0);
	slot = log2(number);
	count = bpf_map_lookup_elem(&call_hist, &slot);
	if (count) ++*count;
	struct hist *h = bpf_map_lookup_elem(&numbers, &pid), zero = {};
	if (!h) { bpf_map_update_elem(&numbers, &pid, &zero, 0); h = bpf_map_lookup_elem(&numbers, &pid); }
	if (h && slot < 26) __sync_fetch_and_add(&h->slots[slot], 1);
	struct stack_key key = { pid, bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK), bpf_get_stackid(ctx, &stacks, 0) };
	count = bpf_map_lookup_elem(&where, &key);
	if (count) __sync_fetch_and_add(count, 1); else bpf_map_update_elem(&where, &key, &one, 0);
	if (number == 39)
		bpf_printk("getpid by %d", pid);
	return 0;
}
char LICENSE[] SEC("license") = "GPL";
const struct event *unused __attribute__((unused));
