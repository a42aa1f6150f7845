#include "twin.h"
struct flow { __be32 src, dst; __be16 sport, dport; };
struct conn { __u8 state; __u64 packets; };
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 1024); __type(key, struct flow); __type(value, struct conn); } conns SEC(".maps");
SEC("xdp") int track(struct xdp_md *ctx)
{
	PARSE(eth, eth, 0, XDP_PASS);
	if (eth->proto != bpf_htons(0x0800)) return XDP_PASS;
	PARSE(ip, ip, 14, XDP_PASS);
	if (ip->proto != 6 || ip->ihl != 5) return XDP_PASS;
	PARSE(tcp, tcp, 34, XDP_DROP);
	struct flow forward = { ip->src, ip->dst, tcp->src, tcp->dst }, backward = { ip->dst, ip->src, tcp->dst, tcp->src };
	struct conn *known = bpf_map_lookup_elem(&conns, &forward);
	if (!known) known = bpf_map_lookup_elem(&conns, &backward);
	if (!known) {
		if (!tcp->syn || tcp->ack) return XDP_DROP;
		struct conn fresh;
		__builtin_memset(&fresh, 0, sizeof(fresh));
		fresh.state = 1; fresh.packets = 1;
		bpf_map_update_elem(&conns, &forward, &fresh, BPF_NOEXIST);
		return XDP_PASS;
	}
	known->packets += 1;
	if (tcp->rst) {
		bpf_map_delete_elem(&conns, &forward);
		bpf_map_delete_elem(&conns, &backward);
	} else if (tcp->fin) known->state = 3;
	else if (known->state == 1 && tcp->ack) known->state = 2;
	return XDP_PASS;
}
