// Iterators and a TCP congestion control, against the running kernel's types. Built with:
//   clang-19 -target bpf -mcpu=v3 -O2 -g -ffile-prefix-map=$PWD=. -c iters.bpf.c -o iters.bpf.o; llvm-strip-19 -g iters.bpf.o
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define CORE __attribute__((preserve_access_index))
struct seq_file;
struct bpf_iter_meta { struct seq_file *seq; unsigned long long session_id, seq_num; } CORE;
struct task_struct { int pid, tgid; char comm[16]; } CORE;
struct bpf_iter__task { struct bpf_iter_meta *meta; struct task_struct *task; } CORE;
struct bpf_map {
	enum bpf_map_type map_type;
	unsigned int id, key_size, value_size, max_entries, map_flags;
} CORE;
struct bpf_iter__bpf_map_elem { struct bpf_iter_meta *meta; struct bpf_map *map; void *key; void *value; } CORE;
struct kernfs_node { unsigned long long id; } CORE;
struct cgroup { struct kernfs_node *kn; } CORE;
struct bpf_iter__cgroup { struct bpf_iter_meta *meta; struct cgroup *cgroup; } CORE;

SEC("iter/task") int tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	if (task)
		BPF_SEQ_PRINTF(ctx->meta->seq, "%d %d %s\n", task->pid, task->tgid, task->comm);
	return 0;
}

struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16); __type(key, unsigned int); __type(value, unsigned long long); } numbers SEC(".maps");

SEC("iter/bpf_map_elem") int elements(struct bpf_iter__bpf_map_elem *ctx)
{
	unsigned int *key = ctx->key;
	unsigned long long *value = ctx->value;

	if (key && value) {
		bpf_seq_write(ctx->meta->seq, key, 4);
		bpf_seq_write(ctx->meta->seq, value, 8);
	}
	return 0;
}

// Objects of bpf(2), as records of six numbers.
struct bpf_prog_aux { unsigned int id; } CORE;
struct bpf_prog {
	enum bpf_prog_type type;
	enum bpf_attach_type expected_attach_type;
	struct bpf_prog_aux *aux;
} CORE;
struct bpf_link {
	unsigned int id;
	enum bpf_link_type type;
	struct bpf_prog *prog;
} CORE;
struct bpf_iter__bpf_map { struct bpf_iter_meta *meta; struct bpf_map *map; } CORE;
struct bpf_iter__bpf_prog { struct bpf_iter_meta *meta; struct bpf_prog *prog; } CORE;
struct bpf_iter__bpf_link { struct bpf_iter_meta *meta; struct bpf_link *link; } CORE;
unsigned int ends; // runs without an object

SEC("iter/bpf_map") int maps(struct bpf_iter__bpf_map *ctx)
{
	struct bpf_map *map = ctx->map;

	if (!map) {
		__sync_fetch_and_add(&ends, 1);
		return 0;
	}
	unsigned int row[6] = { map->id, map->map_type, map->key_size, map->value_size, map->max_entries, map->map_flags };
	bpf_seq_write(ctx->meta->seq, row, sizeof(row));
	return 0;
}
SEC("iter/bpf_prog") int programs(struct bpf_iter__bpf_prog *ctx)
{
	struct bpf_prog *prog = ctx->prog;

	if (!prog) {
		__sync_fetch_and_add(&ends, 1);
		return 0;
	}
	unsigned int row[6] = { prog->aux->id, prog->type, prog->expected_attach_type };
	bpf_seq_write(ctx->meta->seq, row, sizeof(row));
	return 0;
}
SEC("iter/bpf_link") int links(struct bpf_iter__bpf_link *ctx)
{
	struct bpf_link *link = ctx->link;

	if (!link) {
		__sync_fetch_and_add(&ends, 1);
		return 0;
	}
	unsigned int row[6] = { link->id, link->type, link->prog->type, link->prog->aux->id };
	bpf_seq_write(ctx->meta->seq, row, sizeof(row));
	return 0;
}

SEC("iter/cgroup") int groups(struct bpf_iter__cgroup *ctx)
{
	struct cgroup *cgroup = ctx->cgroup;

	if (cgroup)
		BPF_SEQ_PRINTF(ctx->meta->seq, "%llu\n", cgroup->kn->id);
	return 0;
}

struct sock { int dummy; };
struct tcp_sock { unsigned int snd_cwnd, snd_ssthresh; } CORE;
struct ack_sample;
struct rate_sample;
struct tcp_congestion_ops___mine {
	unsigned int flags;
	char name[16];
	unsigned int (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, unsigned int ack, unsigned int acked);
	unsigned int (*undo_cwnd)(struct sock *sk);
	void (*init)(struct sock *sk);
};

unsigned long inits, acks;

SEC("struct_ops/bumble_init") void bumble_init(unsigned long long *ctx) { __sync_fetch_and_add(&inits, 1); }
SEC("struct_ops/bumble_ssthresh") unsigned int bumble_ssthresh(unsigned long long *ctx) { return 10; }
SEC("struct_ops/bumble_avoid") void bumble_avoid(unsigned long long *ctx) { __sync_fetch_and_add(&acks, 1); }
SEC("struct_ops/bumble_undo") unsigned int bumble_undo(unsigned long long *ctx) { return 10; }

SEC(".struct_ops")
struct tcp_congestion_ops___mine bumble = {
	.name = "bombus_plain", .ssthresh = (void *)bumble_ssthresh, .cong_avoid = (void *)bumble_avoid,
	.undo_cwnd = (void *)bumble_undo, .init = (void *)bumble_init,
};
SEC(".struct_ops.link")
struct tcp_congestion_ops___mine linked = {
	.name = "bombus_link", .ssthresh = (void *)bumble_ssthresh, .cong_avoid = (void *)bumble_avoid,
	.undo_cwnd = (void *)bumble_undo, .init = (void *)bumble_init,
};
SEC(".struct_ops.link")
struct tcp_congestion_ops___mine linked2 = {
	.name = "bombus_link", .ssthresh = (void *)bumble_ssthresh, .cong_avoid = (void *)bumble_avoid,
	.undo_cwnd = (void *)bumble_undo, .init = (void *)bumble_init,
};
char _license[] SEC("license") = "GPL";
