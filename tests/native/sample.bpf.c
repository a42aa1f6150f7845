// Variables of all sections, a function of its own, loops, division: what native code of a program has to carry along.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

static const volatile __u32 limit = 1500;
__u64 seen;
__u64 weights[4] = {3, 5, 7, 11};

static __attribute__((noinline)) __u64 mix(__u64 value, __u64 by)
{
	return (value / by << 7) ^ value % by;
}

SEC("xdp")
int sample(struct xdp_md *ctx)
{
	unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 sum = 1;

	__sync_fetch_and_add(&seen, 1);
	if (end - data > limit || data + 8 > end)
		return XDP_DROP;
	for (int i = 0; i < 8; i++)
		sum = sum * 31 + data[i];
	sum = mix(sum, weights[sum & 3] + seen);
	data[0] = sum >> 8;
	data[1] = sum >> 40;
	return sum & 1 ? XDP_TX : XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
