// A program at sysctls, compared on both kernels. Built with:
//   bombus build --strip sysctls.bpf.c -o sysctls.bpf.o
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define PUT(field, value) (*(volatile int *)&ctx->field = (value)) // compilers join stores

struct row {
	int named, based, now, next, set, write, pos;
	char name[40], base[16], shorter[8], current[24], new[24];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, unsigned int);
	__type(value, struct row);
} rows SEC(".maps");
unsigned int used;
int action, length, move = -1, retval; // what to do now; the value to write has `length` bytes of `text`
char text[16];

SEC("cgroup/sysctl") int watch(struct bpf_sysctl *ctx)
{
	unsigned int at = used;
	struct row *row = bpf_map_lookup_elem(&rows, &at);

	if (!row)
		return 0;
	used++;
	row->write = ctx->write;
	row->pos = ctx->file_pos;
	row->named = bpf_sysctl_get_name(ctx, row->name, sizeof(row->name), 0);
	row->based = bpf_sysctl_get_name(ctx, row->base, sizeof(row->base), BPF_F_SYSCTL_BASE_NAME);
	bpf_sysctl_get_name(ctx, row->shorter, sizeof(row->shorter), 0);
	row->now = bpf_sysctl_get_current_value(ctx, row->current, sizeof(row->current));
	row->next = bpf_sysctl_get_new_value(ctx, row->new, sizeof(row->new));
	if (action == 1 && length > 0 && length <= sizeof(text))
		row->set = bpf_sysctl_set_new_value(ctx, text, length);
	if (move >= 0)
		PUT(file_pos, move);
	if (retval)
		bpf_set_retval(retval);
	return action != 2;
}

SEC("cgroup/sysctl") int second(struct bpf_sysctl *ctx)
{
	unsigned int at = used - 1;
	struct row *row = bpf_map_lookup_elem(&rows, &at);

	if (row) { // what the program before this one left
		row->pos += 1000 * ctx->file_pos;
		row->next += 1000 * bpf_sysctl_get_new_value(ctx, row->new, sizeof(row->new));
		row->set += 1000 * bpf_get_retval();
	}
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
