// Next hops: bpf_fib_lookup and bpf_redirect_neigh, compared on both kernels. Built with:
//   bombus build --strip neighbours.bpf.c -o neighbours.bpf.o
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct row {
	int answer;
	unsigned int ifindex, target, source, metric, mtu, vlan;
	unsigned char smac[6], dmac[6];
} row;
unsigned int target, flags, length, came, out, next, family = 2;
int other;

static __always_inline void look(void *ctx)
{
	struct bpf_fib_lookup params = {};

	params.family = family;
	params.ifindex = came;
	params.ipv4_dst = target;
	params.ipv4_src = 0x0100000a;
	params.tot_len = length;
	row.answer = bpf_fib_lookup(ctx, &params, sizeof(params), flags);
	row.ifindex = params.ifindex;
	row.target = params.ipv4_dst;
	row.source = params.ipv4_src;
	row.metric = params.rt_metric;
	row.mtu = params.mtu_result;
	row.vlan = params.h_vlan_proto << 16 | params.h_vlan_TCI;
	__builtin_memcpy(row.smac, params.smac, 6);
	__builtin_memcpy(row.dmac, params.dmac, 6);
}

SEC("xdp") int look_xdp(struct xdp_md *ctx)
{
	look(ctx);
	return XDP_DROP;
}

SEC("tc") int look_tc(struct __sk_buff *ctx)
{
	look(ctx);
	return TC_ACT_SHOT;
}

SEC("tc") int send_on(struct __sk_buff *ctx)
{
	struct bpf_redir_neigh hop = { .nh_family = family, .ipv4_nh = next };

	if (flags == 9)
		return bpf_redirect_neigh(out, &hop, 8, 0); // too short
	if (flags)
		return bpf_redirect_neigh(out, &hop, sizeof(hop), flags - 1);
	return bpf_redirect_neigh(out, 0, 0, 0);
}

char LICENSE[] SEC("license") = "GPL";
