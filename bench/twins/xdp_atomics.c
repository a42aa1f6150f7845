#include "twin.h"
struct counters { __u64 plus, minus, either, all, one; __u32 small; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct counters); } counters SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 8); __type(key, __u32); __type(value, __u64); } results SEC(".maps");
static void put(__u32 index, __u64 value) { __u64 *slot = bpf_map_lookup_elem(&results, &index); if (slot) *slot = value; }
SEC("xdp") int atomics(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct counters *c = bpf_map_lookup_elem(&counters, &zero);
	if (!c) return XDP_ABORTED;
	__u64 n = (__u32)(ctx->data_end - ctx->data);
	__sync_fetch_and_add(&c->plus, n);
	__sync_fetch_and_add(&c->minus, -n);
	__sync_fetch_and_or(&c->either, n);
	__sync_fetch_and_and(&c->all, n | 0xf0);
	__sync_fetch_and_xor(&c->one, n);
	__sync_fetch_and_add(&c->small, (__u32)n);
	put(0, __sync_fetch_and_add(&c->plus, 3));
	put(1, __sync_fetch_and_or(&c->either, 0x1000));
	put(2, __sync_fetch_and_and(&c->all, 0xffff));
	put(3, __sync_fetch_and_xor(&c->one, 0xff));
	put(4, __sync_lock_test_and_set(&c->minus, n));
	put(5, __sync_val_compare_and_swap(&c->minus, n, 7));
	put(6, __sync_fetch_and_add(&c->small, 1));
	return XDP_PASS;
}
