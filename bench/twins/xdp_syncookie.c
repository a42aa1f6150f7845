#include "twin.h"
struct flow { __be32 src, dst; __be16 sport, dport; };
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 4096); __type(key, struct flow); __type(value, __u64); } verified SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); } statistics SEC(".maps");
const volatile __u32 secret = 0x5EC2E75E;
__u32 period = 1;
static __always_inline void count(__u32 which)
{
	__u64 *slot = bpf_map_lookup_elem(&statistics, &which);
	if (slot) __sync_fetch_and_add(slot, 1);
}
static __always_inline __u32 mixed(__u32 state, __u32 word)
{
	state ^= word;
	state ^= state >> 16; state *= 0x85EBCA6B;
	state ^= state >> 13; state *= 0xC2B2AE35;
	return state ^ (state >> 16);
}
static __always_inline __u32 cookie_of(struct flow *flow, __u32 sequence, __u32 when)
{
	__u32 state = mixed(secret, bpf_ntohl(flow->src));
	state = mixed(state, bpf_ntohl(flow->dst));
	state = mixed(state, (__u32)bpf_ntohs(flow->sport) << 16 | bpf_ntohs(flow->dport));
	return mixed(mixed(state, sequence), when);
}
static __always_inline __u32 changed(__u32 total, __u32 old, __u32 new)
{
	return total + (~old & 0xFFFF) + (~old >> 16) + (new & 0xFFFF) + (new >> 16);
}
static __always_inline void answer(struct eth *eth, struct ip *ip, struct tcp *tcp, __u32 cookie)
{
	__u32 sequence = bpf_ntohl(tcp->seq), total = (__u16)~bpf_ntohs(tcp->check);
	total = changed(total, sequence, cookie);
	total = changed(total, bpf_ntohl(tcp->ack_seq), sequence + 1);
	total = changed(total, 0, 0x0010);
	total = (total & 0xFFFF) + (total >> 16);
	total = (total & 0xFFFF) + (total >> 16);
	tcp->check = bpf_htons(~total);
	tcp->ack_seq = bpf_htonl(sequence + 1);
	tcp->seq = bpf_htonl(cookie);
	tcp->ack = 1;
	__be16 port = tcp->src; tcp->src = tcp->dst; tcp->dst = port;
	__be32 address = ip->src; ip->src = ip->dst; ip->dst = address;
	for (int i = 0; i < 6; i++) { __u8 byte = eth->src[i]; eth->src[i] = eth->dst[i]; eth->dst[i] = byte; }
}
SEC("xdp") int guard(struct xdp_md *ctx)
{
	PARSE(eth, eth, 0, XDP_PASS);
	if (eth->proto != bpf_htons(0x0800)) return XDP_PASS;
	PARSE(ip, ip, 14, XDP_PASS);
	if (ip->ihl != 5 || ip->proto != 6) return XDP_PASS;
	PARSE(tcp, tcp, 34, XDP_DROP);
	struct flow flow = { ip->src, ip->dst, tcp->src, tcp->dst };
	if (tcp->syn && !tcp->ack) {
		answer(eth, ip, tcp, cookie_of(&flow, bpf_ntohl(tcp->seq), period));
		count(0);
		return XDP_TX;
	}
	__u64 one = 1, *seen = bpf_map_lookup_elem(&verified, &flow);
	if (seen) {
		__sync_fetch_and_add(seen, 1);
		count(3);
		return XDP_PASS;
	}
	__u32 brought = bpf_ntohl(tcp->ack_seq) - 1, sequence = bpf_ntohl(tcp->seq) - 1, now = period;
	if (tcp->ack && (brought == cookie_of(&flow, sequence, now) || brought == cookie_of(&flow, sequence, now - 1))) {
		bpf_map_update_elem(&verified, &flow, &one, 0);
		count(1);
		return XDP_PASS;
	}
	count(2);
	return XDP_DROP;
}
