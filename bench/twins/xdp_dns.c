#include "twin.h"
struct dns { __be16 id, flags, questions, answers, authorities, additional; };
struct byte { __u8 value; };
struct tail { __be16 type, kind; };
struct name { __u32 length; __u8 text[32]; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, struct name); __type(value, __u64); } names SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, __u16); __type(value, __u64); } types SEC(".maps");
SEC("xdp") int dns(struct xdp_md *ctx)
{
	PARSE(eth, eth, 0, XDP_PASS);
	if (eth->proto != bpf_htons(0x0800)) return XDP_PASS;
	PARSE(ip, ip, 14, XDP_PASS);
	if (ip->proto != 17 || ip->ihl != 5) return XDP_PASS;
	PARSE(udp, udp, 34, XDP_PASS);
	if (udp->dst != bpf_htons(53)) return XDP_PASS;
	PARSE(dns, query, 42, XDP_DROP);
	if (query->questions != bpf_htons(1)) return XDP_DROP;
	struct name name;
	__builtin_memset(&name, 0, sizeof(name));
	__u32 end = 0;
	for (int i = 0; i < 32; i++) {
		PARSE(byte, byte, i + 54, XDP_DROP);
		if (byte->value == 0) { end = i + 55; break; }
		name.text[i] = byte->value;
		name.length++;
	}
	if (!end) return XDP_PASS;
	if (end > 0x7fff) return XDP_DROP;
	PARSE(tail, tail, end, XDP_DROP);
	__u64 one = 1, *seen = bpf_map_lookup_elem(&names, &name);
	if (!seen) bpf_map_update_elem(&names, &name, &one, 0);
	else *seen += 1;
	__u16 kind = bpf_ntohs(tail->type);
	seen = bpf_map_lookup_elem(&types, &kind);
	if (!seen) bpf_map_update_elem(&types, &kind, &one, 0);
	else *seen += 1;
	return XDP_PASS;
}
