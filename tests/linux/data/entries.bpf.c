// Redirects to all entries of a devmap, and programs of devmap's and cpumap's entries, compared on both kernels.
// Built with:
//   bombus build --strip entries.bpf.c -o entries.bpf.o
#include "parity.h"

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 8);
	__uint(key_size, 4);
	__uint(value_size, 8);
} ports SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, 8);
	__uint(key_size, 4);
	__uint(value_size, 8);
} hashed SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_CPUMAP);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__uint(value_size, 8);
} cpus SEC(".maps");

volatile const int came = 0, first = 0; // where frames come in, and where entry 1 sends them

SEC("xdp") int sender(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	unsigned char *p = data;

	if (!ours(data, end))
		return XDP_PASS;
	count(1, p[COMMAND]);
	switch (p[COMMAND] & 15) {
	case 0: return bpf_redirect_map(&ports, 0, BPF_F_BROADCAST);
	case 1: return bpf_redirect_map(&ports, 7, BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS);
	case 2: return bpf_redirect_map(&hashed, 0, BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS);
	case 3: return bpf_redirect_map(&ports, 1, 0);
	case 4: return bpf_redirect_map(&ports, 2, 0);
	case 5: return bpf_redirect_map(&hashed, 300, 0);
	case 6: return bpf_redirect_map(&cpus, 0, 0);
	case 7: return bpf_redirect_map(&cpus, 1, XDP_DROP);
	case 8: return bpf_redirect_map(&ports, 0, BPF_F_BROADCAST | 2); // the low bits mean nothing then
	case 9: return bpf_redirect_map(&ports, 6, BPF_F_EXCLUDE_INGRESS | XDP_PASS); // without broadcast: one, if it is there
	}
	return XDP_PASS;
}

static __always_inline int entry(struct xdp_md *ctx, int who)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	unsigned char *p = data;

	if (!ours(data, end))
		return XDP_PASS;
	count(who, p[COMMAND]);
	sum += (ctx->ingress_ifindex == came) + ctx->rx_queue_index * 100000000;
	if (who != 4)
		sum += 1000 * (ctx->egress_ifindex == first) + 1000000 * (ctx->egress_ifindex == came);
	p[COMMAND + 1] = 0xe0 + who;
	switch (p[COMMAND] >> 4) {
	case 1: return XDP_DROP;
	case 2: return XDP_ABORTED;
	case 3: return XDP_TX; // nothing that entries know
	case 4: return bpf_redirect(other, 0); // cpumaps alone
	case 5: return bpf_xdp_adjust_head(ctx, 4) ? XDP_DROP : XDP_PASS;
	case 6: return bpf_xdp_adjust_tail(ctx, -8) ? XDP_DROP : XDP_PASS;
	}
	return XDP_PASS;
}

SEC("xdp/devmap") int leaves(struct xdp_md *ctx) { return entry(ctx, 2); }
SEC("xdp/devmap") int leaves_too(struct xdp_md *ctx) { return entry(ctx, 3); }
SEC("xdp/cpumap") int arrives(struct xdp_md *ctx) { return entry(ctx, 4); }
char LICENSE[] SEC("license") = "GPL";
