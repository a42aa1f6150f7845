// XDP programs that write down in which order they ran. Built with:
//   clang-19 -target bpf -mcpu=v3 -O2 -g -c dispatch.bpf.c -o dispatch.bpf.o
// order: four bits for each program that saw the last packets, the latest lowest.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define RUN_CONFIG(f) _##f SEC(".xdp_run_config")

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} dispatch_order SEC(".maps");

static __always_inline void saw(int number)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&dispatch_order, &key);

	if (value)
		*value = *value << 4 | number;
}

struct { __uint(priority, 20); __uint(XDP_PASS, 1); __uint(XDP_TX, 1); } RUN_CONFIG(first);
SEC("xdp") int first(struct xdp_md *ctx) { saw(1); return XDP_PASS; }
struct { __uint(priority, 60); __uint(XDP_PASS, 0); __uint(XDP_DROP, 1); } RUN_CONFIG(dropper);
SEC("xdp") int dropper(struct xdp_md *ctx) { saw(2); return XDP_DROP; }
SEC("xdp") int plain(struct xdp_md *ctx) { saw(3); return XDP_PASS; }
SEC("xdp.frags") int large(struct xdp_md *ctx) { saw(4); return XDP_PASS; }

char _license[] SEC("license") = "GPL";
