// Headers of user space, packets, LPM trie, tail calls, functions, pinned maps, maps in maps.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/in.h>
#include <linux/tcp.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct key {
	__u32 prefixlen;
	__be32 addr;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct key);
	__type(value, __u64);
} blocked SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} first SEC(".maps"), second SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct inner);
} tables SEC(".maps") = { .values = { [0] = &first, [1] = &second } };

int later(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__array(values, int(void *));
} next SEC(".maps") = { .values = { [0] = (void *)&later } };

static __noinline int count(__u32 which, __u32 slot)
{
	struct inner *table = bpf_map_lookup_elem(&tables, &which);
	__u64 *value;

	if (!table)
		return 0;
	value = bpf_map_lookup_elem(table, &slot);
	if (value)
		__sync_fetch_and_add(value, 1);
	return 1;
}

SEC("xdp")
int later(struct xdp_md *ctx)
{
	return count(1, ctx->rx_queue_index & 3) ? XDP_PASS : XDP_ABORTED;
}

SEC("xdp")
int firewall(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct tcphdr *tcp = (void *)(ip + 1);
	struct key key = { .prefixlen = 32 };
	__u64 *hits;

	if ((void *)(tcp + 1) > data_end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	key.addr = ip->saddr;
	hits = bpf_map_lookup_elem(&blocked, &key);
	if (hits) {
		__sync_fetch_and_add(hits, 1);
		return XDP_DROP;
	}
	count(0, ip->protocol == IPPROTO_TCP && bpf_ntohs(tcp->dest) < 1024);
	bpf_tail_call_static(ctx, &next, 0);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
