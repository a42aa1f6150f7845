// Kernel functions and system calls: arguments, results, return addresses.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";
long seen[16];

SEC("kprobe/do_unlinkat")
int BPF_KPROBE(unlink_entry, int dfd, struct filename *name)
{
	const char *filename = BPF_CORE_READ(name, name);

	bpf_printk("pid = %d, file = %s", (int)(bpf_get_current_pid_tgid() >> 32), filename);
	seen[0] = dfd;
	return 0;
}

SEC("kretprobe/do_unlinkat")
int BPF_KRETPROBE(unlink_exit, long ret)
{
	seen[1] = ret;
	return 0;
}

SEC("ksyscall/openat")
int BPF_KSYSCALL(open_entry, int dfd, const char *path, int flags, unsigned short mode)
{
	char name[16];

	bpf_probe_read_user_str(name, sizeof(name), path);
	seen[2] = flags + mode + name[0] + dfd;
	return 0;
}

SEC("ksyscall/mmap")
int BPF_KPROBE_SYSCALL(mmap_entry, void *addr, unsigned long length, int prot, int flags, int fd, unsigned long off)
{
	seen[3] = (long)addr + length + prot + flags + fd + off;
	return 0;
}

SEC("kprobe/vfs_write")
int raw_registers(struct pt_regs *ctx)
{
	struct pt_regs *regs = PT_REGS_SYSCALL_REGS(ctx);
	unsigned long ip = 0;

	seen[4] = PT_REGS_PARM1(ctx) + PT_REGS_PARM2(ctx) + PT_REGS_PARM3(ctx) + PT_REGS_PARM4(ctx);
	seen[5] = PT_REGS_PARM5(ctx) + PT_REGS_FP(ctx) + PT_REGS_RC(ctx) + PT_REGS_SP(ctx) + PT_REGS_IP(ctx);
	seen[6] = PT_REGS_PARM1_CORE(ctx) + PT_REGS_PARM2_CORE(ctx) + PT_REGS_RC_CORE(ctx) + PT_REGS_IP_CORE(ctx);
	seen[7] = PT_REGS_RET(ctx) + PT_REGS_RET_CORE(ctx) + PT_REGS_SP_CORE(ctx) + PT_REGS_FP_CORE(ctx);
	seen[8] = PT_REGS_PARM1_CORE_SYSCALL(regs) + PT_REGS_PARM4_CORE_SYSCALL(regs) + PT_REGS_PARM5_CORE_SYSCALL(regs);
	BPF_KPROBE_READ_RET_IP(ip, ctx);
	seen[9] = ip;
	return 0;
}

SEC("kretprobe/vfs_write")
int return_address(struct pt_regs *ctx)
{
	unsigned long ip = 0;

	BPF_KRETPROBE_READ_RET_IP(ip, ctx);
	seen[10] = ip;
	return 0;
}
