// SPDX-License-Identifier: BSD-2-Clause
/* What goes by: counts packets per IP protocol, keeps a flow table, drops telnet, answers pings in place
 * (XDP_TX) and tells user space about every new TCP connection through a ring buffer.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define ICMP_ECHOREPLY 0
#define ICMP_ECHO 8

struct icmphdr { /* <linux/icmp.h> pulls in the C library */
	__u8 type;
	__u8 code;
	__sum16 checksum;
};

struct flow {
	__be32 saddr;
	__be32 daddr;
	__be16 sport;
	__be16 dport;
	__u8 protocol;
	__u8 pad[3];
};

struct counters {
	__u64 packets;
	__u64 bytes;
};

enum reason { REASON_NEW = 1, REASON_BLOCKED = 2 };

struct event {
	__u64 number;
	struct flow flow;
	enum reason reason;
	__u32 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct counters);
} protocols SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct flow);
	__type(value, struct counters);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} events SEC(".maps");

const volatile __u16 blocked_port = 23;
__u64 seen;

static __always_inline void count(struct counters *c, __u64 bytes)
{
	c->packets++;
	c->bytes += bytes;
}

/* Not inlined, so that its type, and with it struct event, stands in the object's BTF. */
static __noinline void send(const struct event *event)
{
	bpf_ringbuf_output(&events, (void *)event, sizeof(*event), 0);
}

static __always_inline void tell(const struct flow *flow, enum reason reason, __u64 bytes)
{
	struct event event = { .number = seen, .flow = *flow, .reason = reason, .bytes = bytes };

	send(&event);
}

static __always_inline int reply(struct ethhdr *eth, struct iphdr *ip, struct icmphdr *icmp)
{
	__u8 mac[ETH_ALEN];
	__be32 addr = ip->saddr;
	__u32 sum;

	__builtin_memcpy(mac, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, mac, ETH_ALEN);
	ip->saddr = ip->daddr;
	ip->daddr = addr;
	icmp->type = ICMP_ECHOREPLY;
	sum = icmp->checksum + bpf_htons(ICMP_ECHO << 8);
	icmp->checksum = sum + (sum >> 16);
	return XDP_TX;
}

SEC("xdp")
int traffic(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct counters *known, first = {};
	struct ethhdr *eth = data;
	struct flow flow = {};
	struct iphdr *ip;
	__u64 bytes = end - data;
	__u32 protocol;
	void *l4;

	seen++;
	if (data + sizeof(*eth) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	ip = data + sizeof(*eth);
	if ((void *)(ip + 1) > end || ip->ihl < 5)
		return XDP_ABORTED;

	protocol = ip->protocol;
	known = bpf_map_lookup_elem(&protocols, &protocol);
	if (known)
		count(known, bytes);

	flow.saddr = ip->saddr;
	flow.daddr = ip->daddr;
	flow.protocol = ip->protocol;
	l4 = (void *)ip + ip->ihl * 4;
	if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP) {
		struct udphdr *ports = l4;

		if ((void *)(ports + 1) > end)
			return XDP_ABORTED;
		flow.sport = ports->source;
		flow.dport = ports->dest;
	} else if (protocol == IPPROTO_ICMP) {
		struct icmphdr *icmp = l4;

		if ((void *)(icmp + 1) > end)
			return XDP_ABORTED;
		if (icmp->type == ICMP_ECHO)
			return reply(eth, ip, icmp);
	}

	if (protocol == IPPROTO_TCP && flow.dport == bpf_htons(blocked_port)) {
		tell(&flow, REASON_BLOCKED, bytes);
		bpf_printk("blocked port %d from %pI4", blocked_port, &flow.saddr);
		return XDP_DROP;
	}

	known = bpf_map_lookup_elem(&flows, &flow);
	if (known) {
		count(known, bytes);
		return XDP_PASS;
	}
	count(&first, bytes);
	bpf_map_update_elem(&flows, &flow, &first, BPF_ANY);
	if (protocol == IPPROTO_TCP)
		tell(&flow, REASON_NEW, bytes);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
