// More programs whose effects are compared on both kernels: redirects and metadata of XDP, UDP packets whose headers
// and checksums are rewritten, addresses of IPv6. Built as parity.h says.
#include <linux/ip.h>
#include <linux/udp.h>
#include <stddef.h>
#include "parity.h"

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 4);
	__type(key, unsigned int);
	__type(value, unsigned int);
} ports SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, 4);
	__type(key, unsigned int);
	__type(value, unsigned int);
} hashed SEC(".maps");
SEC("xdp") int xdp_redirects(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	unsigned char *p = data;
	int answer;

	if (!ours(data, end))
		return XDP_PASS;
	count(1, p[COMMAND]);
	p[COMMAND + 3] = 0xdd;
	switch (p[COMMAND]) {
	case 1: answer = bpf_redirect(other, 0); break;
	case 2: answer = bpf_redirect(other, 1); break; // no flags are known
	case 3: answer = bpf_redirect(9999, 0); break; // no such device: found out later
	case 4: answer = bpf_redirect_map(&ports, 1, 0); break;
	case 5: answer = bpf_redirect_map(&ports, 2, XDP_PASS); break; // an empty entry
	case 6: answer = bpf_redirect_map(&ports, 2, XDP_DROP); break;
	case 7: answer = bpf_redirect_map(&ports, 77, XDP_TX); break;
	case 8: answer = bpf_redirect_map(&hashed, 300, 0); break;
	case 9: answer = bpf_redirect_map(&hashed, 301, XDP_PASS); break;
	case 10: bpf_redirect(other, 0); answer = XDP_PASS; break; // asked for, but not returned
	case 11: answer = bpf_redirect_map(&ports, 1, 64); break; // an unknown flag
	case 12: bpf_redirect_map(&ports, 2, 0); answer = XDP_REDIRECT; break;
	default: return XDP_PASS;
	}
	count(2, (p[COMMAND] << 16) + answer);
	return answer;
}

SEC("xdp") int xdp_meta(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *meta;
	unsigned char *p = data, command;

	if (!ours(data, end))
		return XDP_PASS;
	command = p[COMMAND];
	count(3, command);
	count(4, bpf_xdp_adjust_meta(ctx, -(int)command) & 0xffff);
	data = (void *)(long)ctx->data;
	meta = (void *)(long)ctx->data_meta;
	if (meta + 4 <= data)
		*(unsigned int *)meta = 0x1234500 + command;
	return XDP_PASS;
}
SEC("tc") int tc_meta(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end, *meta = (void *)(long)skb->data_meta;
	unsigned char *p = data;

	if (!ours(data, end))
		return TC_ACT_UNSPEC;
	count(5, data - meta);
	if (meta + 4 <= data)
		count(6, *(unsigned int *)meta);
	return TC_ACT_UNSPEC;
}

// The same, for frames that XDP sends on: to the other end, or out of another device.
SEC("xdp") int xdp_sends_meta(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *meta;
	unsigned char *p = data, command;

	if (!ours(data, end))
		return XDP_PASS;
	command = p[COMMAND];
	if (bpf_xdp_adjust_meta(ctx, -8))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	meta = (void *)(long)ctx->data_meta;
	if (meta + 4 > data)
		return XDP_DROP;
	*(unsigned int *)meta = 0x6543200 + command;
	switch (command) {
	case 1: return XDP_TX;
	case 2: return bpf_redirect(other, 0);
	case 3: return bpf_redirect_map(&ports, 1, 0);
	}
	return XDP_PASS;
}
SEC("xdp") int xdp_sees_meta(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *meta = (void *)(long)ctx->data_meta;

	if (!ours(data, end))
		return XDP_PASS;
	count(10, data - meta);
	if (meta + 4 <= data)
		count(11, *(unsigned int *)meta);
	return XDP_PASS;
}

// UDP over IPv4, from port 7000: another address, port and byte, with checksums kept right. The port says how.
#define IP ETH_HLEN
#define UDP (ETH_HLEN + sizeof(struct iphdr))
SEC("tc") int tc_udp(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + IP;
	struct udphdr *udp = data + UDP;
	__be32 from = bpf_htonl(0x0a000001), to = bpf_htonl(0x0a000063);
	__be16 old, new = bpf_htons(9999);

	if (data + UDP + sizeof(*udp) + 4 > end || skb->protocol != bpf_htons(ETH_P_IP) || ip->protocol != 17)
		return TC_ACT_UNSPEC;
	if (udp->source != bpf_htons(7000))
		return TC_ACT_UNSPEC;
	old = udp->dest;
	count(7, bpf_ntohs(old));
	switch (bpf_ntohs(old)) {
	case 1: // the address
		bpf_l4_csum_replace(skb, UDP + offsetof(struct udphdr, check), from, to,
				    BPF_F_PSEUDO_HDR | BPF_F_MARK_MANGLED_0 | sizeof(to));
		bpf_l3_csum_replace(skb, IP + offsetof(struct iphdr, check), from, to, sizeof(to));
		bpf_skb_store_bytes(skb, IP + offsetof(struct iphdr, saddr), &to, sizeof(to), 0);
		break;
	case 2: // the port
		bpf_l4_csum_replace(skb, UDP + offsetof(struct udphdr, check), old, new,
				    BPF_F_MARK_MANGLED_0 | sizeof(new));
		bpf_skb_store_bytes(skb, UDP + offsetof(struct udphdr, dest), &new, sizeof(new), 0);
		break;
	case 3: { // the payload, by a difference
		__be32 was, now = bpf_htonl(0xdeadbeef);

		bpf_skb_load_bytes(skb, UDP + sizeof(*udp), &was, 4);
		bpf_l4_csum_replace(skb, UDP + offsetof(struct udphdr, check), 0,
				    bpf_csum_diff(&was, 4, &now, 4, 0), BPF_F_MARK_MANGLED_0);
		bpf_skb_store_bytes(skb, UDP + sizeof(*udp), &now, 4, 0);
		break;
	}
	case 4: // the time to live, written as bytes
		ip->ttl = 7;
		break;
	case 5: // eight bytes behind the IP header
		count(8, bpf_skb_adjust_room(skb, 8, BPF_ADJ_ROOM_NET, 0) & 0xffff);
		break;
	case 6: // and eight away
		count(8, bpf_skb_adjust_room(skb, -8, BPF_ADJ_ROOM_NET, 0) & 0xffff);
		break;
	case 7: count(8, bpf_skb_change_proto(skb, bpf_htons(ETH_P_IPV6), 0) & 0xffff); break;
	case 8: count(8, bpf_skb_pull_data(skb, 9000) & 0xffff); break;
	case 9: count(8, bpf_skb_change_type(skb, 2) & 0xffff); break; // PACKET_MULTICAST: only of what came in
	}
	count(9, skb->len);
	__sync_fetch_and_add(&sum, skb->len);
	return TC_ACT_UNSPEC;
}

SEC("cgroup/post_bind6") int post6(struct bpf_sock *ctx)
{
	count(20, ctx->src_port);
	count(21, ctx->src_ip6[3]);
	return ctx->src_port != 1006;
}
SEC("cgroup/getsockname6") int name6(struct bpf_sock_addr *ctx)
{
	count(22, ctx->user_ip6[3]);
	ctx->user_ip6[0] = bpf_htonl(0x20010db8);
	ctx->user_port = PORT(4444);
	return 1;
}
SEC("cgroup/sendmsg6") int source6(struct bpf_sock_addr *ctx)
{
	count(23, bpf_ntohs(ctx->user_port));
	count(24, ctx->msg_src_ip6[3]);
	if (ctx->user_port == PORT(1005)) {
		ctx->user_port = PORT(25001);
		ctx->msg_src_ip6[0] = ctx->msg_src_ip6[1] = ctx->msg_src_ip6[2] = 0;
		ctx->msg_src_ip6[3] = bpf_htonl(1);
	}
	return 1;
}
SEC("cgroup/sock_release") int release(struct bpf_sock *ctx)
{
	count(25, ctx->family << 16 | ctx->type << 8 | ctx->protocol);
	return 1;
}
SEC("cgroup/bind4") int byte4(struct bpf_sock_addr *ctx)
{
	count(26, ((unsigned char *)&ctx->user_ip4)[0]);
	count(27, ctx->family << 16 | ctx->type << 8 | ctx->protocol);
	if (ctx->user_port == PORT(1007)) {
		ctx->user_ip4 = bpf_htonl(0x7f000003);
		return 3; // and no CAP_NET_BIND_SERVICE is needed
	}
	if (ctx->user_port == PORT(1008)) {
		bpf_set_retval(-13);
		return 0;
	}
	return 1;
}
char _license[] SEC("license") = "GPL";
