#include "common.h"
struct xdp_md { u32 data, data_end; };
extern struct counts counts SEC(".maps");
extern int total;
int other_total = 11;
static int mine = 13;
int shared = 2;
int bss_two;
int pick(int v) { return v + 2; }
static __attribute__((noinline)) int helper(int v) { mine -= v; return mine * 5; }
int twice(struct point *p, int v) { return p ? p->x + p->y + 2 * v + helper(v) : 0; }
SEC("xdp") int second(struct xdp_md *ctx)
{
	u32 key = 1;
	u64 *seen = map_lookup(&counts, &key);
	if (seen)
		*seen += 2;
	bss_two++;
	return (total + helper(4)) & 3;
}
char LICENSE[] SEC("license") = "GPL";
