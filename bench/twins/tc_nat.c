#include "twin.h"
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16); __type(key, __u32); __type(value, __u32); } targets SEC(".maps");
SEC("tc") int nat(struct __sk_buff *ctx)
{
	PARSE(eth, eth, 0, 0);
	if (eth->proto != bpf_htons(0x0800)) return 0;
	PARSE(ip, ip, 14, 0);
	if (ip->ihl != 5) return 0;
	__u32 key = bpf_ntohl(ip->dst) & 3;
	__u32 *target = bpf_map_lookup_elem(&targets, &key);
	if (!target) return 0;
	__be32 old = ip->dst, new = bpf_htonl(*target);
	if (ip->proto == 6) bpf_l4_csum_replace(ctx, 50, old, new, 0x10 | 4);
	else if (ip->proto == 17) bpf_l4_csum_replace(ctx, 40, old, new, 0x10 | 0x20 | 4);
	bpf_l3_csum_replace(ctx, 24, old, new, 4);
	bpf_skb_store_bytes(ctx, 30, &new, 4, 0);
	return 0;
}
