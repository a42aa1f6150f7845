// Typed programs, structs by value, sockets, byte order.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

char LICENSE[] SEC("license") = "GPL";

struct flow {
	__be32 saddr, daddr;
	__u16 sport, dport;
	__u64 since;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct sock *);
	__type(value, struct flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(u32));
	__uint(value_size, sizeof(u32));
} out SEC(".maps");

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state, struct sock *sk, int oldstate, int newstate)
{
	struct flow flow = {};

	if (newstate != BPF_TCP_ESTABLISHED || oldstate == newstate)
		return 0;
	flow.saddr = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
	flow.daddr = BPF_CORE_READ(sk, __sk_common.skc_daddr);
	flow.dport = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	BPF_CORE_READ_INTO(&flow.sport, sk, __sk_common.skc_num);
	flow.since = bpf_be64_to_cpu(bpf_cpu_to_be64(bpf_ktime_get_ns()));
	if (flow.daddr == bpf_htonl(0x7f000001) || bpf_ntohl(flow.saddr) >> 24 == 127 || flow.dport == bpf_htons(80))
		return 0;
	bpf_map_update_elem(&flows, &sk, &flow, BPF_NOEXIST);
	bpf_perf_event_output(ctx, &out, BPF_F_CURRENT_CPU, &flow, sizeof(flow));
	return 0;
}

SEC("raw_tp/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	return BPF_CORE_READ(next, pid) + BPF_PROBE_READ(prev, pid) + preempt;
}

SEC("fentry/do_unlinkat")
int BPF_PROG(entry, int dfd, struct filename *name)
{
	bpf_printk("%s", name->name);
	return 0;
}

SEC("fexit/do_unlinkat")
int BPF_PROG2(leave, int, dfd, struct filename *, name, long, ret)
{
	return ret < 0 ? dfd : 0;
}
