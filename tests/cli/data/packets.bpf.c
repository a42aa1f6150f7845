// SPDX-License-Identifier: BSD-2-Clause
/* Programs of every packet type, for the tests of `bombus run`. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct sample {
	__u32 length;
	__u16 protocol;
	__u8 source[6];
	char name[8];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
} samples SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __be16);
	__type(value, __u64);
} by_protocol SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 4);
	__type(value, __u32);
} lengths SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} odd SEC(".maps"), even SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct inner);
} parity SEC(".maps") = { .values = { &even, &odd } };

int tail_pass(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, int(void *));
} jumps SEC(".maps") = { .values = { [1] = (void *)&tail_pass } };

__u64 calls;
volatile const __u32 cut_to = 60;

static __noinline int count(__be16 protocol, const struct sample *unused)
{
	__u64 one = 1, *known = bpf_map_lookup_elem(&by_protocol, &protocol);

	calls++;
	if (known)
		__sync_fetch_and_add(known, 1);
	else
		bpf_map_update_elem(&by_protocol, &protocol, &one, BPF_ANY);
	return 0;
}

SEC("xdp")
int tail_pass(struct xdp_md *ctx)
{
	calls += 1000;
	return XDP_PASS;
}

SEC("xdp")
int jump(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &jumps, ctx->data_end - ctx->data > 100);
	return XDP_DROP;
}

/* Takes the source address off the front, cuts the tail, leaves metadata. */
SEC("xdp")
int reshape(struct xdp_md *ctx)
{
	void *data, *end;
	int length = ctx->data_end - ctx->data;
	__u32 *meta;

	if (length < 60)
		return XDP_ABORTED;
	if (length > cut_to && bpf_xdp_adjust_tail(ctx, (int)cut_to - length))
		return XDP_DROP;
	if (bpf_xdp_adjust_head(ctx, -8))
		return XDP_DROP;
	if (bpf_xdp_adjust_meta(ctx, -4))
		return XDP_DROP;
	meta = (void *)(long)ctx->data_meta;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if ((void *)(meta + 1) > data || data + 22 > end)
		return XDP_ABORTED;
	*meta = length;
	__builtin_memset(data, 0xab, 8);
	return length & 1 ? XDP_TX : XDP_PASS;
}

SEC("tc")
int classify(struct __sk_buff *skb)
{
	struct sample sample = { .length = skb->len, .protocol = bpf_ntohs(skb->protocol), .name = "tc" };
	__u32 length = skb->len, index = length & 1, zero = 0, *value;
	void *inner;

	bpf_skb_load_bytes(skb, 6, sample.source, 6);
	count(skb->protocol, &sample);
	bpf_map_push_elem(&lengths, &length, BPF_EXIST);
	inner = bpf_map_lookup_elem(&parity, &index);
	if (inner) {
		value = bpf_map_lookup_elem(inner, &zero);
		if (value)
			__sync_fetch_and_add(value, 1);
	}
	if (length < 64)
		return TC_ACT_SHOT;
	if (length > 500) {
		bpf_perf_event_output(skb, &samples, BPF_F_CURRENT_CPU, &sample, sizeof(sample));
		bpf_skb_change_tail(skb, 500, 0);
		return TC_ACT_STOLEN;
	}
	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), 7);
		return TC_ACT_OK;
	}
	return TC_ACT_UNSPEC;
}

SEC("socket")
int keep(struct __sk_buff *skb)
{
	if (skb->len & 1)
		return 0;
	return skb->len > 200 ? 64 : -1;
}

SEC("cgroup_skb/egress")
int allow(struct __sk_buff *skb)
{
	count(skb->protocol, 0);
	return skb->len < 1000;
}

SEC("lwt_xmit")
int route(struct __sk_buff *skb)
{
	return skb->len > 300 ? BPF_DROP : BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
