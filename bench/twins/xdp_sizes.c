#include "twin.h"
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 16); __type(key, __u32); __type(value, __u64); } sizes SEC(".maps");
static __u32 log2(__u32 v)
{
	__u32 r = 0;
	if (v >> 8) { v >>= 8; r += 8; }
	if (v >> 4) { v >>= 4; r += 4; }
	if (v >> 2) { v >>= 2; r += 2; }
	if (v >> 1) { v >>= 1; r += 1; }
	return r;
}
SEC("xdp") int measure(struct xdp_md *ctx)
{
	__u32 key = log2(ctx->data_end - ctx->data);
	__u64 *slot = bpf_map_lookup_elem(&sizes, &key);
	if (slot) *slot += 1;
	return XDP_PASS;
}
