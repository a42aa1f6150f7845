#include "twin.h"
struct server { __be32 address; __u32 weight; __u64 packets; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 64); __type(key, __u32); __type(value, __u32); } ring SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 8); __type(key, __u32); __type(value, struct server); } servers SEC(".maps");
static __u32 scramble(__u32 v) { v ^= v >> 16; v *= 0x85ebca6b; v ^= v >> 13; v *= 0xc2b2ae35; return v ^ (v >> 16); }
static __be16 adjusted(__be16 sum, __be32 old, __be32 new)
{
	__u32 before = bpf_ntohl(old), after = bpf_ntohl(new);
	__u32 total = (__u16)~bpf_ntohs(sum);
	total += (__u32)(__u16)~before + (__u16)~(before >> 16);
	total += (after & 0xffff) + (after >> 16);
	total = (total & 0xffff) + (total >> 16);
	total = (total & 0xffff) + (total >> 16);
	return bpf_htons(~total);
}
SEC("xdp") int balance(struct xdp_md *ctx)
{
	PARSE(eth, eth, 0, XDP_PASS);
	if (eth->proto != bpf_htons(0x0800)) return XDP_PASS;
	PARSE(ip, ip, 14, XDP_PASS);
	if (ip->ihl != 5 || ip->proto != 6 || ip->dst != bpf_htonl(0x0a000001)) return XDP_PASS;
	PARSE(tcp, tcp, 34, XDP_DROP);
	__u32 key = scramble(bpf_ntohl(ip->src) ^ ((__u32)bpf_ntohs(tcp->src) << 16)) % 64;
	__u32 *place = bpf_map_lookup_elem(&ring, &key);
	if (!place) return XDP_ABORTED;
	__u32 which = *place;
	struct server *s = bpf_map_lookup_elem(&servers, &which);
	if (!s) return XDP_ABORTED;
	__sync_fetch_and_add(&s->packets, 1);
	ip->check = adjusted(ip->check, ip->dst, s->address);
	tcp->check = adjusted(tcp->check, ip->dst, s->address);
	ip->dst = s->address;
	return XDP_TX;
}
