// Programs at functions that test runs call, at tracepoints and security hooks. Built with:
//   clang-19 -target bpf -mcpu=v3 -O2 -g -ffile-prefix-map=$PWD=. -c trampolines.bpf.c -o trampolines.bpf.o;
//   llvm-strip-19 -g trampolines.bpf.o
// The order of programs and what they saw goes into `rows`.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

typedef unsigned long long u64;
struct row { u64 who, args[7], ret; };
struct row rows[64];
unsigned int count;
volatile const int pid = 0;
int answer; // what the programs instead of functions return
u64 denied = -1; // the bpf(2) command, or socket type, that is forbidden

static __always_inline struct row *next(u64 who)
{
	unsigned int at = __sync_fetch_and_add(&count, 1);
	struct row *row;

	if (at >= 64)
		return 0;
	row = &rows[at];
	row->who = who;
	return row;
}
static __always_inline int seen(u64 who, void *ctx)
{
	struct row *row = next(who);
	u64 value = 0;
	int i;

	if (!row)
		return 0;
	for (i = 0; i < 6; i++) {
		if (!bpf_get_func_arg(ctx, i, &value))
			row->args[i] = value;
	}
	row->args[6] = bpf_get_func_arg_cnt(ctx) << 32 | bpf_get_attach_cookie(ctx);
	row->ret = bpf_get_func_ret(ctx, &value) ? 0xbad : value;
	return 0;
}
#define PROBE(kind, n, name) SEC(#kind "/" #name) int kind##_##name(u64 *ctx) { return seen(n, ctx); }
PROBE(fentry, 1, bpf_fentry_test1)
PROBE(fexit, 2, bpf_fentry_test1)
PROBE(fentry, 3, bpf_fentry_test6)
PROBE(fexit, 4, bpf_fentry_test6)
PROBE(fentry, 5, bpf_modify_return_test)
PROBE(fexit, 6, bpf_modify_return_test)
SEC("fentry/bpf_fentry_test1") int again(u64 *ctx) { return seen(7, ctx); }
SEC("fexit/bpf_fentry_test7") int nothing(u64 *ctx)
{
	struct row *row = next(8);

	if (row)
		row->args[0] = ctx[0];
	return 0;
}
SEC("fmod_ret/bpf_modify_return_test") int instead(u64 *ctx)
{
	seen(9, ctx);
	return answer;
}
SEC("raw_tp/bpf_test_finish") int raw(u64 *ctx) { next(10); return 0; }
SEC("tp_btf/bpf_test_finish") int typed(u64 *ctx)
{
	struct row *row = next(11);

	if (row)
		bpf_probe_read_kernel(&row->args[0], 4, (void *)ctx[0]);
	return 0;
}
SEC("lsm/bpf") int guard(u64 *ctx)
{
	if (bpf_get_current_pid_tgid() >> 32 == pid && (unsigned int)ctx[0] == denied) {
		next(12);
		return -13;
	}
	return 0;
}
SEC("lsm/socket_create") int sockets(u64 *ctx)
{
	if (bpf_get_current_pid_tgid() >> 32 == pid && (unsigned int)ctx[1] == denied) {
		next(13);
		return -1;
	}
	return 0;
}
// An address of this port (in network order) is forbidden.
static __always_inline int address(u64 who, u64 *ctx)
{
	struct { unsigned short family, port; unsigned char rest[24]; } got = {};
	struct row *row;

	if (bpf_get_current_pid_tgid() >> 32 != pid || bpf_probe_read_kernel(&got, 8, (void *)ctx[1]))
		return 0;
	row = next(who);
	if (row) {
		row->args[0] = got.family;
		row->args[1] = got.port;
		row->args[2] = (int)ctx[2];
		row->args[3] = got.rest[0];
	}
	return got.port == denied ? -1 : 0;
}
SEC("lsm/socket_bind") int binds(u64 *ctx) { return address(14, ctx); }
SEC("lsm/socket_connect") int connects(u64 *ctx) { return address(15, ctx); }
char _license[] SEC("license") = "GPL";
