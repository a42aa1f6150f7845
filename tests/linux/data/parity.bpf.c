// Programs whose verdicts, packets and maps are compared on both kernels. Built as parity.h says.
#include "parity.h"

SEC("xdp") int xdp_parity(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	unsigned char *p = data, swap[6];

	if (!ours(data, end))
		return XDP_PASS;
	count(1, p[COMMAND]);
	__sync_fetch_and_add(&sum, end - data);
	switch (p[COMMAND]) {
	case 1: return XDP_DROP;
	case 2: return XDP_ABORTED;
	case 3: // back, with the addresses exchanged
		__builtin_memcpy(swap, p, 6);
		__builtin_memcpy(p, p + 6, 6);
		__builtin_memcpy(p + 6, swap, 6);
		p[COMMAND] = 33;
		return XDP_TX;
	case 4: // rewritten
		p[COMMAND + 1] = 0xaa;
		p[COMMAND + 2] = end - data;
		return XDP_PASS;
	case 5: // four bytes in front of the payload go
		__builtin_memmove(p + 4, p, 12);
		if (bpf_xdp_adjust_head(ctx, 4))
			return XDP_DROP;
		data = (void *)(long)ctx->data;
		end = (void *)(long)ctx->data_end;
		if (data + COMMAND + 1 > end)
			return XDP_DROP;
		p = data;
		p[12] = 0x88;
		p[13] = 0xb5;
		p[COMMAND] = 55;
		return XDP_PASS;
	case 6: return bpf_xdp_adjust_tail(ctx, -8) ? XDP_DROP : XDP_PASS;
	case 7: return bpf_xdp_adjust_tail(ctx, 16) ? XDP_DROP : XDP_PASS;
	case 8: return 77;
	}
	return XDP_PASS;
}

SEC("tc") int tc_parity(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	unsigned char *p = data, byte = 0xbb;

	if (!ours(data, end))
		return TC_ACT_UNSPEC;
	count(2, p[COMMAND]);
	__sync_fetch_and_add(&sum, skb->len);
	switch (p[COMMAND]) {
	case 11: return TC_ACT_SHOT;
	case 12: bpf_skb_store_bytes(skb, COMMAND + 1, &byte, 1, 0); return TC_ACT_OK;
	case 13: bpf_skb_change_tail(skb, skb->len + 6, 0); return TC_ACT_UNSPEC;
	case 14: bpf_skb_change_tail(skb, COMMAND + 10, 0); return TC_ACT_OK;
	case 15: bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), 77); return TC_ACT_OK;
	case 16: skb->mark = 99; skb->priority = 3; return TC_ACT_UNSPEC;
	case 17: bpf_skb_change_head(skb, 14, 0); return TC_ACT_OK;
	case 18: bpf_skb_adjust_room(skb, 8, BPF_ADJ_ROOM_MAC, 0); return TC_ACT_OK;
	}
	return TC_ACT_UNSPEC;
}
SEC("tc") int tc_second(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	unsigned char *p = data;

	if (!ours(data, end))
		return TC_ACT_UNSPEC;
	count(3, p[COMMAND]);
	count(4, skb->mark);
	count(5, skb->len);
	return TC_ACT_UNSPEC;
}
SEC("tc") int tc_redirect(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	unsigned char *p = data;

	if (!ours(data, end))
		return TC_ACT_UNSPEC;
	count(6, p[COMMAND]);
	p[COMMAND + 3] = 0xcc;
	if (p[COMMAND] == 21)
		return bpf_redirect(other, 0);
	if (p[COMMAND] == 22)
		bpf_clone_redirect(skb, other, 0);
	return TC_ACT_OK;
}

// Sockets: the last byte of a datagram is its command.
static __always_inline int command_of(struct __sk_buff *skb)
{
	unsigned char byte = 0;

	bpf_skb_load_bytes(skb, skb->len - 1, &byte, 1);
	return byte;
}
SEC("cgroup_skb/egress") int out_parity(struct __sk_buff *skb)
{
	int command = command_of(skb);

	count(10, command);
	count(12, skb->len);
	return command != 41;
}
SEC("cgroup_skb/ingress") int in_parity(struct __sk_buff *skb)
{
	int command = command_of(skb);

	count(11, command);
	count(13, skb->protocol);
	return command != 42;
}
SEC("socket") int filter_parity(struct __sk_buff *skb)
{
	int command = command_of(skb);

	count(14, command);
	count(15, skb->len);
	if (command == 43)
		return 0;
	return command == 44 ? 8 + 2 : -1;
}

SEC("cgroup/bind4") int bind4(struct bpf_sock_addr *ctx)
{
	count(20, bpf_ntohs(ctx->user_port));
	if (ctx->user_port == PORT(1001))
		return 0;
	if (ctx->user_port == PORT(1002))
		ctx->user_port = PORT(21002);
	return 1;
}
SEC("cgroup/bind6") int bind6(struct bpf_sock_addr *ctx)
{
	count(21, bpf_ntohs(ctx->user_port));
	if (ctx->user_port == PORT(1001))
		return 0;
	if (ctx->user_port == PORT(1002))
		ctx->user_port = PORT(21002);
	return 1;
}
SEC("cgroup/connect4") int connect4(struct bpf_sock_addr *ctx)
{
	count(22, bpf_ntohs(ctx->user_port));
	count(23, ctx->type);
	if (ctx->user_port == PORT(1003))
		return 0;
	if (ctx->user_ip4 == bpf_htonl(0x0a010203)) {
		ctx->user_ip4 = bpf_htonl(0x7f000001);
		ctx->user_port = PORT(25000);
	}
	return 1;
}
SEC("cgroup/connect6") int connect6(struct bpf_sock_addr *ctx)
{
	count(24, bpf_ntohs(ctx->user_port));
	if (ctx->user_port == PORT(1003))
		return 0;
	if (ctx->user_ip6[0] == bpf_htonl(0x20010db8)) {
		ctx->user_ip6[0] = ctx->user_ip6[1] = ctx->user_ip6[2] = 0;
		ctx->user_ip6[3] = bpf_htonl(1);
		ctx->user_port = PORT(25000);
	}
	return 1;
}
SEC("cgroup/sendmsg4") int sendmsg4(struct bpf_sock_addr *ctx)
{
	count(25, bpf_ntohs(ctx->user_port));
	if (ctx->user_port == PORT(1004))
		return 0;
	if (ctx->user_port == PORT(1005)) {
		ctx->user_port = PORT(25001);
		ctx->msg_src_ip4 = bpf_htonl(0x7f000009);
	}
	return 1;
}
SEC("cgroup/sendmsg6") int sendmsg6(struct bpf_sock_addr *ctx)
{
	count(26, bpf_ntohs(ctx->user_port));
	if (ctx->user_port == PORT(1004))
		return 0;
	if (ctx->user_port == PORT(1005))
		ctx->user_port = PORT(25001);
	return 1;
}
SEC("cgroup/recvmsg4") int recvmsg4(struct bpf_sock_addr *ctx)
{
	count(27, ctx->user_ip4);
	if (ctx->user_ip4 == bpf_htonl(0x7f000009)) {
		ctx->user_ip4 = bpf_htonl(0x0a090909);
		ctx->user_port = PORT(53);
	}
	return 1;
}
SEC("cgroup/recvmsg6") int recvmsg6(struct bpf_sock_addr *ctx)
{
	count(28, ctx->user_ip6[3]);
	ctx->user_port = PORT(53);
	return 1;
}
SEC("cgroup/getpeername4") int peer4(struct bpf_sock_addr *ctx)
{
	count(29, bpf_ntohs(ctx->user_port));
	ctx->user_ip4 = bpf_htonl(0x0a010203);
	ctx->user_port = PORT(80);
	return 1;
}
SEC("cgroup/getpeername6") int peer6(struct bpf_sock_addr *ctx)
{
	count(30, bpf_ntohs(ctx->user_port));
	ctx->user_port = PORT(80);
	return 1;
}
SEC("cgroup/getsockname4") int name4(struct bpf_sock_addr *ctx)
{
	count(31, 0);
	ctx->user_ip4 = bpf_htonl(0x0a0a0a0a);
	return 1;
}
SEC("cgroup/sock_create") int create(struct bpf_sock *ctx)
{
	count(32, ctx->family << 16 | ctx->type << 8 | ctx->protocol);
	return 1;
}
SEC("cgroup/post_bind4") int post4(struct bpf_sock *ctx)
{
	count(33, ctx->src_port);
	return ctx->src_port != 1006;
}
char _license[] SEC("license") = "GPL";
