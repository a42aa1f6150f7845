/* One program for each kind of bound. */
#include "common.h"
struct locked { struct bpf_spin_lock { u32 val; } lock; u32 x; };
struct { __uint(type, 1); __type(key, u32); __type(value, struct locked); __uint(max_entries, 1); } locks SEC(".maps");
struct { __uint(type, 1); __type(key, u32); __type(value, u32); __uint(max_entries, 1); __uint(map_flags, 1024); } mapped SEC(".maps");
struct { __uint(type, 3); __uint(key_size, 4); __uint(value_size, 4); __uint(max_entries, 1); } jumps SEC(".maps");
struct { __uint(type, 27); __uint(max_entries, 4096); } ring SEC(".maps");
static u64 counter;
extern void bpf_kfunc(int x) __ksym;
extern void bpf_weak_kfunc(int x) __weak __ksym;

SEC("socket") int oldest(void *ctx) { return 0; }
SEC("xdp") int xdp_pass(void *ctx) { return 2; }
SEC("xdp.frags") int frags(void *ctx) { return 2; }
SEC("xdp/devmap") int devmap(void *ctx) { return 2; }
SEC("tc") int lock(void *ctx) { u32 key = 0; return map_lookup(&locks, &key) != 0; }
SEC("tc") int flagged(void *ctx) { u32 key = 0; return map_lookup(&mapped, &key) != 0; }
SEC("tc") int fetch(void *ctx) { return __sync_fetch_and_add(&counter, 1); }
SEC("tc") int plain_add(u32 *ctx) { u64 x = 0; __sync_fetch_and_add(&x, ctx[2]); return 0; }
SEC("kprobe/a") int kpid(void *ctx) { return get_current_pid_tgid(); }
SEC("tc") int tpid(void *ctx) { return get_current_pid_tgid(); }
SEC("tc") int boot(void *ctx) { return ktime_get_boot_ns(); }

static __noinline int sub(u32 *ctx) { return ctx[0] * 3; }
SEC("tc") int calls(u32 *ctx) { return sub(ctx) + sub(ctx + 1); }
SEC("tc") int tails(u32 *ctx) { tail_call(ctx, &jumps, 0); return 1; }
SEC("tc") int tails_and_calls(u32 *ctx) { tail_call(ctx, &jumps, 0); return sub(ctx); }

SEC("tc") int loops(u32 *ctx)
{
	u32 sum = 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < 100; i++) {
		asm volatile("%0 ^= %1" : "+r"(sum) : "r"(i));
	}
	return sum;
}
static long body(u32 i, void *ctx) { return 0; }
SEC("tc") int callbacks(void *ctx) { return loop(10, body, 0, 0); }
SEC("tc") int kfunc(void *ctx) { bpf_kfunc(1); return 0; }
SEC("tc") int weak_kfunc(void *ctx) { if (bpf_weak_kfunc) bpf_weak_kfunc(1); return 0; }
SEC("fentry.s/target") int sleeps(void *ctx) { return 0; }
SEC("tp/syscalls/a") int no_helper(void *ctx) { u32 x; return copy_from_user(&x, 4, ctx); }
SEC("iter/task") int iter(void *ctx) { return 0; }
SEC("?struct_ops/f") int optional(void *ctx) { return 0; }
SEC("tc") int long_one(void *ctx)
{
	asm volatile(".rept 5000; r0 = 1; .endr" ::: "r0");
	return 0;
}
SEC("tc") int jmp32(u32 *ctx) { u32 r; asm volatile("%0 = 1; if w1 == 0 goto +1; %0 = 2" : "=r"(r)); return r; }
SEC("tc") int jlt(u32 *ctx) { u64 r; asm volatile("%0 = 1; if r1 < 7 goto +1; %0 = 2" : "=r"(r)); return r; }
SEC("tc") int goto32(u32 *ctx) { asm volatile("gotol +0"); return 0; }
