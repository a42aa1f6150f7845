// Programs whose functions others attach to (attachers.bpf.c). Built with:
//   clang-19 -target bpf -mcpu=v3 -O2 -g -ffile-prefix-map=$PWD=. -I/usr/include/$(uname -m)-linux-gnu -c targets.bpf.c -o targets.bpf.o;
//   llvm-strip-19 -g targets.bpf.o
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

typedef unsigned long long u64;
#define noinline __attribute__((noinline))
#define barrier() asm volatile("" ::: "memory")
struct pair { int a, b; };
enum color { RED, GREEN };
int again; // how often `looped` is called by bpf_loop
unsigned int rounds;
u64 stop = 0;

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__type(key, int);
	__type(value, int);
} jumps SEC(".maps");

noinline int weigh(struct __sk_buff *skb, int x) { barrier(); return skb->len + x; }
noinline int multiply(int a, long b) { barrier(); return a * b; }
noinline int paint(enum color c, unsigned char small) { barrier(); return c + small; }
noinline long sum(struct pair *pair) { barrier(); return pair ? pair->a + pair->b : -1; }
noinline int pull(struct __sk_buff *skb) { return bpf_skb_pull_data(skb, 0); }
static noinline u64 hidden(u64 *place, u64 x) { barrier(); *place += x; return *place; }
static noinline int plain(int x) { barrier(); return x + 1; }
static int looped(unsigned int i, void *data) { again += i; return 0; }

SEC("tc") int entry(struct __sk_buff *skb)
{
	u64 place = 1000;

	return weigh(skb, 5) + multiply(-3, skb->mark) + hidden(&place, 7) + plain(100);
}
SEC("tc") int others(struct __sk_buff *skb)
{
	struct pair pair = { 3, 4 };

	pull(skb);
	return weigh(skb, 1) + paint(GREEN, 200) + sum(&pair);
}
SEC("tc") int loops(struct __sk_buff *skb)
{
	again = 0;
	bpf_loop(rounds, looped, 0, 0);
	return again;
}
SEC("tc") int jumper(struct __sk_buff *skb)
{
	int x = weigh(skb, 3);

	bpf_tail_call(skb, &jumps, 0);
	return x;
}
SEC("tc") int jumped(struct __sk_buff *skb) { return weigh(skb, 4000) + 1; }

noinline int limit(struct xdp_md *xdp, int most) { barrier(); return xdp->rx_queue_index + most; }
SEC("xdp") int xentry(struct xdp_md *xdp) { return limit(xdp, 2) > 1 ? XDP_PASS : XDP_DROP; }
SEC("socket") int filter(struct __sk_buff *skb) { return weigh(skb, 0); }
SEC("fentry/bpf_fentry_test1") int traced(u64 *ctx) { stop += ctx[0]; return 0; }
char _license[] SEC("license") = "GPL";
