#include "twin.h"
struct prefix4 { __u32 bits; __be32 address; };
struct prefix6 { __u32 bits; __be32 address[4]; };
struct rule { __u32 verdict, reserved; __u64 packets, bytes; };
struct { __uint(type, BPF_MAP_TYPE_LPM_TRIE); __uint(max_entries, 1024); __uint(map_flags, 1); __type(key, struct prefix4); __type(value, struct rule); } networks4 SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LPM_TRIE); __uint(max_entries, 1024); __uint(map_flags, 1); __type(key, struct prefix6); __type(value, struct rule); } networks6 SEC(".maps");
const volatile __u32 otherwise = XDP_PASS;
static __always_inline int judged(struct rule *rule, __u32 length)
{
	__sync_fetch_and_add(&rule->packets, 1);
	__sync_fetch_and_add(&rule->bytes, (__u64)length);
	return rule->verdict;
}
SEC("xdp") int firewall(struct xdp_md *ctx)
{
	PARSE(eth, eth, 0, XDP_DROP);
	__u32 length = ctx->data_end - ctx->data;
	struct rule *rule;
	if (eth->proto == bpf_htons(0x0800)) {
		PARSE(ip, ip, 14, XDP_DROP);
		struct prefix4 key = { 32, ip->src };
		rule = bpf_map_lookup_elem(&networks4, &key);
		return rule ? judged(rule, length) : otherwise;
	}
	if (eth->proto == bpf_htons(0x86DD)) {
		PARSE(ip6, ip, 14, XDP_DROP);
		struct prefix6 key = { 128 };
		__builtin_memcpy(key.address, ip->src, 16);
		rule = bpf_map_lookup_elem(&networks6, &key);
		return rule ? judged(rule, length) : otherwise;
	}
	return XDP_PASS;
}
