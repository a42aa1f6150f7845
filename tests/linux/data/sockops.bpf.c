// Programs that watch TCP connections, compared on both kernels. Built with:
//   bombus build --strip sockops.bpf.c -o sockops.bpf.o
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define MOST 256

struct row {
	int op, args[4], family, local_port, remote_port, local_ip4, remote_ip4, fullsock, flags, state;
	int cwnd, flight, mss, ssthresh, packets_out, retrans, total_retrans, segs_in, data_segs_in, segs_out;
	int data_segs_out, received, acked, skb_len, tcp_flags, sk_state, answer;
} rows[MOST];
unsigned int count;
int flags, reply[16], addresses[8];

SEC("sockops") int watch(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	unsigned int at = count;
	struct row *row;

	if (at >= MOST)
		return 1;
	count = at + 1;
	row = &rows[at & (MOST - 1)];
	row->op = ctx->op;
	row->args[0] = row->args[1] = row->args[2] = row->args[3] = row->answer = 0;
	if (ctx->op != BPF_SOCK_OPS_RTT_CB) { // else times
		row->args[0] = ctx->args[0];
		row->args[1] = ctx->args[1];
		row->args[2] = ctx->args[2];
		row->args[3] = ctx->args[3];
	}
	row->family = ctx->family;
	row->local_port = ctx->local_port;
	row->remote_port = bpf_ntohl(ctx->remote_port);
	row->local_ip4 = ctx->local_ip4;
	row->remote_ip4 = ctx->remote_ip4;
	row->fullsock = ctx->is_fullsock;
	row->flags = ctx->bpf_sock_ops_cb_flags;
	row->state = ctx->state;
	row->cwnd = ctx->snd_cwnd;
	row->flight = ctx->snd_nxt - ctx->snd_una;
	row->mss = ctx->mss_cache;
	row->ssthresh = ctx->snd_ssthresh;
	row->packets_out = ctx->packets_out;
	row->retrans = ctx->retrans_out;
	row->total_retrans = ctx->total_retrans;
	row->segs_in = ctx->segs_in;
	row->data_segs_in = ctx->data_segs_in;
	row->segs_out = ctx->segs_out;
	row->data_segs_out = ctx->data_segs_out;
	row->received = ctx->bytes_received;
	row->acked = ctx->bytes_acked;
	row->skb_len = ctx->skb_len;
	row->tcp_flags = ctx->skb_tcp_flags;
	row->sk_state = sk ? sk->state : -1;
	if (flags && (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB || ctx->op == BPF_SOCK_OPS_TCP_LISTEN_CB ||
		      ctx->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB))
		row->answer = bpf_sock_ops_cb_flags_set(ctx, flags);
	if (reply[ctx->op & 15])
		ctx->reply = reply[ctx->op & 15];
	return 1;
}

struct packet {
	int out, len, mark, family, tos, flags, window, data, local_port, remote_port, sk_state;
} packets[MOST];
unsigned int packet_count;
int drop; // the number of a packet that does not pass, from 1 on

static __always_inline int packet(struct __sk_buff *skb, int out)
{
	unsigned int at = packet_count, size;
	unsigned char version, bytes[2], offset;
	struct packet *row;

	if (at >= MOST)
		return 1;
	row = &packets[at & (MOST - 1)];
	if (bpf_skb_load_bytes(skb, 0, &version, 1))
		return 1;
	size = version >> 4 == 4 ? 20 : 40;
	if (bpf_skb_load_bytes(skb, version >> 4 == 4 ? 9 : 6, bytes, 1) || bytes[0] != 6)
		return 1;
	packet_count = at + 1;
	row->out = out;
	row->len = skb->len;
	row->family = skb->family;
	row->local_port = skb->local_port;
	row->remote_port = bpf_ntohl(skb->remote_port);
	if (!bpf_skb_load_bytes(skb, 1, bytes, 1))
		row->tos = version >> 4 == 4 ? bytes[0] : 0;
	if (!bpf_skb_load_bytes(skb, size + 12, bytes, 2)) {
		offset = bytes[0];
		row->flags = bytes[1];
		row->data = skb->len - size - (offset >> 4) * 4;
	}
	row->sk_state = skb->sk ? skb->sk->state : -1;
	return at + 1 != drop;
}

SEC("cgroup_skb/egress") int out(struct __sk_buff *skb) { return packet(skb, 1); }
SEC("cgroup_skb/ingress") int in(struct __sk_buff *skb) { return packet(skb, 0); }

struct facts {
	int op, set[8], got[8], values[8];
	int cwnd, mss, segs_in, segs_out, data_segs_in, data_segs_out, received, acked, packets_out, flight;
	int option[4], stamps, mss_option;
} facts[64];
unsigned int fact_count;

SEC("sockops") int options(struct bpf_sock_ops *ctx)
{
	unsigned int at = fact_count;
	struct bpf_sock *sk = ctx->sk;
	struct bpf_tcp_sock *tcp;
	struct facts *row;
	unsigned char search[12] = { 2, 0 };
	int value;

	if (at >= 64 || ctx->op == BPF_SOCK_OPS_RTT_CB)
		return 1;
	fact_count = at + 1;
	row = &facts[at & 63];
	row->op = ctx->op;
#define SET(n, level, name, number) value = number; row->set[n] = bpf_setsockopt(ctx, level, name, &value, 4)
#define GET(n, level, name) value = -1; row->got[n] = bpf_getsockopt(ctx, level, name, &value, 4); row->values[n] = value
	SET(0, 1, 12, at & 7); // SO_PRIORITY
	SET(1, 1, 36, 77); // SO_MARK
	SET(2, 6, 1008, 5 | at << 8); // TCP_BPF_SOCK_OPS_CB_FLAGS, which are not all known
	SET(3, 6, 1008, 4);
	SET(4, 6, 4, 100 + at); // TCP_KEEPIDLE
	SET(5, 6, 1001, 20); // TCP_BPF_IW
	SET(6, 99, 1, 1);
	SET(7, 6, 1002, 0); // TCP_BPF_SNDCWND_CLAMP
	GET(0, 1, 12);
	GET(1, 1, 36);
	GET(2, 6, 1008);
	GET(3, 6, 4);
	GET(4, 6, 1001);
	GET(5, 99, 1);
	GET(6, 0, 2); // IP_TTL
	row->option[0] = bpf_load_hdr_opt(ctx, search, sizeof(search), 0);
	row->mss_option = search[2] << 8 | search[3];
	search[0] = 8;
	search[1] = 0;
	row->option[1] = bpf_load_hdr_opt(ctx, search, 4, 0);
	row->stamps = search[1];
	search[0] = 77;
	search[1] = 0;
	row->option[2] = bpf_load_hdr_opt(ctx, search, 4, 0);
	row->option[3] = bpf_load_hdr_opt(ctx, search, 4, 2);
	if (!sk)
		return 1;
	tcp = bpf_tcp_sock(sk);
	if (!tcp)
		return 1;
	row->cwnd = tcp->snd_cwnd;
	row->mss = tcp->mss_cache;
	row->segs_in = tcp->segs_in;
	row->segs_out = tcp->segs_out;
	row->data_segs_in = tcp->data_segs_in;
	row->data_segs_out = tcp->data_segs_out;
	row->received = tcp->bytes_received;
	row->acked = tcp->bytes_acked;
	row->packets_out = tcp->packets_out;
	row->flight = tcp->snd_nxt - tcp->snd_una;
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
