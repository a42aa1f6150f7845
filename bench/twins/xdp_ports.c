#include "twin.h"
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, __u16); __type(value, __u64); } allowed SEC(".maps");
SEC("xdp") int ports(struct xdp_md *ctx)
{
	PARSE(eth, eth, 0, XDP_DROP);
	if (eth->proto != bpf_htons(0x0800)) return XDP_PASS;
	PARSE(ip, ip, 14, XDP_DROP);
	if (ip->ihl < 5) return XDP_DROP;
	if (ip->proto != 6 && ip->proto != 17) return XDP_PASS;
	PARSE(udp, udp, 14 + ip->ihl * 4, XDP_DROP);
	__u16 key = bpf_ntohs(udp->dst);
	__u64 *seen = bpf_map_lookup_elem(&allowed, &key);
	if (!seen) return XDP_DROP;
	*seen += 1;
	return XDP_PASS;
}
