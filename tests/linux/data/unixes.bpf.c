// Programs at the addresses of UNIX sockets, compared on both kernels. Built with:
//   bombus build --strip unixes.bpf.c -o unixes.bpf.o
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

extern int bpf_sock_addr_set_sun_path(struct bpf_sock_addr_kern *, const __u8 *, __u32) __ksym;
extern void *bpf_cast_to_kern_ctx(void *) __ksym;
extern void *bpf_rdonly_cast(const void *, __u32) __ksym;

struct row {
	int hook, family, type, protocol, user_family, size, changed, after, socket, state;
	char name[24], then[24];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, unsigned int);
	__type(value, struct row);
} rows SEC(".maps");
unsigned int used;
int hook, length; // which hook changes the name, to `length` bytes of `text`; hook + 100: which one forbids
char text[108];

static __always_inline int seen(struct bpf_sock_addr *ctx, int number)
{
	struct bpf_sock_addr_kern *kern = bpf_cast_to_kern_ctx(ctx);
	struct sockaddr_un *address;
	unsigned int at = used;
	struct row *row = bpf_map_lookup_elem(&rows, &at);

	if (!row)
		return 0;
	used++;
	row->hook = number;
	row->family = ctx->family;
	row->type = ctx->type;
	row->protocol = ctx->protocol;
	row->size = kern->uaddrlen;
	if (row->size) // else nothing was put there
		row->user_family = ctx->user_family;
	if (ctx->sk) {
		row->socket = ctx->sk->family << 8 | ctx->sk->type;
		row->state = ctx->sk->state;
	}
	address = bpf_rdonly_cast(kern->uaddr, bpf_core_type_id_kernel(struct sockaddr_un));
	for (int i = 0; i < sizeof(row->name) && i < row->size - 2; i++) // what lies behind it is what was there before
		row->name[i] = address->sun_path[i];
	if (hook == number) {
		if (length >= 0 && length <= sizeof(text))
			row->changed = bpf_sock_addr_set_sun_path(kern, (void *)text, length);
		row->after = kern->uaddrlen;
		for (int i = 0; i < sizeof(row->then) && i < row->after - 2; i++)
			row->then[i] = address->sun_path[i];
	}
	return hook != number + 100;
}

SEC("cgroup/connect_unix") int connecting(struct bpf_sock_addr *ctx) { return seen(ctx, 1); }
SEC("cgroup/sendmsg_unix") int sending(struct bpf_sock_addr *ctx) { return seen(ctx, 2); }
SEC("cgroup/recvmsg_unix") int receiving(struct bpf_sock_addr *ctx) { seen(ctx, 3); return 1; }
SEC("cgroup/getpeername_unix") int peer(struct bpf_sock_addr *ctx) { seen(ctx, 4); return 1; }
SEC("cgroup/getsockname_unix") int own(struct bpf_sock_addr *ctx) { seen(ctx, 5); return 1; }

char LICENSE[] SEC("license") = "GPL";
