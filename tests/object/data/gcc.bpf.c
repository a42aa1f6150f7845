// SPDX-License-Identifier: BSD-2-Clause
/* For gcc, which has no bpf_helpers.h: static data, a subprogram, a map. bpf-gcc -O2 -gbtf -mcpu=v3 -c */
typedef unsigned int __u32; typedef unsigned long long __u64;
#define SEC(n) __attribute__((section(n), used))
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name
struct { __uint(type, 2); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); } counts SEC(".maps");
static int x = 3; int y; const volatile int z = 9;
struct xdp_md { __u32 data, data_end, data_meta, a, b, c; };
void *bpf_map_lookup_elem(void *, const void *) __attribute__((kernel_helper(1)));
static __attribute__((noinline)) int add(int a){ return a + z + y; }
SEC("xdp") int prog(struct xdp_md *ctx)
{
	__u32 key = 1; __u64 *v = bpf_map_lookup_elem(&counts, &key);
	if (v) *v += 1;
	x++; y += x;
	return add(2) & 1 ? 2 : 1;
}
char LICENSE[] SEC("license") = "GPL";
