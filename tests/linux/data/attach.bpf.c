// One program for each kind of section. Built with:
//   clang-19 -target bpf -mcpu=v3 -O2 -g -c attach.bpf.c -o attach.bpf.o
// hits[N] counts what program N saw; tracing programs look only at the process `pid`.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

volatile const int pid = 0;
unsigned long hits[64];
unsigned long cookie;
long values[8];

#define COUNT(n) __sync_fetch_and_add(&hits[n], 1)
#define MINE() ((int)(bpf_get_current_pid_tgid() >> 32) == pid)

SEC("xdp") int xdp_pass(struct xdp_md *ctx) { COUNT(0); return XDP_PASS; }
SEC("xdp") int xdp_drop(struct xdp_md *ctx) { COUNT(1); return XDP_DROP; }
SEC("tc/ingress") int tc_in(struct __sk_buff *skb) { COUNT(2); return TC_ACT_UNSPEC; }
SEC("tc/egress") int tc_out(struct __sk_buff *skb) { COUNT(3); return TC_ACT_UNSPEC; }
SEC("tc") int tc_plain(struct __sk_buff *skb) { COUNT(4); return TC_ACT_UNSPEC; }
SEC("netkit/primary") int nk_primary(struct __sk_buff *skb) { COUNT(5); return TC_ACT_UNSPEC; }
SEC("netkit/peer") int nk_peer(struct __sk_buff *skb) { COUNT(6); return TC_ACT_UNSPEC; }
SEC("cgroup_skb/ingress") int cg_in(struct __sk_buff *skb) { COUNT(7); return 1; }
SEC("cgroup_skb/egress") int cg_out(struct __sk_buff *skb) { COUNT(8); return 1; }
SEC("cgroup/sock_create") int cg_create(struct bpf_sock *sk) { COUNT(9); return 1; }
SEC("cgroup/post_bind4") int cg_post(struct bpf_sock *sk) { COUNT(10); return 1; }
SEC("cgroup/sock_release") int cg_release(struct bpf_sock *sk) { COUNT(11); return 1; }
SEC("sockops") int cg_ops(struct bpf_sock_ops *ops) { COUNT(12); return 1; }
SEC("cgroup/dev") int cg_dev(struct bpf_cgroup_dev_ctx *ctx) { COUNT(13); return 1; }
SEC("cgroup/sysctl") int cg_sysctl(struct bpf_sysctl *ctx) { COUNT(14); return 1; }
SEC("cgroup/getsockopt") int cg_get(struct bpf_sockopt *ctx) { COUNT(15); return 1; }
SEC("cgroup/setsockopt") int cg_set(struct bpf_sockopt *ctx) { COUNT(16); return 1; }
SEC("cgroup/bind4") int cg_bind4(struct bpf_sock_addr *ctx) { COUNT(17); return 1; }
SEC("cgroup/connect4") int cg_connect4(struct bpf_sock_addr *ctx)
{
	COUNT(18);
	if (ctx->user_port == bpf_htons(9))
		return 0;
	ctx->user_port = bpf_htons(7777);
	return 1;
}
SEC("socket") int filter(struct __sk_buff *skb) { COUNT(19); return skb->len > 8 + 4 ? 0 : -1; }
SEC("sk_lookup") int lookup(struct bpf_sk_lookup *ctx) { COUNT(20); return ctx->local_port == 99 ? SK_DROP : SK_PASS; }
SEC("flow_dissector") int dissect(struct __sk_buff *skb) { COUNT(21); return BPF_FLOW_DISSECTOR_CONTINUE; }
SEC("netfilter") int nf(void *ctx) { COUNT(22); return 1; }
SEC("lwt_xmit") int lwt(struct __sk_buff *skb) { COUNT(23); return BPF_OK; }
SEC("lwt_in") int lwt_input(struct __sk_buff *skb) { COUNT(24); return BPF_OK; }
SEC("lwt_out") int lwt_output(struct __sk_buff *skb) { COUNT(25); return BPF_OK; }

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 4);
	__type(key, int);
	__type(value, int);
} sockets SEC(".maps");

SEC("sk_msg") int msg(struct sk_msg_md *ctx) { COUNT(26); return SK_PASS; }
SEC("sk_skb/stream_parser") int parser(struct __sk_buff *skb) { COUNT(27); return skb->len; }
SEC("sk_skb/stream_verdict") int verdict(struct __sk_buff *skb) { COUNT(28); return SK_PASS; }
SEC("sk_reuseport") int pick(struct sk_reuseport_md *ctx) { COUNT(29); return SK_PASS; }

SEC("tp/syscalls/sys_enter_getppid") int tp_getppid(void *ctx)
{
	if (MINE()) {
		COUNT(30);
		cookie = bpf_get_attach_cookie(ctx);
	}
	return 0;
}
SEC("raw_tp/sys_enter") int raw_enter(void *ctx)
{
	if (MINE())
		COUNT(31);
	return 0;
}
SEC("tp_btf/sys_enter") int btf_enter(unsigned long long *ctx)
{
	if (MINE())
		COUNT(32);
	return 0;
}
SEC("perf_event") int sample(void *ctx)
{
	if (MINE())
		COUNT(33);
	return 0;
}
SEC("uprobe") int up(void *ctx)
{
	if (MINE()) {
		COUNT(34);
		cookie = bpf_get_attach_cookie(ctx);
	}
	return 0;
}
SEC("uretprobe") int upret(void *ctx)
{
	if (MINE())
		COUNT(35);
	return 0;
}
SEC("uprobe.multi") int upmulti(void *ctx)
{
	if (MINE()) {
		COUNT(36);
		__sync_fetch_and_add(&values[0], bpf_get_attach_cookie(ctx));
	}
	return 0;
}
SEC("uprobe/libc.so.6:getppid") int up_auto(void *ctx)
{
	if (MINE())
		COUNT(37);
	return 0;
}
SEC("kprobe/__x64_sys_getppid") int kp(void *ctx)
{
	if (MINE()) {
		COUNT(40);
		cookie = bpf_get_attach_cookie(ctx);
	}
	return 0;
}
SEC("kretprobe/__x64_sys_getppid") int kret(void *ctx)
{
	if (MINE())
		COUNT(41);
	return 0;
}
SEC("ksyscall/getppid") int ks(void *ctx)
{
	if (MINE())
		COUNT(42);
	return 0;
}
SEC("kprobe.multi/__x64_sys_getpg*") int kmulti(void *ctx)
{
	if (MINE())
		COUNT(43);
	return 0;
}
SEC("fentry/__x64_sys_getpgid") int fent(unsigned long long *ctx)
{
	if (MINE())
		COUNT(44);
	return 0;
}
SEC("fexit/__x64_sys_getpgid") int fex(unsigned long long *ctx)
{
	if (MINE())
		COUNT(45);
	return 0;
}
SEC("fmod_ret/security_inode_readlink") int fmodret(unsigned long long *ctx)
{
	if (!MINE())
		return 0;
	COUNT(46);
	return -1;
}
SEC("lsm/file_open") int lsm(unsigned long long *ctx)
{
	if (MINE())
		COUNT(47);
	return 0;
}
SEC("lsm_cgroup/socket_bind") int lsm_cg(unsigned long long *ctx)
{
	COUNT(48);
	return 1;
}

SEC("freplace/answer") int replacement(struct xdp_md *ctx) { COUNT(50); return 43; }
SEC("fentry/answer") int before_answer(unsigned long long *ctx) { COUNT(51); return 0; }
__attribute__((noinline)) int answer(struct xdp_md *ctx)
{
	volatile int value = 42;

	return value;
}
SEC("xdp") int asks(struct xdp_md *ctx) { return answer(ctx); }

char _license[] SEC("license") = "GPL";
