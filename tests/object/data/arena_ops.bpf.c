// SPDX-License-Identifier: BSD-2-Clause
/* struct_ops variables and globals in an arena. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct tcp_congestion_ops { void (*init)(void *sk); unsigned (*ssthresh)(void *sk); char name[16]; unsigned flags; };
SEC("struct_ops/init") void my_init(void *ctx) {}
SEC("struct_ops") unsigned my_ssthresh(unsigned long long *ctx) { return 2; }
SEC(".struct_ops") struct tcp_congestion_ops one = { .init = (void*)my_init, .name = "one" };
SEC(".struct_ops.link") struct tcp_congestion_ops two = { .ssthresh = (void*)my_ssthresh, .name = "two", .flags=3 };
struct { __uint(type, 33); __uint(map_flags, BPF_F_MMAPABLE); __uint(max_entries, 10); } arena SEC(".maps");
#define __arena __attribute__((address_space(1)))
int __arena in_arena = 7; int __arena other;
SEC("syscall") int use(void *ctx) { in_arena++; other = in_arena; return 0; }
char LICENSE[] SEC("license") = "GPL";
