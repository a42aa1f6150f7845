// Programs at socket options and devices, compared on both kernels. Built with:
//   clang-19 -target bpf -mcpu=v3 -O2 -g -ffile-prefix-map=$PWD=. -c options.bpf.c -o options.bpf.o
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define OURS 0x1234
#define SOL_SOCKET 1
#define SO_PRIORITY 12
#define SO_MARK 36
#define PUT(field, value) (*(volatile int *)&ctx->field = (value)) // compilers join stores

unsigned int stored, calls, sizes, refused;

SEC("cgroup/setsockopt") int set_parity(struct bpf_sockopt *ctx)
{
	unsigned char *value = ctx->optval, *end = ctx->optval_end;

	calls++;
	sizes += ctx->optlen;
	if (value + 4 > end)
		return 1;
	if (ctx->level == SOL_SOCKET && ctx->optname == SO_MARK) {
		*(unsigned int *)value |= 0x100;
		return 1;
	}
	if (ctx->level != OURS)
		return 1;
	switch (ctx->optname) {
	case 1: // kept here
		stored = *(unsigned int *)value;
		PUT(optlen, -1);
		return 1;
	case 2:
		return 0;
	case 3: // another option
		PUT(level, SOL_SOCKET);
		PUT(optname, SO_PRIORITY);
		*(unsigned int *)value = value[0] & 7;
		PUT(optlen, 4);
		return 1;
	case 4: // more than there is
		PUT(optlen, 5000);
		return 1;
	case 5: // the same one, shorter
		PUT(level, SOL_SOCKET);
		PUT(optname, SO_PRIORITY);
		PUT(optlen, 2);
		return 1;
	}
	return 1;
}

SEC("cgroup/getsockopt") int get_parity(struct bpf_sockopt *ctx)
{
	unsigned char *value = ctx->optval, *end = ctx->optval_end;

	calls++;
	refused += -ctx->retval;
	if (value + 4 > end)
		return 1;
	if (ctx->level == SOL_SOCKET && ctx->optname == SO_PRIORITY) {
		*(unsigned int *)value += 16;
		return 1;
	}
	if (ctx->level != OURS)
		return 1;
	switch (ctx->optname) {
	case 1:
		*(unsigned int *)value = stored;
		PUT(optlen, 4);
		PUT(retval, 0);
		return 1;
	case 2:
		return 0;
	case 3:
		PUT(retval, 0);
		return 0;
	case 4:
		PUT(optlen, 5000);
		PUT(retval, 0);
		return 1;
	}
	return 1;
}

// /dev/null (1:3) is not written, /dev/zero (1:5) not read, block devices not at all.
SEC("cgroup/dev") int dev_parity(struct bpf_cgroup_dev_ctx *ctx)
{
	unsigned int kind = ctx->access_type & 0xffff, access = ctx->access_type >> 16;

	calls++;
	sizes += ctx->access_type;
	if (kind == BPF_DEVCG_DEV_BLOCK)
		return 0;
	if (ctx->major == 1 && ctx->minor == 3)
		return !(access & BPF_DEVCG_ACC_WRITE);
	if (ctx->major == 1 && ctx->minor == 5)
		return !(access & BPF_DEVCG_ACC_READ);
	return 1;
}

char _license[] SEC("license") = "GPL";
