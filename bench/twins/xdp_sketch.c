#include "twin.h"
struct row { __u32 counts[64]; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, __u32); __type(value, struct row); } sketch SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, __u32); __type(value, __u64); } heavy SEC(".maps");
const volatile __u32 threshold = 5;
static __u32 spread(__u32 v, __u32 seed) { v = (v ^ seed) * 0x9e3779b1; return v ^ (v >> 15); }
SEC("xdp") int hitters(struct xdp_md *ctx)
{
	PARSE(eth, eth, 0, XDP_PASS);
	if (eth->proto != bpf_htons(0x0800)) return XDP_PASS;
	PARSE(ip, ip, 14, XDP_PASS);
	__u32 source = bpf_ntohl(ip->src), least = ~0u;
	for (int i = 0; i < 4; i++) {
		__u32 key = i;
		struct row *row = bpf_map_lookup_elem(&sketch, &key);
		if (!row) return XDP_ABORTED;
		__u32 column = spread(source, (__u32)i * 0x51ed270b) % 64;
		row->counts[column]++;
		if (row->counts[column] < least) least = row->counts[column];
	}
	if (least > threshold) {
		__u64 value = least;
		bpf_map_update_elem(&heavy, &source, &value, 0);
		return XDP_DROP;
	}
	return XDP_PASS;
}
