/* struct_ops that are attached through a link, and fields of map values that need BTF. */
#include "common.h"
struct bpf_timer { u64 opaque[2]; };
struct task { int pid; };
struct timed { struct bpf_timer timer; };
struct kept { struct task __attribute__((btf_type_tag("kptr"))) *task; };
struct { __uint(type, 2); __type(key, u32); __type(value, struct timed); __uint(max_entries, 1); } timers SEC(".maps");
struct { __uint(type, 2); __type(key, u32); __type(value, struct kept); __uint(max_entries, 1); } tasks SEC(".maps");
struct ops { int (*start)(void *); };

SEC("struct_ops/start") int start(void *ctx) { return 0; }
SEC(".struct_ops.link") struct ops my_ops = { .start = (void *)start };
SEC("tc") int timer(void *ctx) { u32 key = 0; return map_lookup(&timers, &key) != 0; }
SEC("tc") int kptr(void *ctx) { u32 key = 0; return map_lookup(&tasks, &key) != 0; }
