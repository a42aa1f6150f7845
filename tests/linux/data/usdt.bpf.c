// USDT arguments and cookies. Built with:
//   clang-19 -target bpf -mcpu=v3 -O2 -g -D__TARGET_ARCH_x86 -c usdt.bpf.c -o usdt.bpf.o
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/usdt.bpf.h>

long seen[8], count, cookie, args;

SEC("usdt") int probe(struct pt_regs *ctx)
{
	long value;

	__sync_fetch_and_add(&count, 1);
	cookie = bpf_usdt_cookie(ctx);
	args = bpf_usdt_arg_cnt(ctx);
	for (int i = 0; i < 8; i++)
		if (!bpf_usdt_arg(ctx, i, &value))
			seen[i] = value;
	return 0;
}
char _license[] SEC("license") = "GPL";
