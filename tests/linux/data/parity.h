// What the programs of the parity tests share: frames, a map of what was seen, a sum. Objects are built with:
//   clang-19 -target bpf -mcpu=v3 -O2 -g -ffile-prefix-map=$PWD=. -c NAME.bpf.c -o NAME.bpf.o; llvm-strip-19 -g NAME.bpf.o
#pragma once
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

// Frames of ETH_P 0x88b5: after the header comes a command byte, then payload.
#define COMMAND 14
struct key { unsigned int program, command; };
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct key);
	__type(value, unsigned long);
} seen SEC(".maps");
unsigned long sum;

static __always_inline void count(unsigned int program, unsigned int command)
{
	struct key key = { program, command };
	unsigned long one = 1, *value = bpf_map_lookup_elem(&seen, &key);

	if (value)
		__sync_fetch_and_add(value, 1);
	else
		bpf_map_update_elem(&seen, &key, &one, BPF_ANY);
}

static __always_inline int ours(void *data, void *end)
{
	struct ethhdr *eth = data;

	return data + COMMAND + 8 <= end && eth->h_proto == bpf_htons(0x88b5);
}

volatile const int other = 0; // where redirects go
#define PORT(n) bpf_htons(n)
