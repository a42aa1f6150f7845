// What CO-RE can ask for: members, sizes, bit-fields, enumerators, types, flavours, strings, memory of users.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";
long long seen[32];
char text[64];

struct task_struct___old {
	long state;
} __attribute__((preserve_access_index));

struct nothing_like_it {
	int x;
} __attribute__((preserve_access_index));

enum nothing___x { NOTHING_LIKE_IT = 1 };

SEC("raw_tp/sys_enter")
int facts(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct task_struct___old *old = (void *)task;
	struct nothing_like_it *none = (void *)task;
	struct file *file;

	seen[0] = bpf_core_field_exists(task->pid) + bpf_core_field_exists(struct task_struct, tgid);
	seen[1] = bpf_core_field_size(task->comm) + bpf_core_field_size(struct task_struct, pid);
	seen[2] = bpf_core_field_offset(task->comm) + bpf_core_field_offset(struct task_struct, pid);
	if (bpf_core_field_exists(old->state))
		seen[3] = BPF_CORE_READ(old, state);
	else
		seen[3] = BPF_CORE_READ(task, __state);
	seen[4] = BPF_CORE_READ_BITFIELD_PROBED(task, sched_reset_on_fork);
	seen[5] = bpf_core_type_exists(struct task_struct) + bpf_core_type_size(struct task_struct);
	seen[6] = bpf_core_type_exists(struct nothing_like_it) + bpf_core_field_exists(none->x);
	seen[7] = bpf_core_type_matches(struct task_struct___old);
	seen[8] = bpf_core_type_id_local(struct nothing_like_it);
	seen[9] = bpf_core_type_id_kernel(struct task_struct);
	seen[10] = bpf_core_enum_value(enum bpf_map_type, BPF_MAP_TYPE_ARRAY);
	seen[11] = bpf_core_enum_value_exists(enum bpf_map_type, BPF_MAP_TYPE_RINGBUF);
	seen[12] = bpf_core_enum_value_exists(enum nothing___x, NOTHING_LIKE_IT);
	seen[13] = BPF_CORE_READ(task, mm, exe_file, f_inode, i_ino);
	seen[14] = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum) + BPF_CORE_READ(task, thread_pid, numbers[0].nr);
	seen[15] = BPF_CORE_READ(task, real_parent, real_parent, real_parent, real_parent, real_parent, pid);
	BPF_CORE_READ_STR_INTO(&text, task, real_parent, comm);
	BPF_CORE_READ_INTO(&file, task, mm, exe_file);
	bpf_core_read(&seen[16], sizeof(int), &task->pid);
	bpf_core_read_str(text, sizeof(text), &task->comm);
	bpf_core_read_user(&seen[17], sizeof(int), (int *)ctx->args[1]);
	BPF_PROBE_READ_INTO(&seen[18], task, mm, start_code);
	BPF_PROBE_READ_STR_INTO(&text, task, group_leader, comm);
	seen[19] = BPF_PROBE_READ(task, mm, start_brk) + (long)file;
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(fields, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	return BPF_CORE_READ_BITFIELD(prev, sched_reset_on_fork) + BPF_CORE_READ_BITFIELD(next, in_iowait) + prev->pid;
}
