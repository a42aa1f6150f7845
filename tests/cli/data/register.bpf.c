// A congestion control, as bpftool 7.1 can register it too. Built with:
//   clang-19 -target bpf -mcpu=v3 -O2 -g -c register.bpf.c -o register.bpf.o
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct sock;
struct tcp_congestion_ops {
	char name[16];
	unsigned int (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, unsigned int ack, unsigned int acked);
	unsigned int (*undo_cwnd)(struct sock *sk);
};

SEC("struct_ops/ssthresh") unsigned int ssthresh(unsigned long long *ctx) { return 10; }
SEC("struct_ops/avoid") void avoid(unsigned long long *ctx) {}
SEC("struct_ops/undo") unsigned int undo(unsigned long long *ctx) { return 10; }

SEC(".struct_ops")
struct tcp_congestion_ops twin_ops = {
	.name = "bombus_twin", .ssthresh = (void *)ssthresh, .cong_avoid = (void *)avoid, .undo_cwnd = (void *)undo,
};
char _license[] SEC("license") = "GPL";
