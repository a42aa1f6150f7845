#include "twin.h"
struct enter { __u64 regs, number; };
struct key { __u32 pid, number; };
struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 10240); __type(key, struct key); __type(value, __u64); } calls SEC(".maps");
const volatile __u32 only = 0;
SEC("raw_tracepoint/sys_enter") int enter(struct enter *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	if (only && pid != only) return 0;
	struct key key = { pid, ctx->number };
	__u64 one = 1, *seen = bpf_map_lookup_elem(&calls, &key);
	if (!seen) bpf_map_update_elem(&calls, &key, &one, BPF_NOEXIST);
	else *seen += 1;
	return 0;
}
