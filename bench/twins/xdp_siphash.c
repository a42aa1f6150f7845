#include "twin.h"
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); } hashes SEC(".maps");
#define ROTL(x, b) ((x) << (b) | (x) >> (64 - (b)))
#define ROUND do { v0 += v1; v1 = ROTL(v1, 13) ^ v0; v0 = ROTL(v0, 32); v2 += v3; v3 = ROTL(v3, 16) ^ v2; \
	v0 += v3; v3 = ROTL(v3, 21) ^ v0; v2 += v1; v1 = ROTL(v1, 17) ^ v2; v2 = ROTL(v2, 32); } while (0)
static __u64 siphash(__u64 m, __u64 length)
{
	__u64 k0 = 0x0706050403020100, k1 = 0x0f0e0d0c0b0a0908;
	__u64 v0 = k0 ^ 0x736f6d6570736575, v1 = k1 ^ 0x646f72616e646f6d, v2 = k0 ^ 0x6c7967656e657261, v3 = k1 ^ 0x7465646279746573;
	__u64 last = length << 56;
	v3 ^= m; ROUND; ROUND; v0 ^= m;
	v3 ^= last; ROUND; ROUND; v0 ^= last;
	v2 ^= 0xff; ROUND; ROUND; ROUND; ROUND;
	return v0 ^ v1 ^ v2 ^ v3;
}
SEC("xdp") int cookie(struct xdp_md *ctx)
{
	PARSE(eth, eth, 0, XDP_PASS);
	if (eth->proto != bpf_htons(0x0800)) return XDP_PASS;
	PARSE(ip, ip, 14, XDP_PASS);
	__u32 key = 0;
	__u64 value = siphash((__u64)bpf_ntohl(ip->src) << 32 | bpf_ntohl(ip->dst), 8);
	bpf_map_update_elem(&hashes, &key, &value, 0);
	return XDP_PASS;
}
