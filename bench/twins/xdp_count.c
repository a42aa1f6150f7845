#include "twin.h"
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); } packets SEC(".maps");
SEC("xdp") int count(struct xdp_md *ctx)
{
	PARSE(eth, eth, 0, XDP_DROP);
	__u32 key = 0;
	if (eth->proto == bpf_htons(0x0800)) key = 1;
	else if (eth->proto == bpf_htons(0x86dd)) key = 2;
	else if (eth->proto == bpf_htons(0x0806)) key = 3;
	__u64 *slot = bpf_map_lookup_elem(&packets, &key);
	if (slot) *slot += 1;
	return XDP_PASS;
}
