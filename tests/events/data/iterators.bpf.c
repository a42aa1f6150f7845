// SPDX-License-Identifier: BSD-2-Clause
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define KERNEL __attribute__((preserve_access_index))
struct seq_file;
struct bpf_map { __u32 id; __u32 max_entries; } KERNEL;
struct bpf_iter_meta { struct seq_file *seq; __u64 session_id; __u64 seq_num; } KERNEL;
struct bpf_iter__bpf_map { struct bpf_iter_meta *meta; struct bpf_map *map; } KERNEL;
struct row { __u32 id; __u32 entries; };
const struct row *unused __attribute__((unused));

SEC("iter/bpf_map")
int records(struct bpf_iter__bpf_map *ctx)
{
	struct bpf_map *map = ctx->map;

	if (map) {
		struct row row = { map->id, map->max_entries };
		bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	}
	return 0;
}

SEC("iter/bpf_map")
int lines(struct bpf_iter__bpf_map *ctx)
{
	static const char head[] = "ID ENTRIES NOTE\n", form[] = "%u %u two words\n";
	struct bpf_map *map = ctx->map;
	struct seq_file *seq = ctx->meta->seq;

	if (!map)
		return 0;
	if (ctx->meta->seq_num == 0)
		bpf_seq_printf(seq, head, sizeof(head), NULL, 0);
	__u64 args[2] = { map->id, map->max_entries };
	bpf_seq_printf(seq, form, sizeof(form), args, sizeof(args));
	return 0;
}
char LICENSE[] SEC("license") = "GPL";
