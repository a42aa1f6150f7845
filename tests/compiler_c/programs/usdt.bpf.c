// Static probes of user space.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/usdt.bpf.h>

char LICENSE[] SEC("license") = "GPL";
long seen[4];

SEC("usdt/libc.so.6:libc:setjmp")
int BPF_USDT(jump, void *env, int value, unsigned long address)
{
	seen[0] = (long)env + value + address;
	return 0;
}

SEC("usdt//bin/sh:sh:none")
int by_hand(struct pt_regs *ctx)
{
	long x = 0;

	bpf_usdt_arg(ctx, 1, &x);
	seen[1] = x + bpf_usdt_arg_cnt(ctx) + bpf_usdt_cookie(ctx) + bpf_usdt_arg_size(ctx, 0);
	return 0;
}
