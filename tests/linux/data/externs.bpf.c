// Kernel functions and variables, there and not there. Built with:
//   clang-19 -target bpf -mcpu=v3 -O2 -g -c externs.bpf.c -o externs.bpf.o
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct task_struct { int pid; };
extern struct task_struct *bpf_task_acquire(struct task_struct *p) __ksym __weak;
extern struct task_struct *bpf_task_acquire___other(struct task_struct *p, int more) __ksym __weak;
extern void bpf_task_release(struct task_struct *p) __ksym __weak;
extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
extern int bpf_no_such_function(int x) __ksym __weak;
extern const int bpf_prog_active __ksym; // a per-CPU variable of vmlinux
extern const void bpf_link_fops __ksym __weak; // an address
extern const int no_such_variable __ksym __weak;
extern int LINUX_KERNEL_VERSION __kconfig;

struct { int version, acquire, other, missing, variable, active; unsigned long fops; } found;

SEC("syscall") int look(void *ctx)
{
	bpf_rcu_read_lock();
	bpf_rcu_read_unlock();
	found.version = LINUX_KERNEL_VERSION;
	found.acquire = bpf_task_acquire ? 1 : 2;
	found.other = bpf_task_acquire___other ? 1 : 2;
	found.missing = bpf_no_such_function ? 1 : 2;
	if (bpf_no_such_function)
		found.missing = bpf_no_such_function(1);
	found.variable = &no_such_variable ? 1 : 2;
	found.fops = (unsigned long)&bpf_link_fops;
	return 0;
}
SEC("syscall") int look_variable(void *ctx)
{
	int *active = bpf_per_cpu_ptr(&bpf_prog_active, 0);

	found.active = active ? 1 : 2;
	return 0;
}
char _license[] SEC("license") = "GPL";
