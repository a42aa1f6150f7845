#include "twin.h"
struct target { __be32 address; __u32 port; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16); __type(key, __u32); __type(value, struct target); } targets SEC(".maps");
SEC("cgroup/connect4") int redirect(struct bpf_sock_addr *ctx)
{
	__u32 key = bpf_ntohl(ctx->user_ip4);
	struct target *target = bpf_map_lookup_elem(&targets, &key);
	if (!target) return 1;
	ctx->user_ip4 = target->address;
	ctx->user_port = target->port;
	return 1;
}
