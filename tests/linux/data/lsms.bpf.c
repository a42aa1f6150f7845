// Security programs of cgroups, compared on both kernels. Built with:
//   bombus build --strip lsms.bpf.c -o lsms.bpf.o
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define MOST 128

struct row {
	int who, before;
	long args[4];
	int family, type, protocol, port;
} rows[MOST];
unsigned int count;
int pid, answer[16], retval[16]; // what each program answers, and what it sets before

static __always_inline int seen(int who, u64 *ctx, int first, int number, struct sock *sk, struct sockaddr *address)
{
	struct row *row;
	int before = bpf_get_retval();

	if (bpf_get_current_pid_tgid() >> 32 != pid || count >= MOST)
		return 1;
	row = &rows[count++ & (MOST - 1)];
	row->who = who;
	row->before = before;
#define ARGUMENT(i) row->args[i] = i >= first && i < number ? (int)ctx[i] : 0 // those before are addresses
	ARGUMENT(0);
	ARGUMENT(1);
	ARGUMENT(2);
	ARGUMENT(3);
	row->family = row->type = row->protocol = row->port = 0;
	if (sk) {
		row->family = sk->__sk_common.skc_family;
		row->type = sk->sk_type;
		row->protocol = sk->sk_protocol;
	}
	if (address) {
		row->port = address->sa_family << 16 | *(u16 *)address->sa_data;
	}
	if (retval[who & 15])
		bpf_set_retval(retval[who & 15]);
	return answer[who & 15] != 0;
}

SEC("lsm_cgroup/socket_create") int create(u64 *ctx) { return seen(1, ctx, 0, 4, 0, 0); }
SEC("lsm_cgroup/socket_create") int create_too(u64 *ctx) { return seen(2, ctx, 0, 4, 0, 0); }
SEC("lsm_cgroup/socket_post_create")
int BPF_PROG(created, struct socket *sock, int family, int type, int protocol, int kern)
{
	return seen(3, ctx, 1, 4, sock->sk, 0);
}
SEC("lsm_cgroup/socket_bind")
int BPF_PROG(bind, struct socket *sock, struct sockaddr *address, int size)
{
	return seen(4, ctx, 2, 3, sock->sk, address);
}
SEC("lsm_cgroup/socket_bind")
int BPF_PROG(bind_too, struct socket *sock, struct sockaddr *address, int size)
{
	return seen(5, ctx, 2, 3, sock->sk, address);
}
SEC("lsm_cgroup/socket_connect")
int BPF_PROG(connect, struct socket *sock, struct sockaddr *address, int size)
{
	return seen(6, ctx, 2, 3, sock->sk, address);
}
SEC("lsm_cgroup/socket_listen") int BPF_PROG(listen, struct socket *sock) { return seen(7, ctx, 1, 2, sock->sk, 0); }
SEC("lsm_cgroup/socket_getsockname") int BPF_PROG(own, struct socket *sock) { return seen(8, ctx, 1, 1, sock->sk, 0); }
SEC("lsm_cgroup/socket_getpeername") int BPF_PROG(peer, struct socket *sock) { return seen(9, ctx, 1, 1, sock->sk, 0); }
SEC("lsm_cgroup/socket_setsockopt") int BPF_PROG(set, struct socket *sock) { return seen(10, ctx, 1, 3, sock->sk, 0); }
SEC("lsm_cgroup/socket_getsockopt") int BPF_PROG(get, struct socket *sock) { return seen(11, ctx, 1, 3, sock->sk, 0); }
// One that is there for everybody, for the order.
SEC("lsm/socket_bind") int whole(u64 *ctx)
{
	struct row *row;

	if (bpf_get_current_pid_tgid() >> 32 != pid || count >= MOST)
		return 0;
	row = &rows[count++ & (MOST - 1)];
	__builtin_memset(row, 0, sizeof(*row));
	row->who = 12;
	return answer[12] ? -13 : 0;
}

char LICENSE[] SEC("license") = "GPL";
