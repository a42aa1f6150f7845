/* What executables have inside: array maps, tail calls, functions that bpf_loop calls. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

int other(struct xdp_md *ctx);
int last(struct xdp_md *ctx);
int inside(struct xdp_md *ctx);
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct xdp_md *));
} jumps SEC(".maps") = { .values = { [1] = (void *)&other, [3] = (void *)&last } };

static long add(__u32 index, void *sum)
{
	*(__u32 *)sum += index;
	return index == 6;
}

SEC("xdp") int inside(struct xdp_md *ctx)
{
	unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 sum = 0;
	if (data + 15 > end)
		return XDP_ABORTED;
	__u32 key = data[14] & 31;
	__u64 *count = bpf_map_lookup_elem(&counts, &key);
	if (count)
		(*count)++;
	bpf_loop(key, add, &sum, 0);
	data[13] = sum;
	bpf_tail_call(ctx, &jumps, key & 7);
	return count ? XDP_PASS : XDP_DROP;
}

SEC("xdp") int other(struct xdp_md *ctx)
{
	__u32 key = 15;
	__u64 *count = bpf_map_lookup_elem(&counts, &key);
	if (count)
		(*count)++;
	bpf_tail_call(ctx, &jumps, 1); /* itself, until that is too often */
	return count ? *count & 0xffff : 0;
}

SEC("xdp") int last(struct xdp_md *ctx)
{
	return XDP_TX;
}

char _license[] SEC("license") = "GPL";
