// Programs that choose the socket of a packet, compared on both kernels. Built with:
//   bombus build --strip steering.bpf.c -o steering.bpf.o
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define MOST 128
struct row {
	int who, family, protocol, remote_port, local_port, local_ip4, remote_ip4, ifindex, chosen, second, found, state;
	int size, eth, any, first;
} rows[MOST];
unsigned int count;
int action, slot, flags, verdict = 1, second_verdict = 1, which;

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 8);
	__type(key, unsigned int);
	__type(value, unsigned long);
} sockets SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, 8);
	__type(key, unsigned int);
	__type(value, unsigned long);
} array SEC(".maps");

static __always_inline struct row *next(int who)
{
	unsigned int at = count;

	if (at >= MOST)
		return 0;
	count = at + 1;
	rows[at & (MOST - 1)].who = who;
	return &rows[at & (MOST - 1)];
}

SEC("sk_lookup") int steer(struct bpf_sk_lookup *ctx)
{
	struct row *row = next(1);
	struct bpf_sock *sk;
	unsigned int key = slot;

	if (!row)
		return 1;
	row->family = ctx->family;
	row->protocol = ctx->protocol;
	row->local_port = ctx->local_port;
	row->local_ip4 = ctx->local_ip4;
	row->remote_ip4 = ctx->remote_ip4;
	row->ifindex = ctx->ingress_ifindex;
	row->chosen = row->second = 1;
	if (action) {
		sk = bpf_map_lookup_elem(&sockets, &key);
		if (!sk)
			return verdict != 0;
		row->found = bpf_ntohs(sk->dst_port) << 16 | sk->src_port;
		row->state = sk->state;
		row->chosen = bpf_sk_assign(ctx, sk, flags);
		if (action == 2)
			row->second = bpf_sk_assign(ctx, sk, 0);
		if (action == 3)
			row->second = bpf_sk_assign(ctx, sk, BPF_SK_LOOKUP_F_REPLACE);
		bpf_sk_release(sk);
		if (action == 4)
			row->second = bpf_sk_assign(ctx, 0, BPF_SK_LOOKUP_F_REPLACE);
		row->first = ctx->sk != 0;
	}
	return verdict != 0;
}

SEC("sk_lookup") int again(struct bpf_sk_lookup *ctx)
{
	struct row *row = next(2);

	if (row) {
		row->local_port = ctx->local_port;
		row->chosen = ctx->sk ? ctx->sk->src_port : 0;
	}
	return second_verdict != 0;
}

SEC("sk_reuseport") int choose(struct sk_reuseport_md *ctx)
{
	struct row *row = next(3);
	unsigned int key = which;
	unsigned char byte = 0;
	unsigned short *ports = ctx->data, head[2] = {};

	if (!row)
		return SK_PASS;
	row->size = ctx->len;
	row->eth = bpf_ntohs(ctx->eth_protocol);
	row->protocol = ctx->ip_protocol;
	row->any = ctx->bind_inany;
	if ((void *)(ports + 2) <= ctx->data_end)
		row->local_port = bpf_ntohs(ports[1]);
	row->first = bpf_skb_load_bytes(ctx, 0, head, sizeof(head)) ? -1 : bpf_ntohs(head[1]);
	row->second = bpf_skb_load_bytes_relative(ctx, 0, &byte, 1, BPF_HDR_START_NET) ? -1 : byte;
	row->chosen = action ? bpf_sk_select_reuseport(ctx, &sockets, &key, 0) :
			       bpf_sk_select_reuseport(ctx, &array, &key, 0);
	return verdict ? SK_PASS : SK_DROP;
}

SEC("socket") int by_index(struct __sk_buff *skb)
{
	struct row *row = next(4);

	if (row)
		row->size = skb->len;
	return which;
}

static __always_inline int find(struct __sk_buff *skb)
{
	struct row *row;
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk;
	unsigned char head[24];

	if (bpf_skb_load_bytes(skb, 0, head, sizeof(head)) || head[0] != 0x45 || (head[9] != 17 && head[9] != 6))
		return 1;
	row = next(5);
	if (!row)
		return 1;
	__builtin_memcpy(&tuple.ipv4.saddr, head + 12, 4);
	__builtin_memcpy(&tuple.ipv4.daddr, head + 16, 4);
	__builtin_memcpy(&tuple.ipv4.sport, head + 20, 2);
	__builtin_memcpy(&tuple.ipv4.dport, head + 22, 2);
	row->protocol = head[9];
	row->first = -1;
	sk = head[9] == 6 ? bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0) :
			    bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (sk) {
		row->found = sk->src_port;
		row->state = sk->state;
		row->first = bpf_ntohs(sk->dst_port);
		bpf_sk_release(sk);
	}
	sk = bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv4), 5, 0); // no such namespace
	row->second = sk != 0;
	if (sk)
		bpf_sk_release(sk);
	sk = bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 1);
	row->chosen = sk != 0;
	if (sk)
		bpf_sk_release(sk);
	return 1;
}

SEC("cgroup_skb/egress") int finder(struct __sk_buff *skb) { return find(skb); }

char LICENSE[] SEC("license") = "GPL";
