#include "twin.h"
#include <linux/bpf_perf_event.h>
struct key { __u32 pid, gap; __s64 kernel, user; char comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_STACK_TRACE); __uint(max_entries, 1024); __uint(key_size, 4); __uint(value_size, 1016); } stacks SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 10240); __type(key, struct key); __type(value, __u64); } counts SEC(".maps");
const volatile __u32 only = 0;
SEC("perf_event") int sample(struct bpf_perf_event_data *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	if (only && pid != only) return 0;
	struct key key = { .pid = pid };
	bpf_get_current_comm(key.comm, 16);
	key.kernel = bpf_get_stackid(ctx, &stacks, 0);
	key.user = bpf_get_stackid(ctx, &stacks, 1 << 8);
	__u64 one = 1, *seen = bpf_map_lookup_elem(&counts, &key);
	if (!seen) bpf_map_update_elem(&counts, &key, &one, 0);
	else __sync_fetch_and_add(seen, 1);
	return 0;
}
char LICENSE[] SEC("license") = "GPL";
