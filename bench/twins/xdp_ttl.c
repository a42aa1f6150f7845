#include "twin.h"
SEC("xdp") int hop(struct xdp_md *ctx)
{
	PARSE(eth, eth, 0, XDP_DROP);
	if (eth->proto == bpf_htons(0x0800)) {
		PARSE(ip, ip, 14, XDP_DROP);
		if (ip->ttl <= 1) return XDP_DROP;
		ip->ttl--;
		__u32 total = (__u32)bpf_ntohs(ip->check) + 0x100;
		ip->check = bpf_htons(total + (total >= 0xffff));
	} else if (eth->proto == bpf_htons(0x86dd)) {
		PARSE(ip6, ip6, 14, XDP_DROP);
		if (ip6->hop <= 1) return XDP_DROP;
		ip6->hop--;
	} else return XDP_PASS;
	return XDP_TX;
}
