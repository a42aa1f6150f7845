#include "twin.h"
struct change { __u64 common, sock; __s32 old, new; __u16 sport, dport, family, protocol; __be32 src, dst; };
struct begin { __u64 time; __u32 pid, gap; char comm[16]; };
struct event { __u64 nanoseconds; __u32 pid; __be32 src, dst; __u16 sport, dport; char comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4096); __type(key, __u64); __type(value, struct begin); } begun SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); } events SEC(".maps");
const volatile __u32 only = 0;
SEC("tracepoint/sock/inet_sock_set_state") int state(struct change *ctx)
{
	if (ctx->protocol != 6) return 0;
	__u64 sock = ctx->sock;
	if (ctx->new == 2) {
		__u32 pid = bpf_get_current_pid_tgid() >> 32;
		if (only && pid != only) return 0;
		struct begin begin = { .time = bpf_ktime_get_ns(), .pid = pid };
		bpf_get_current_comm(begin.comm, 16);
		bpf_map_update_elem(&begun, &sock, &begin, 0);
		return 0;
	}
	struct begin *since = bpf_map_lookup_elem(&begun, &sock);
	if (!since) return 0;
	if (ctx->new == 1) {
		struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
		if (event) {
			event->nanoseconds = bpf_ktime_get_ns() - since->time;
			event->pid = since->pid;
			event->src = ctx->src;
			event->dst = ctx->dst;
			event->sport = ctx->sport;
			event->dport = ctx->dport;
			for (int i = 0; i < 16; i++) event->comm[i] = since->comm[i];
			bpf_ringbuf_submit(event, 0);
		}
	}
	bpf_map_delete_elem(&begun, &sock);
	return 0;
}
char LICENSE[] SEC("license") = "GPL";
