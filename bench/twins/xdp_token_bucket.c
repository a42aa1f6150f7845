#include "twin.h"
struct bucket { __u64 tokens, updated; };
__u64 now = 0;
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 256); __type(key, __u32); __type(value, struct bucket); } buckets SEC(".maps");
SEC("xdp") int limit(struct xdp_md *ctx)
{
	PARSE(eth, eth, 0, XDP_PASS);
	if (eth->proto != bpf_htons(0x0800)) return XDP_PASS;
	PARSE(ip, ip, 14, XDP_PASS);
	now++;
	__u64 time = now;
	__u32 source = bpf_ntohl(ip->src);
	struct bucket *b = bpf_map_lookup_elem(&buckets, &source);
	if (!b) {
		struct bucket fresh = { 16, time };
		bpf_map_update_elem(&buckets, &source, &fresh, 0);
		return XDP_PASS;
	}
	__u64 tokens = b->tokens + (time - b->updated) * 3;
	if (tokens > 32) tokens = 32;
	b->updated = time;
	if (tokens < 16) { b->tokens = tokens; return XDP_DROP; }
	b->tokens = tokens - 16;
	return XDP_PASS;
}
