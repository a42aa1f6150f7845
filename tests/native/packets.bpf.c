/* What programs on socket buffers have inside: loads by the kernel's old instructions, helpers of packets, walks over maps. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define MAP(name, kind, k, v, n)                     \
	struct {                                     \
		__uint(type, BPF_MAP_TYPE_##kind);   \
		__uint(max_entries, n);              \
		__type(key, k);                      \
		__type(value, v);                    \
	} name SEC(".maps")
MAP(seen, HASH, __u32, __u64, 20);
MAP(recent, LRU_HASH, __u32, __u64, 8);
MAP(each_cpu, PERCPU_HASH, __u16, __u64, 8);
MAP(slots, ARRAY, __u32, __u64, 5);

unsigned long long load_byte(void *skb, unsigned long long off) asm("llvm.bpf.load.byte");
unsigned long long load_half(void *skb, unsigned long long off) asm("llvm.bpf.load.half");
unsigned long long load_word(void *skb, unsigned long long off) asm("llvm.bpf.load.word");

struct state { __u64 sum; __u32 only, calls; };

#define CALLBACK(name, of)                                                                     \
	static long name(struct bpf_map *map, __u32 *key, __u64 *value, struct state *state)     \
	{                                                                                        \
		state->sum = state->sum * 31 + *key * 7 + *value;                                \
		*value += 1;                                                                     \
		if (*key == state->only)                                                         \
			bpf_map_delete_elem(&of, key);                                           \
		return ++state->calls == 6;                                                      \
	}
CALLBACK(one, seen)
CALLBACK(two, recent)

static long half(struct bpf_map *map, __u16 *key, __u64 *value, struct state *state)
{
	state->sum = state->sum * 31 + *key + *value;
	return 0;
}

static long index(struct bpf_map *map, __u32 *key, __u64 *value, struct state *state)
{
	state->sum = state->sum * 3 + *key * *value;
	*value += *key;
	return 0;
}

SEC("tc") int packets(struct __sk_buff *skb)
{
	struct state state = { .sum = load_half(skb, 12), .only = load_byte(skb, 14) & 15 };
	__u32 number = load_byte(skb, 15) & 31, word = 0;
	__u16 small = number & 7;
	__u64 value = load_word(skb, 16);
	__u8 bytes[8] = {};

	state.sum = state.sum * 31 + load_byte(skb, 14 + (number & 15)) + load_word(skb, -0x100000 + 4) +
		    load_half(skb, -0x200000 + 2);
	state.sum += bpf_skb_load_bytes(skb, number, bytes, 8) * 3;
	for (int i = 0; i < 8; i++)
		state.sum = state.sum * 31 + bytes[i];
	state.sum += bpf_skb_load_bytes_relative(skb, number, bytes, 4, 1) & 255;
	state.sum = state.sum * 31 + bytes[3] + skb->len + skb->protocol + skb->ifindex;
	bpf_map_update_elem(&seen, &number, &value, 0);
	bpf_map_update_elem(&recent, &number, &value, 0);
	bpf_map_update_elem(&each_cpu, &small, &value, 0);
	state.sum += bpf_for_each_map_elem(&seen, one, &state, 0);
	state.calls = 0;
	state.sum += bpf_for_each_map_elem(&recent, two, &state, 0);
	state.sum += bpf_for_each_map_elem(&each_cpu, half, &state, 0);
	state.sum += bpf_for_each_map_elem(&slots, index, &state, 0);

	struct bpf_dynptr pointer;
	__u64 *slot = bpf_map_lookup_elem(&slots, &word);
	if (slot) {
		bpf_dynptr_from_mem(slot, 8, 0, &pointer);
		state.sum += bpf_dynptr_write(&pointer, number & 7, bytes, 4, 0) & 255;
		__u8 *first = bpf_dynptr_data(&pointer, 2, 2);
		if (first)
			state.sum += first[0] * 5 + first[1];
	}
	return state.sum ^ state.sum >> 32;
}

SEC("tc") int dice(struct __sk_buff *skb)
{
	return bpf_get_prandom_u32();
}

char LICENSE[] SEC("license") = "GPL";
