// Programs that attach to functions of those in targets.bpf.c; what they saw goes into `rows`. Built with:
//   clang-19 -target bpf -mcpu=v3 -O2 -g -ffile-prefix-map=$PWD=. -I/usr/include/$(uname -m)-linux-gnu -c attachers.bpf.c -o attachers.bpf.o;
//   llvm-strip-19 -g attachers.bpf.o
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

typedef unsigned long long u64;
#define noinline __attribute__((noinline))
#define barrier() asm volatile("" ::: "memory")
#define CORE __attribute__((preserve_access_index))
struct net_device { int ifindex; } CORE;
struct sk_buff { unsigned int len, mark; unsigned short protocol; struct net_device *dev; } CORE;
struct xdp_rxq_info { struct net_device *dev; unsigned int queue_index; } CORE;
struct xdp_buff { void *data, *data_end; struct xdp_rxq_info *rxq; } CORE;
struct pair { int a, b; };
struct other { int a, b; };
enum color { RED, GREEN };
struct row { u64 who, args[7], ret; };
struct row rows[64];
unsigned int count;
int answer = 1000;
volatile u64 sink;

static __always_inline struct row *next(u64 who)
{
	unsigned int at = __sync_fetch_and_add(&count, 1);
	struct row *row;

	if (at >= 64)
		return 0;
	row = &rows[at];
	__builtin_memset(row, 0, sizeof(*row));
	row->who = who;
	return row;
}
// The first argument is a pointer to a context, the others are numbers.
static __always_inline int seen(u64 who, void *ctx, int from)
{
	struct row *row = next(who);
	u64 value = 0;
	int i;

	if (!row)
		return 0;
	for (i = from; i < 5; i++) {
		if (!bpf_get_func_arg(ctx, i, &value))
			row->args[i] = value;
	}
	row->args[6] = bpf_get_func_arg_cnt(ctx) << 32 | bpf_get_attach_cookie(ctx);
	row->ret = bpf_get_func_ret(ctx, &value) ? 0xbad : value;
	return 0;
}
static __always_inline int packet(u64 who, u64 *ctx)
{
	struct sk_buff *skb = (void *)ctx[0];
	struct row *row = next(who);

	if (!row)
		return 0;
	row->args[0] = skb->len;
	row->args[1] = skb->mark;
	row->args[2] = skb->protocol;
	row->args[3] = skb->dev->ifindex;
	return 0;
}
// Of functions whose types say nothing reliable: what is in unused registers differs.
static __always_inline int result(u64 who, void *ctx)
{
	struct row *row = next(who);
	u64 value = 0;

	if (!row)
		return 0;
	row->args[6] = bpf_get_func_arg_cnt(ctx) << 32 | bpf_get_attach_cookie(ctx);
	row->ret = bpf_get_func_ret(ctx, &value) ? 0xbad : value;
	return 0;
}
SEC("fentry/weigh") int before_weigh(u64 *ctx) { return seen(1, ctx, 1); }
SEC("fexit/weigh") int after_weigh(u64 *ctx) { return seen(2, ctx, 1); }
SEC("fentry/weigh") int skb_weigh(u64 *ctx) { return packet(3, ctx); }
SEC("fentry/multiply") int before_multiply(u64 *ctx) { return seen(4, ctx, 0); }
SEC("fexit/multiply") int after_multiply(u64 *ctx) { return seen(5, ctx, 0); }
SEC("fexit/hidden") int after_hidden(u64 *ctx) { return result(6, ctx); }
SEC("fexit/plain") int after_plain(u64 *ctx) { return result(7, ctx); }
SEC("fentry/entry") int before_entry(u64 *ctx) { return packet(8, ctx); }
SEC("fexit/entry") int after_entry(u64 *ctx) { return seen(9, ctx, 1); }
SEC("fexit/looped") int after_looped(u64 *ctx) { return result(10, ctx); }
SEC("fentry/jumped") int before_jumped(u64 *ctx) { return seen(11, ctx, 1); }
SEC("fexit/limit") int after_limit(u64 *ctx)
{
	struct xdp_buff *xdp = (void *)ctx[0];
	struct row *row = next(12);

	if (!row)
		return 0;
	row->args[0] = (u64)xdp->data_end - (u64)xdp->data;
	row->args[1] = xdp->rxq->dev->ifindex;
	row->args[2] = ctx[1];
	row->ret = ctx[2];
	return 0;
}
SEC("fexit/traced") int after_traced(u64 *ctx) { return result(13, ctx); }
SEC("fexit/new_weigh") int after_new_weigh(u64 *ctx) { return seen(14, ctx, 1); }
SEC("fexit/after_traced") int deeper(u64 *ctx) { return 0; }

SEC("freplace/weigh") int new_weigh(struct __sk_buff *skb, int x) { return answer + x + (skb->len & 1); }
SEC("freplace/multiply") int new_multiply(int a, long b) { return answer + a; }
SEC("freplace/paint") int new_paint(enum color c, unsigned char small) { return answer + c + small; }
SEC("freplace/entry") int new_entry(struct __sk_buff *skb)
{
	skb->mark = 99;
	return answer + skb->mark;
}
SEC("freplace/limit") int new_limit(struct xdp_md *xdp, int most) { return xdp->data_end - xdp->data > 20 ? 0 : 7; }
SEC("freplace/pull") int new_pull(struct __sk_buff *skb) { return bpf_skb_pull_data(skb, 0) + 1; }

// Refused, or refused with some targets.
SEC("freplace/weigh") int pulling_weigh(struct __sk_buff *skb, int x) { return bpf_skb_pull_data(skb, 0); }
SEC("freplace/weigh") int few(struct __sk_buff *skb) { return 1; }
SEC("freplace/weigh") long wide(struct __sk_buff *skb, long x) { return 1; }
SEC("freplace/weigh") struct pair *wrong_result(struct __sk_buff *skb, int x) { return 0; }
SEC("freplace/weigh") int wrong_kind(int a, int x) { return a; }
SEC("freplace/weigh") int wrong_context(struct xdp_md *xdp, int x) { return x; }
SEC("freplace/weigh") int pointer_to_int(int *a, int x) { return x; }
SEC("freplace/sum") long new_sum(struct pair *pair) { return pair ? pair->a : 0; }
SEC("freplace/sum") long other_sum(struct other *pair) { return 0; }
SEC("freplace/plain") int new_plain(int x) { return x; }
SEC("freplace/weigh") int beyond(struct __sk_buff *skb, int x) { return *(int *)((void *)skb + 192); }
SEC("freplace/limit") int redirecting(struct xdp_md *xdp, int x) { return bpf_redirect(1, 0); }
SEC("freplace/weigh") int xdp_helper(struct __sk_buff *skb, int x) { return bpf_xdp_adjust_head((void *)skb, 0); }
SEC("freplace/weigh") int returning(struct __sk_buff *skb, int x) { return 77; }
SEC("fentry/weigh") int third(u64 *ctx) { return ctx[2] == 1; }
SEC("fexit/weigh") int fourth(u64 *ctx) { return ctx[3] == 1; }
SEC("fexit/hidden") int sixth(u64 *ctx) { sink = ctx[5]; return 0; }
SEC("fexit/hidden") int seventh(u64 *ctx) { sink = ctx[6]; return 0; }
SEC("fentry/weigh") int half(u64 *ctx) { sink = *(int *)ctx; return 0; }
SEC("fentry/weigh") int crooked(u64 *ctx) { sink = *(int *)((void *)ctx + 4); return 0; }
SEC("fentry/sum") int mem_pointer(u64 *ctx) { sink = ctx[0]; return 0; }
SEC("fentry/weigh") int writing(u64 *ctx) { ctx[1] = 0; return 0; }
SEC("fentry/weigh") int not_zero(u64 *ctx) { return 1; }
SEC("fmod_ret/weigh") int modifying(u64 *ctx) { return 0; }
SEC("tp_btf/weigh") int as_tracepoint(u64 *ctx) { return 0; }
SEC("fentry.s/weigh") int sleeping(u64 *ctx) { return 0; }
char _license[] SEC("license") = "GPL";
