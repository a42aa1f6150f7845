/* Maps and helpers that executables and libraries have inside. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define MAP(name, kind, k, v, n, ...)            \
	struct {                                 \
		__uint(type, BPF_MAP_TYPE_##kind); \
		__uint(max_entries, n);          \
		__type(key, k);                  \
		__type(value, v);                \
		__VA_ARGS__                      \
	} name SEC(".maps")
#define QUEUE(name, kind, v, n)                  \
	struct {                                 \
		__uint(type, BPF_MAP_TYPE_##kind); \
		__uint(max_entries, n);          \
		__type(value, v);                \
	} name SEC(".maps")

struct wide { __u64 a; __u32 b, c; };
struct prefix { __u32 length; __u8 bytes[4]; };
MAP(seen, HASH, struct wide, __u64, 20);
MAP(small, PERCPU_HASH, __u16, __u32, 30);
MAP(recent, LRU_HASH, __u32, struct wide, 300);
MAP(slots, ARRAY, __u32, struct wide, 8);
MAP(routes, LPM_TRIE, struct prefix, __u32, 40, __uint(map_flags, BPF_F_NO_PREALLOC););
QUEUE(waiting, QUEUE, __u32, 6);
QUEUE(pile, STACK, __u64, 6);
QUEUE(filter, BLOOM_FILTER, __u32, 1000);

SEC("xdp") int maps(struct xdp_md *ctx)
{
	unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (data + 24 > end)
		return XDP_ABORTED;
	__u32 op = data[14], number = data[15], sum = 0, top = 0;
	struct wide key = { .a = number, .b = op & 3 };
	__u64 one = 1, *count = bpf_map_lookup_elem(&seen, &key);
	if (count)
		*count += number;
	else
		sum += bpf_map_update_elem(&seen, &key, &one, BPF_NOEXIST) & 15;
	if (op == 7)
		sum += bpf_map_delete_elem(&seen, &key) & 31;
	__u16 half = number;
	sum += bpf_map_update_elem(&small, &half, &number, op & 1) & 63;
	__u32 *value = bpf_map_lookup_elem(&small, &half);
	if (value)
		sum += (*value)++;
	bpf_map_update_elem(&recent, &number, &key, 0);
	__u32 other = number ^ 1, index = number & 15;
	struct wide *found = bpf_map_lookup_elem(&recent, &other);
	if (found)
		sum += found->a + found->b;
	sum += bpf_map_update_elem(&slots, &index, &key, 0) & 127;
	found = bpf_map_lookup_elem(&slots, &index);
	if (found)
		sum += found->a;
	struct prefix route = { .length = op & 31, .bytes = { 10, number, op } };
	bpf_map_update_elem(&routes, &route, &number, 0);
	route.length = 32;
	value = bpf_map_lookup_elem(&routes, &route);
	if (value)
		sum = sum * 31 + *value;
	sum += bpf_map_push_elem(&waiting, &number, op & 2 ? BPF_EXIST : 0) & 7;
	one = number;
	bpf_map_push_elem(&pile, &one, 0);
	if (op & 4 && !bpf_map_pop_elem(&waiting, &top))
		sum = sum * 31 + top;
	if (op & 8 && !bpf_map_pop_elem(&pile, &one))
		sum += one;
	bpf_map_push_elem(&filter, &number, 0);
	if (!bpf_map_peek_elem(&filter, &number))
		sum += 1000;
#ifndef NO_SUM /* another number on big-endian machines */
	struct wide both = { .a = number, .b = op };
	sum += bpf_csum_diff((void *)&key, 16, (void *)&both, 16, number);
#endif
	sum += !bpf_get_smp_processor_id();
#ifndef NO_TIME
	__u64 before = bpf_ktime_get_ns();
	sum += before && bpf_ktime_get_ns() >= before;
#endif
	data[16] = sum;
	data[17] = sum >> 8;
	return sum & 0xffff;
}

char _license[] SEC("license") = "GPL";
