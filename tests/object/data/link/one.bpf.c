#include "common.h"
struct xdp_md { u32 data, data_end; };
struct counts counts SEC(".maps");
int total = 5;
static int mine = 7;
const volatile int limit = 9;
int bss_one;
__weak int shared = 1;
extern int other_total;
extern int twice(struct point *p, int v);
__weak __hidden int pick(int v) { return v + 1; }
static __attribute__((noinline)) int helper(int v) { mine += v; return mine * 3; }
SEC("xdp") int first(struct xdp_md *ctx)
{
	struct point p = {1, 2};
	u32 key = 0;
	u64 *seen = map_lookup(&counts, &key);
	if (seen)
		*seen += 1;
	bss_one++;
	return (total + shared + other_total + twice(&p, 3) + pick(1) + helper(2) + limit) & 3;
}
char LICENSE[] SEC("license") = "GPL";
