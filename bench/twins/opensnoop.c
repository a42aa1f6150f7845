#include "twin.h"
struct enter { __u64 common, number, directory, filename, flags, mode; };
struct event { __u32 pid, uid; __u64 flags; char comm[16], filename[64]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); } events SEC(".maps");
const volatile __u32 only = 0;
SEC("tracepoint/syscalls/sys_enter_openat") int openat(struct enter *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	if (only && pid != only) return 0;
	struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) return 0;
	event->pid = pid;
	event->uid = bpf_get_current_uid_gid();
	event->flags = ctx->flags;
	bpf_get_current_comm(event->comm, 16);
	bpf_probe_read_user_str(event->filename, 64, (void *)ctx->filename);
	bpf_ringbuf_submit(event, 0);
	return 0;
}
char LICENSE[] SEC("license") = "GPL";
