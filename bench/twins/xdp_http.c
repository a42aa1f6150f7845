#include "twin.h"
struct start { __u8 text[8]; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); } requests SEC(".maps");
static int starts(struct start *t, __u8 a, __u8 b, __u8 c, __u8 d)
{
	return t->text[0] == a && t->text[1] == b && t->text[2] == c && t->text[3] == d;
}
SEC("xdp") int http(struct xdp_md *ctx)
{
	PARSE(eth, eth, 0, XDP_PASS);
	if (eth->proto != bpf_htons(0x0800)) return XDP_PASS;
	PARSE(ip, ip, 14, XDP_PASS);
	if (ip->proto != 6 || ip->ihl < 5) return XDP_PASS;
	__u32 segment = 14 + ip->ihl * 4;
	PARSE(tcp, tcp, segment, XDP_PASS);
	if (tcp->doff < 5 || tcp->dst != bpf_htons(80)) return XDP_PASS;
	PARSE(start, start, segment + tcp->doff * 4, XDP_PASS);
	__u32 key = 3;
	if (starts(start, 0x47, 0x45, 0x54, 0x20)) key = 0;
	else if (starts(start, 0x50, 0x4f, 0x53, 0x54)) key = 1;
	else if (starts(start, 0x48, 0x45, 0x41, 0x44)) key = 2;
	__u64 *slot = bpf_map_lookup_elem(&requests, &key);
	if (slot) *slot += 1;
	return XDP_PASS;
}
