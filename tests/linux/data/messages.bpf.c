// Sockmaps: sockops programs fill them, sk_msg programs pass, drop and redirect what is sent. Built with:
//   bombus build --strip messages.bpf.c -o messages.bpf.o
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define MOST 64
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 8);
	__type(key, unsigned int);
	__type(value, unsigned long);
} sockets SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 8);
	__type(key, unsigned int);
	__type(value, unsigned long);
} hashed SEC(".maps");
struct row {
	int size, linear, family, local_port, remote_port, local_ip4, answer, state, first, extra;
} rows[MOST];
unsigned int count, entered;
int updates[16], again[16];

SEC("sockops") int enter(struct bpf_sock_ops *ctx)
{
	unsigned int key = entered & 7, port = ctx->local_port;

	if (ctx->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB && ctx->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB) {
		key = 7;
		updates[ctx->op & 15] = bpf_sock_map_update(ctx, &sockets, &key, BPF_ANY);
		return 1;
	}
	entered++;
	updates[ctx->op & 15] = bpf_sock_map_update(ctx, &sockets, &key, BPF_NOEXIST);
	again[ctx->op & 15] = bpf_sock_map_update(ctx, &sockets, &key, BPF_NOEXIST);
	bpf_sock_hash_update(ctx, &hashed, &port, BPF_ANY);
	return 1;
}

SEC("sk_msg") int judge(struct sk_msg_md *msg)
{
	unsigned char *data = msg->data, *end = msg->data_end;
	unsigned int at = count, key;
	struct row *row;

	if (at >= MOST || data + 2 > end)
		return SK_PASS;
	count = at + 1;
	row = &rows[at & (MOST - 1)];
	row->size = msg->size;
	row->linear = end - data;
	row->family = msg->family;
	row->local_port = msg->local_port;
	row->remote_port = bpf_ntohl(msg->remote_port);
	row->local_ip4 = msg->local_ip4;
	row->state = msg->sk ? msg->sk->state : -1;
	row->first = data[0];
	key = data[1] - '0';
	switch (data[0]) {
	case 'd': return SK_DROP;
	case 'e': return row->answer = bpf_msg_redirect_map(msg, &sockets, key, 0);
	case 'i': return row->answer = bpf_msg_redirect_map(msg, &sockets, key, BPF_F_INGRESS);
	case 'f': return row->answer = bpf_msg_redirect_map(msg, &sockets, key, 4);
	case 'h':
		key = 26000 + 1000 * key;
		return row->answer = bpf_msg_redirect_hash(msg, &hashed, &key, BPF_F_INGRESS);
	case 'a':
		row->answer = bpf_msg_apply_bytes(msg, key);
		return SK_PASS;
	case 'x':
		row->answer = bpf_msg_apply_bytes(msg, key);
		return SK_DROP;
	case 'w':
		data[1] = '!';
		return SK_PASS;
	case 'p':
		row->answer = bpf_msg_pull_data(msg, 2, 6, 0);
		data = msg->data;
		end = msg->data_end;
		row->extra = end - data;
		if (data + 1 <= end)
			row->first = data[0];
		return SK_PASS;
	case 'q':
		row->answer = bpf_msg_pull_data(msg, 4, 100, 0);
		row->extra = bpf_msg_pull_data(msg, 4, 4, 0);
		return SK_PASS;
	}
	return SK_PASS;
}

char LICENSE[] SEC("license") = "GPL";
