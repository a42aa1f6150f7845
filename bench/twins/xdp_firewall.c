#include "twin.h"
struct prefix { __u32 bits; __be32 address; };
struct { __uint(type, BPF_MAP_TYPE_LPM_TRIE); __uint(max_entries, 1024); __uint(map_flags, 1); __type(key, struct prefix); __type(value, __u64); } blocked SEC(".maps");
SEC("xdp") int firewall(struct xdp_md *ctx)
{
	PARSE(eth, eth, 0, XDP_PASS);
	if (eth->proto != bpf_htons(0x0800)) return XDP_PASS;
	PARSE(ip, ip, 14, XDP_DROP);
	struct prefix key = { 32, ip->src };
	__u64 *hits = bpf_map_lookup_elem(&blocked, &key);
	if (!hits) return XDP_PASS;
	__sync_fetch_and_add(hits, 1);
	return XDP_DROP;
}
