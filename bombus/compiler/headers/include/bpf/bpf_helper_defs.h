/* SPDX-License-Identifier: BSD-2-Clause */
/* Made by tools/gen-headers from spec/helpers. Helpers of the kernel; included by bpf_helpers.h. */
#ifndef __BPF_HELPER_DEFS_H__
#define __BPF_HELPER_DEFS_H__

/* Calls that leave unused registers alone (6.12): the compiler need not save them. */
#ifndef __bpf_fastcall
#if defined(__has_attribute) && __has_attribute(bpf_fastcall)
#define __bpf_fastcall __attribute__((bpf_fastcall))
#else
#define __bpf_fastcall
#endif
#endif

struct __sk_buff;
struct bpf_dynptr;
struct bpf_fib_lookup;
struct bpf_perf_event_data;
struct bpf_perf_event_value;
struct bpf_pidns_info;
struct bpf_redir_neigh;
struct bpf_sock;
struct bpf_sock_addr;
struct bpf_sock_ops;
struct bpf_sock_tuple;
struct bpf_spin_lock;
struct bpf_sysctl;
struct bpf_tcp_sock;
struct bpf_timer;
struct bpf_tunnel_key;
struct bpf_xfrm_state;
struct btf_ptr;
struct cgroup;
struct file;
struct inode;
struct iphdr;
struct ipv6hdr;
struct linux_binprm;
struct mptcp_sock;
struct path;
struct pt_regs;
struct seq_file;
struct sk_msg_md;
struct sk_reuseport_md;
struct sockaddr;
struct socket;
struct task_struct;
struct tcp6_sock;
struct tcp_request_sock;
struct tcp_sock;
struct tcp_timewait_sock;
struct tcphdr;
struct udp6_sock;
struct unix_sock;
struct xdp_md;

#if defined(__clang__)

/*
 * bpf_map_lookup_elem: Finds the value of a key; null when the map has none. Since Linux 3.19.
 */
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;

/*
 * bpf_map_update_elem: Stores a value under a key, creating or replacing it as the flags say. Since Linux 3.19.
 */
static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) = (void *)2;

/*
 * bpf_map_delete_elem: Removes a key with its value. Since Linux 3.19.
 */
static long (*const bpf_map_delete_elem)(void *map, const void *key) = (void *)3;

/*
 * bpf_probe_read: Copies memory that may be unreadable, of the kernel or of user space; zeroes the target when it
 * fails. Since Linux 4.1. For GPL-compatible programs.
 */
static long (*const bpf_probe_read)(void *dst, __u32 size, const void *unsafe_ptr) = (void *)4;

/*
 * bpf_ktime_get_ns: Nanoseconds since boot, not counting suspend. Since Linux 4.1.
 */
static __u64 (*const bpf_ktime_get_ns)(void) = (void *)5;

/*
 * bpf_trace_printk: Writes a formatted line with up to three numbers to the kernel's trace pipe. Since Linux 4.1.
 * For GPL-compatible programs.
 */
static long (*const bpf_trace_printk)(const char *fmt, __u32 fmt_size, ...) = (void *)6;

/*
 * bpf_get_prandom_u32: A pseudo-random 32-bit number. Since Linux 4.1.
 */
static __u32 (*const bpf_get_prandom_u32)(void) = (void *)7;

/*
 * bpf_get_smp_processor_id: The number of the CPU that the program runs on. Since Linux 4.1.
 */
__bpf_fastcall static __u32 (*const bpf_get_smp_processor_id)(void) = (void *)8;

/*
 * bpf_skb_store_bytes: Writes bytes into a packet and, if asked to, mends its checksum and hash. Since Linux 4.1.
 */
static long (*const bpf_skb_store_bytes)(struct __sk_buff *skb, __u32 offset, const void *from, __u32 len, __u64 flags) = (void *)9;

/*
 * bpf_l3_csum_replace: Mends a layer 3 checksum after a field changed. Since Linux 4.1.
 */
static long (*const bpf_l3_csum_replace)(struct __sk_buff *skb, __u32 offset, __u64 from, __u64 to, __u64 size) = (void *)10;

/*
 * bpf_l4_csum_replace: Mends a layer 4 checksum after a field or the pseudo header changed. Since Linux 4.1.
 */
static long (*const bpf_l4_csum_replace)(struct __sk_buff *skb, __u32 offset, __u64 from, __u64 to, __u64 flags) = (void *)11;

/*
 * bpf_tail_call: Jumps into another program of a prog array and does not come back; falls through when it cannot.
 * Since Linux 4.2.
 */
static long (*const bpf_tail_call)(void *ctx, void *prog_array_map, __u32 index) = (void *)12;

/*
 * bpf_clone_redirect: Sends a copy of the packet to another device. Since Linux 4.2.
 */
static long (*const bpf_clone_redirect)(struct __sk_buff *skb, __u32 ifindex, __u64 flags) = (void *)13;

/*
 * bpf_get_current_pid_tgid: The current task's tgid in the upper and pid in the lower half. Since Linux 4.2.
 */
static __u64 (*const bpf_get_current_pid_tgid)(void) = (void *)14;

/*
 * bpf_get_current_uid_gid: The current task's gid in the upper and uid in the lower half. Since Linux 4.2.
 */
static __u64 (*const bpf_get_current_uid_gid)(void) = (void *)15;

/*
 * bpf_get_current_comm: Copies the name of the current task. Since Linux 4.2.
 */
static long (*const bpf_get_current_comm)(void *buf, __u32 size_of_buf) = (void *)16;

/*
 * bpf_get_cgroup_classid: The net_cls class of the task behind a packet, or of the current task. Since Linux 4.3.
 */
static __u32 (*const bpf_get_cgroup_classid)(struct __sk_buff *skb) = (void *)17;

/*
 * bpf_skb_vlan_push: Puts a VLAN tag on a packet. Since Linux 4.3.
 */
static long (*const bpf_skb_vlan_push)(struct __sk_buff *skb, __be16 vlan_proto, __u16 vlan_tci) = (void *)18;

/*
 * bpf_skb_vlan_pop: Takes the VLAN tag off a packet. Since Linux 4.3.
 */
static long (*const bpf_skb_vlan_pop)(struct __sk_buff *skb) = (void *)19;

/*
 * bpf_skb_get_tunnel_key: Reads the tunnel metadata that came with a packet. Since Linux 4.3.
 */
static long (*const bpf_skb_get_tunnel_key)(struct __sk_buff *skb, struct bpf_tunnel_key *key, __u32 size, __u64 flags) = (void *)20;

/*
 * bpf_skb_set_tunnel_key: Sets the tunnel metadata with which a packet leaves. Since Linux 4.3.
 */
static long (*const bpf_skb_set_tunnel_key)(struct __sk_buff *skb, struct bpf_tunnel_key *key, __u32 size, __u64 flags) = (void *)21;

/*
 * bpf_perf_event_read: Reads the counter of a perf event array's slot. Since Linux 4.3. For GPL-compatible
 * programs.
 */
static __u64 (*const bpf_perf_event_read)(void *map, __u64 flags) = (void *)22;

/*
 * bpf_redirect: Sends the packet to another device once the program has returned this helper's result. Since Linux
 * 4.4.
 */
static long (*const bpf_redirect)(__u32 ifindex, __u64 flags) = (void *)23;

/*
 * bpf_get_route_realm: The routing realm of a packet's destination. Since Linux 4.4.
 */
static __u32 (*const bpf_get_route_realm)(struct __sk_buff *skb) = (void *)24;

/*
 * bpf_perf_event_output: Sends a record, if wanted with part of the packet, through a perf event array. Since
 * Linux 4.4. For GPL-compatible programs.
 */
static long (*const bpf_perf_event_output)(void *ctx, void *map, __u64 flags, void *data, __u64 size) = (void *)25;

/*
 * bpf_skb_load_bytes: Copies bytes out of a packet. Since Linux 4.5.
 */
static long (*const bpf_skb_load_bytes)(const void *skb, __u32 offset, void *to, __u32 len) = (void *)26;

/*
 * bpf_get_stackid: Walks the stack, stores it in a stack trace map and gives its number. Since Linux 4.6. For GPL-
 * compatible programs.
 */
static long (*const bpf_get_stackid)(void *ctx, void *map, __u64 flags) = (void *)27;

/*
 * bpf_csum_diff: The difference that replacing one block of bytes by another makes to a checksum. Since Linux 4.6.
 */
static __s64 (*const bpf_csum_diff)(__be32 *from, __u32 from_size, __be32 *to, __u32 to_size, __wsum seed) = (void *)28;

/*
 * bpf_skb_get_tunnel_opt: Reads the tunnel options that came with a packet. Since Linux 4.6.
 */
static long (*const bpf_skb_get_tunnel_opt)(struct __sk_buff *skb, void *opt, __u32 size) = (void *)29;

/*
 * bpf_skb_set_tunnel_opt: Sets the tunnel options with which a packet leaves. Since Linux 4.6.
 */
static long (*const bpf_skb_set_tunnel_opt)(struct __sk_buff *skb, void *opt, __u32 size) = (void *)30;

/*
 * bpf_skb_change_proto: Turns an IPv4 packet into an IPv6 one or back, making or taking away the room. Since Linux
 * 4.8.
 */
static long (*const bpf_skb_change_proto)(struct __sk_buff *skb, __be16 proto, __u64 flags) = (void *)31;

/*
 * bpf_skb_change_type: Changes whom a packet seems to be for: this host, another, all. Since Linux 4.8.
 */
static long (*const bpf_skb_change_type)(struct __sk_buff *skb, __u32 type) = (void *)32;

/*
 * bpf_skb_under_cgroup: Whether the packet's socket lies under a cgroup of a cgroup array. Since Linux 4.8.
 */
static long (*const bpf_skb_under_cgroup)(struct __sk_buff *skb, void *map, __u32 index) = (void *)33;

/*
 * bpf_get_hash_recalc: The flow hash of a packet, computed when it has none. Since Linux 4.8.
 */
static __u32 (*const bpf_get_hash_recalc)(struct __sk_buff *skb) = (void *)34;

/*
 * bpf_get_current_task: The address of the current task's task_struct, as a number. Since Linux 4.8. For GPL-
 * compatible programs.
 */
static __u64 (*const bpf_get_current_task)(void) = (void *)35;

/*
 * bpf_probe_write_user: Writes into the memory of the current task; for experiments only. Since Linux 4.8. For
 * GPL-compatible programs.
 */
static long (*const bpf_probe_write_user)(void *dst, const void *src, __u32 len) = (void *)36;

/*
 * bpf_current_task_under_cgroup: Whether the current task lies under a cgroup of a cgroup array. Since Linux 4.9.
 */
static long (*const bpf_current_task_under_cgroup)(void *map, __u32 index) = (void *)37;

/*
 * bpf_skb_change_tail: Cuts a packet or makes it longer at its end. Since Linux 4.9.
 */
static long (*const bpf_skb_change_tail)(struct __sk_buff *skb, __u32 len, __u64 flags) = (void *)38;

/*
 * bpf_skb_pull_data: Makes the first bytes of a packet linear, so that they can be reached directly. Since Linux
 * 4.9.
 */
static long (*const bpf_skb_pull_data)(struct __sk_buff *skb, __u32 len) = (void *)39;

/*
 * bpf_csum_update: Adds a difference to a packet's complete checksum. Since Linux 4.9.
 */
static __s64 (*const bpf_csum_update)(struct __sk_buff *skb, __wsum csum) = (void *)40;

/*
 * bpf_set_hash_invalid: Forgets the flow hash of a packet. Since Linux 4.9.
 */
static void (*const bpf_set_hash_invalid)(struct __sk_buff *skb) = (void *)41;

/*
 * bpf_get_numa_node_id: The NUMA node that the program runs on. Since Linux 4.10.
 */
static long (*const bpf_get_numa_node_id)(void) = (void *)42;

/*
 * bpf_skb_change_head: Makes room in front of a packet. Since Linux 4.10.
 */
static long (*const bpf_skb_change_head)(struct __sk_buff *skb, __u32 len, __u64 flags) = (void *)43;

/*
 * bpf_xdp_adjust_head: Moves the start of an XDP frame. Since Linux 4.10.
 */
static long (*const bpf_xdp_adjust_head)(struct xdp_md *xdp_md, int delta) = (void *)44;

/*
 * bpf_probe_read_str: Copies a string from unsafe memory up to its zero byte. Since Linux 4.11. For GPL-compatible
 * programs.
 */
static long (*const bpf_probe_read_str)(void *dst, __u32 size, const void *unsafe_ptr) = (void *)45;

/*
 * bpf_get_socket_cookie: A number that names a socket for as long as the host runs. Since Linux 4.12.
 */
static __u64 (*const bpf_get_socket_cookie)(void *skb) = (void *)46;

/*
 * bpf_get_socket_uid: The owner of the socket that a packet belongs to. Since Linux 4.12.
 */
static __u32 (*const bpf_get_socket_uid)(struct __sk_buff *skb) = (void *)47;

/*
 * bpf_set_hash: Sets the flow hash of a packet. Since Linux 4.13.
 */
static long (*const bpf_set_hash)(struct __sk_buff *skb, __u32 hash) = (void *)48;

/*
 * bpf_setsockopt: Sets an option of a socket. Since Linux 4.13.
 */
static long (*const bpf_setsockopt)(void *bpf_socket, int level, int optname, void *optval, int optlen) = (void *)49;

/*
 * bpf_skb_adjust_room: Makes or takes away room behind the MAC or the network header of a packet. Since Linux
 * 4.13.
 */
static long (*const bpf_skb_adjust_room)(struct __sk_buff *skb, __s32 len_diff, __u32 mode, __u64 flags) = (void *)50;

/*
 * bpf_redirect_map: Sends the packet where the slot of a device, CPU or XDP socket map says. Since Linux 4.14.
 */
static long (*const bpf_redirect_map)(void *map, __u64 key, __u64 flags) = (void *)51;

/*
 * bpf_sk_redirect_map: Hands received data to a socket of a sockmap. Since Linux 4.14.
 */
static long (*const bpf_sk_redirect_map)(struct __sk_buff *skb, void *map, __u32 key, __u64 flags) = (void *)52;

/*
 * bpf_sock_map_update: Puts the socket of a connection event into a sockmap. Since Linux 4.14.
 */
static long (*const bpf_sock_map_update)(struct bpf_sock_ops *skops, void *map, void *key, __u64 flags) = (void *)53;

/*
 * bpf_xdp_adjust_meta: Moves the start of the metadata in front of an XDP frame. Since Linux 4.15.
 */
static long (*const bpf_xdp_adjust_meta)(struct xdp_md *xdp_md, int delta) = (void *)54;

/*
 * bpf_perf_event_read_value: Reads a perf counter with its enabled and running times. Since Linux 4.15. For GPL-
 * compatible programs.
 */
static long (*const bpf_perf_event_read_value)(void *map, __u64 flags, struct bpf_perf_event_value *buf, __u32 buf_size) = (void *)55;

/*
 * bpf_perf_prog_read_value: Reads the counter of the perf event that the program is attached to. Since Linux 4.15.
 * For GPL-compatible programs.
 */
static long (*const bpf_perf_prog_read_value)(struct bpf_perf_event_data *ctx, struct bpf_perf_event_value *buf, __u32 buf_size) = (void *)56;

/*
 * bpf_getsockopt: Reads an option of a socket. Since Linux 4.15.
 */
static long (*const bpf_getsockopt)(void *bpf_socket, int level, int optname, void *optval, int optlen) = (void *)57;

/*
 * bpf_override_return: Makes the probed function return at once with a given value, where it allows errors to be
 * injected. Since Linux 4.16. For GPL-compatible programs.
 */
static long (*const bpf_override_return)(struct pt_regs *regs, __u64 rc) = (void *)58;

/*
 * bpf_sock_ops_cb_flags_set: Chooses which further events of a connection call the program. Since Linux 4.16.
 */
static long (*const bpf_sock_ops_cb_flags_set)(struct bpf_sock_ops *bpf_sock, int argval) = (void *)59;

/*
 * bpf_msg_redirect_map: Hands a message that is being sent to a socket of a sockmap. Since Linux 4.17.
 */
static long (*const bpf_msg_redirect_map)(struct sk_msg_md *msg, void *map, __u32 key, __u64 flags) = (void *)60;

/*
 * bpf_msg_apply_bytes: Lets the verdict hold for so many bytes. Since Linux 4.17.
 */
static long (*const bpf_msg_apply_bytes)(struct sk_msg_md *msg, __u32 bytes) = (void *)61;

/*
 * bpf_msg_cork_bytes: Holds a message back until so many bytes have come together. Since Linux 4.17.
 */
static long (*const bpf_msg_cork_bytes)(struct sk_msg_md *msg, __u32 bytes) = (void *)62;

/*
 * bpf_msg_pull_data: Makes part of a message linear, so that it can be reached directly. Since Linux 4.17.
 */
static long (*const bpf_msg_pull_data)(struct sk_msg_md *msg, __u32 start, __u32 end, __u64 flags) = (void *)63;

/*
 * bpf_bind: Binds a socket to a local address before it connects. Since Linux 4.17.
 */
static long (*const bpf_bind)(struct bpf_sock_addr *ctx, struct sockaddr *addr, int addr_len) = (void *)64;

/*
 * bpf_xdp_adjust_tail: Moves the end of an XDP frame. Since Linux 4.18.
 */
static long (*const bpf_xdp_adjust_tail)(struct xdp_md *xdp_md, int delta) = (void *)65;

/*
 * bpf_skb_get_xfrm_state: Reads an IPsec state of a packet. Since Linux 4.18.
 */
static long (*const bpf_skb_get_xfrm_state)(struct __sk_buff *skb, __u32 index, struct bpf_xfrm_state *xfrm_state, __u32 size, __u64 flags) = (void *)66;

/*
 * bpf_get_stack: Copies the addresses of the kernel or user stack. Since Linux 4.18. For GPL-compatible programs.
 */
static long (*const bpf_get_stack)(void *ctx, void *buf, __u32 size, __u64 flags) = (void *)67;

/*
 * bpf_skb_load_bytes_relative: Copies bytes of a packet, counted from its MAC or network header. Since Linux 4.18.
 */
static long (*const bpf_skb_load_bytes_relative)(const void *skb, __u32 offset, void *to, __u32 len, __u32 start_header) = (void *)68;

/*
 * bpf_fib_lookup: Looks a destination up in the routing and neighbour tables. Since Linux 4.18. For GPL-compatible
 * programs.
 */
static long (*const bpf_fib_lookup)(void *ctx, struct bpf_fib_lookup *params, int plen, __u32 flags) = (void *)69;

/*
 * bpf_sock_hash_update: Puts the socket of a connection event into a sockhash. Since Linux 4.18.
 */
static long (*const bpf_sock_hash_update)(struct bpf_sock_ops *skops, void *map, void *key, __u64 flags) = (void *)70;

/*
 * bpf_msg_redirect_hash: Hands a message that is being sent to a socket of a sockhash. Since Linux 4.18.
 */
static long (*const bpf_msg_redirect_hash)(struct sk_msg_md *msg, void *map, void *key, __u64 flags) = (void *)71;

/*
 * bpf_sk_redirect_hash: Hands received data to a socket of a sockhash. Since Linux 4.18.
 */
static long (*const bpf_sk_redirect_hash)(struct __sk_buff *skb, void *map, void *key, __u64 flags) = (void *)72;

/*
 * bpf_lwt_push_encap: Puts an outer header in front of a packet. Since Linux 4.18.
 */
static long (*const bpf_lwt_push_encap)(struct __sk_buff *skb, __u32 type, void *hdr, __u32 len) = (void *)73;

/*
 * bpf_lwt_seg6_store_bytes: Writes into the segment routing header where that is allowed. Since Linux 4.18.
 */
static long (*const bpf_lwt_seg6_store_bytes)(struct __sk_buff *skb, __u32 offset, const void *from, __u32 len) = (void *)74;

/*
 * bpf_lwt_seg6_adjust_srh: Makes the segment routing header longer or shorter. Since Linux 4.18.
 */
static long (*const bpf_lwt_seg6_adjust_srh)(struct __sk_buff *skb, __u32 offset, __s32 delta) = (void *)75;

/*
 * bpf_lwt_seg6_action: Applies a segment routing action to a packet. Since Linux 4.18.
 */
static long (*const bpf_lwt_seg6_action)(struct __sk_buff *skb, __u32 action, void *param, __u32 param_len) = (void *)76;

/*
 * bpf_rc_repeat: Reports that the remote control's key is still held. Since Linux 4.18. For GPL-compatible
 * programs.
 */
static long (*const bpf_rc_repeat)(void *ctx) = (void *)77;

/*
 * bpf_rc_keydown: Reports a decoded key of a remote control. Since Linux 4.18. For GPL-compatible programs.
 */
static long (*const bpf_rc_keydown)(void *ctx, __u32 protocol, __u64 scancode, __u32 toggle) = (void *)78;

/*
 * bpf_skb_cgroup_id: The id of the cgroup of a packet's socket. Since Linux 4.18.
 */
static __u64 (*const bpf_skb_cgroup_id)(struct __sk_buff *skb) = (void *)79;

/*
 * bpf_get_current_cgroup_id: The id of the current task's cgroup. Since Linux 4.18.
 */
static __u64 (*const bpf_get_current_cgroup_id)(void) = (void *)80;

/*
 * bpf_get_local_storage: The storage that the program has in the cgroup it is attached to. Since Linux 4.19.
 */
static void *(*const bpf_get_local_storage)(void *map, __u64 flags) = (void *)81;

/*
 * bpf_sk_select_reuseport: Chooses the listening socket of a reuseport group from a map. Since Linux 4.19.
 */
static long (*const bpf_sk_select_reuseport)(struct sk_reuseport_md *reuse, void *map, void *key, __u64 flags) = (void *)82;

/*
 * bpf_skb_ancestor_cgroup_id: The id of an ancestor, at a given level, of the cgroup of a packet's socket. Since
 * Linux 4.19.
 */
static __u64 (*const bpf_skb_ancestor_cgroup_id)(struct __sk_buff *skb, int ancestor_level) = (void *)83;

/*
 * bpf_sk_lookup_tcp: Finds a TCP socket by addresses and ports; it must be released. Since Linux 4.20.
 */
static struct bpf_sock *(*const bpf_sk_lookup_tcp)(void *ctx, struct bpf_sock_tuple *tuple, __u32 tuple_size, __u64 netns, __u64 flags) = (void *)84;

/*
 * bpf_sk_lookup_udp: Finds a UDP socket by addresses and ports; it must be released. Since Linux 4.20.
 */
static struct bpf_sock *(*const bpf_sk_lookup_udp)(void *ctx, struct bpf_sock_tuple *tuple, __u32 tuple_size, __u64 netns, __u64 flags) = (void *)85;

/*
 * bpf_sk_release: Gives back a socket that was looked up. Since Linux 4.20.
 */
static long (*const bpf_sk_release)(void *sock) = (void *)86;

/*
 * bpf_map_push_elem: Adds a value to a queue, stack or bloom filter. Since Linux 4.20.
 */
static long (*const bpf_map_push_elem)(void *map, const void *value, __u64 flags) = (void *)87;

/*
 * bpf_map_pop_elem: Takes the next value out of a queue or stack. Since Linux 4.20.
 */
static long (*const bpf_map_pop_elem)(void *map, void *value) = (void *)88;

/*
 * bpf_map_peek_elem: Copies the next value of a queue or stack, or asks a bloom filter for a value. Since Linux
 * 4.20.
 */
static long (*const bpf_map_peek_elem)(void *map, void *value) = (void *)89;

/*
 * bpf_msg_push_data: Inserts room into a message. Since Linux 4.20.
 */
static long (*const bpf_msg_push_data)(struct sk_msg_md *msg, __u32 start, __u32 len, __u64 flags) = (void *)90;

/*
 * bpf_msg_pop_data: Removes bytes from a message. Since Linux 5.0.
 */
static long (*const bpf_msg_pop_data)(struct sk_msg_md *msg, __u32 start, __u32 len, __u64 flags) = (void *)91;

/*
 * bpf_rc_pointer_rel: Reports a movement of a remote control's pointer. Since Linux 5.0. For GPL-compatible
 * programs.
 */
static long (*const bpf_rc_pointer_rel)(void *ctx, __s32 rel_x, __s32 rel_y) = (void *)92;

/*
 * bpf_spin_lock: Takes the lock inside a map value. Since Linux 5.1.
 */
static long (*const bpf_spin_lock)(struct bpf_spin_lock *lock) = (void *)93;

/*
 * bpf_spin_unlock: Gives the lock inside a map value back. Since Linux 5.1.
 */
static long (*const bpf_spin_unlock)(struct bpf_spin_lock *lock) = (void *)94;

/*
 * bpf_sk_fullsock: The full socket behind a socket pointer, or null. Since Linux 5.1.
 */
static struct bpf_sock *(*const bpf_sk_fullsock)(struct bpf_sock *sk) = (void *)95;

/*
 * bpf_tcp_sock: The TCP socket behind a socket pointer, or null. Since Linux 5.1.
 */
static struct bpf_tcp_sock *(*const bpf_tcp_sock)(struct bpf_sock *sk) = (void *)96;

/*
 * bpf_skb_ecn_set_ce: Marks a packet that can carry the mark as having met congestion. Since Linux 5.1.
 */
static long (*const bpf_skb_ecn_set_ce)(struct __sk_buff *skb) = (void *)97;

/*
 * bpf_get_listener_sock: The listening socket behind a socket, or null. Since Linux 5.1.
 */
static struct bpf_sock *(*const bpf_get_listener_sock)(struct bpf_sock *sk) = (void *)98;

/*
 * bpf_skc_lookup_tcp: Finds a TCP socket, also one in a request or time-wait state; it must be released. Since
 * Linux 5.2.
 */
static struct bpf_sock *(*const bpf_skc_lookup_tcp)(void *ctx, struct bpf_sock_tuple *tuple, __u32 tuple_size, __u64 netns, __u64 flags) = (void *)99;

/*
 * bpf_tcp_check_syncookie: Whether a packet's acknowledgement carries a valid SYN cookie of a listener. Since
 * Linux 5.2. For GPL-compatible programs.
 */
static long (*const bpf_tcp_check_syncookie)(void *sk, void *iph, __u32 iph_len, struct tcphdr *th, __u32 th_len) = (void *)100;

/*
 * bpf_sysctl_get_name: Copies the name of the sysctl that is being used. Since Linux 5.2.
 */
static long (*const bpf_sysctl_get_name)(struct bpf_sysctl *ctx, char *buf, unsigned long buf_len, __u64 flags) = (void *)101;

/*
 * bpf_sysctl_get_current_value: Copies the value that the sysctl has. Since Linux 5.2.
 */
static long (*const bpf_sysctl_get_current_value)(struct bpf_sysctl *ctx, char *buf, unsigned long buf_len) = (void *)102;

/*
 * bpf_sysctl_get_new_value: Copies the value that is about to be written to the sysctl. Since Linux 5.2.
 */
static long (*const bpf_sysctl_get_new_value)(struct bpf_sysctl *ctx, char *buf, unsigned long buf_len) = (void *)103;

/*
 * bpf_sysctl_set_new_value: Replaces the value that is about to be written to the sysctl. Since Linux 5.2.
 */
static long (*const bpf_sysctl_set_new_value)(struct bpf_sysctl *ctx, const char *buf, unsigned long buf_len) = (void *)104;

/*
 * bpf_strtol: Reads a signed number out of a text. Since Linux 5.2.
 */
static long (*const bpf_strtol)(const char *buf, unsigned long buf_len, __u64 flags, long *res) = (void *)105;

/*
 * bpf_strtoul: Reads an unsigned number out of a text. Since Linux 5.2.
 */
static long (*const bpf_strtoul)(const char *buf, unsigned long buf_len, __u64 flags, unsigned long *res) = (void *)106;

/*
 * bpf_sk_storage_get: The storage that a map keeps with a socket, made if asked for. Since Linux 5.2.
 */
static void *(*const bpf_sk_storage_get)(void *map, void *sk, void *value, __u64 flags) = (void *)107;

/*
 * bpf_sk_storage_delete: Removes the storage that a map keeps with a socket. Since Linux 5.2.
 */
static long (*const bpf_sk_storage_delete)(void *map, void *sk) = (void *)108;

/*
 * bpf_send_signal: Sends a signal to the current process. Since Linux 5.3.
 */
static long (*const bpf_send_signal)(__u32 sig) = (void *)109;

/*
 * bpf_tcp_gen_syncookie: Makes a SYN cookie for a packet on behalf of a listener. Since Linux 5.3. For GPL-
 * compatible programs.
 */
static __s64 (*const bpf_tcp_gen_syncookie)(void *sk, void *iph, __u32 iph_len, struct tcphdr *th, __u32 th_len) = (void *)110;

/*
 * bpf_skb_output: Sends a record with part of a packet through a perf event array, from tracing programs. Since
 * Linux 5.5. For GPL-compatible programs.
 */
static long (*const bpf_skb_output)(void *ctx, void *map, __u64 flags, void *data, __u64 size) = (void *)111;

/*
 * bpf_probe_read_user: Copies memory of user space; zeroes the target when it fails. Since Linux 5.5. For GPL-
 * compatible programs.
 */
static long (*const bpf_probe_read_user)(void *dst, __u32 size, const void *unsafe_ptr) = (void *)112;

/*
 * bpf_probe_read_kernel: Copies memory of the kernel; zeroes the target when it fails. Since Linux 5.5. For GPL-
 * compatible programs.
 */
static long (*const bpf_probe_read_kernel)(void *dst, __u32 size, const void *unsafe_ptr) = (void *)113;

/*
 * bpf_probe_read_user_str: Copies a string of user space up to its zero byte. Since Linux 5.5. For GPL-compatible
 * programs.
 */
static long (*const bpf_probe_read_user_str)(void *dst, __u32 size, const void *unsafe_ptr) = (void *)114;

/*
 * bpf_probe_read_kernel_str: Copies a string of the kernel up to its zero byte. Since Linux 5.5. For GPL-
 * compatible programs.
 */
static long (*const bpf_probe_read_kernel_str)(void *dst, __u32 size, const void *unsafe_ptr) = (void *)115;

/*
 * bpf_tcp_send_ack: Makes a TCP socket send an acknowledgement. Since Linux 5.6.
 */
static long (*const bpf_tcp_send_ack)(void *tp, __u32 rcv_nxt) = (void *)116;

/*
 * bpf_send_signal_thread: Sends a signal to the current thread. Since Linux 5.6.
 */
static long (*const bpf_send_signal_thread)(__u32 sig) = (void *)117;

/*
 * bpf_jiffies64: The kernel's tick counter. Since Linux 5.6.
 */
static __u64 (*const bpf_jiffies64)(void) = (void *)118;

/*
 * bpf_read_branch_records: Copies the branch records of a perf sample. Since Linux 5.7. For GPL-compatible
 * programs.
 */
static long (*const bpf_read_branch_records)(struct bpf_perf_event_data *ctx, void *buf, __u32 size, __u64 flags) = (void *)119;

/*
 * bpf_get_ns_current_pid_tgid: Pid and tgid of the current task as a pid namespace sees them. Since Linux 5.7.
 */
static long (*const bpf_get_ns_current_pid_tgid)(__u64 dev, __u64 ino, struct bpf_pidns_info *nsdata, __u32 size) = (void *)120;

/*
 * bpf_xdp_output: Sends a record with part of an XDP frame through a perf event array, from tracing programs.
 * Since Linux 5.7. For GPL-compatible programs.
 */
static long (*const bpf_xdp_output)(void *ctx, void *map, __u64 flags, void *data, __u64 size) = (void *)121;

/*
 * bpf_get_netns_cookie: A number that names a network namespace. Since Linux 5.7.
 */
static __u64 (*const bpf_get_netns_cookie)(void *ctx) = (void *)122;

/*
 * bpf_get_current_ancestor_cgroup_id: The id of an ancestor, at a given level, of the current task's cgroup. Since
 * Linux 5.7.
 */
static __u64 (*const bpf_get_current_ancestor_cgroup_id)(int ancestor_level) = (void *)123;

/*
 * bpf_sk_assign: Gives a packet, or a lookup, to a socket. Since Linux 5.7.
 */
static long (*const bpf_sk_assign)(void *skb, void *sk, __u64 flags) = (void *)124;

/*
 * bpf_ktime_get_boot_ns: Nanoseconds since boot, counting suspend. Since Linux 5.8.
 */
static __u64 (*const bpf_ktime_get_boot_ns)(void) = (void *)125;

/*
 * bpf_seq_printf: Writes formatted text to the file of an iterator. Since Linux 5.8. For GPL-compatible programs.
 */
static long (*const bpf_seq_printf)(struct seq_file *m, const char *fmt, __u32 fmt_size, const void *data, __u32 data_len) = (void *)126;

/*
 * bpf_seq_write: Writes bytes to the file of an iterator. Since Linux 5.8. For GPL-compatible programs.
 */
static long (*const bpf_seq_write)(struct seq_file *m, const void *data, __u32 len) = (void *)127;

/*
 * bpf_sk_cgroup_id: The id of a socket's cgroup. Since Linux 5.8.
 */
static __u64 (*const bpf_sk_cgroup_id)(void *sk) = (void *)128;

/*
 * bpf_sk_ancestor_cgroup_id: The id of an ancestor, at a given level, of a socket's cgroup. Since Linux 5.8.
 */
static __u64 (*const bpf_sk_ancestor_cgroup_id)(void *sk, int ancestor_level) = (void *)129;

/*
 * bpf_ringbuf_output: Copies a record into a ring buffer. Since Linux 5.8.
 */
static long (*const bpf_ringbuf_output)(void *ringbuf, void *data, __u64 size, __u64 flags) = (void *)130;

/*
 * bpf_ringbuf_reserve: Reserves room for a record in a ring buffer; it must be submitted or discarded. Since Linux
 * 5.8.
 */
static void *(*const bpf_ringbuf_reserve)(void *ringbuf, __u64 size, __u64 flags) = (void *)131;

/*
 * bpf_ringbuf_submit: Hands a reserved record to the reader. Since Linux 5.8.
 */
static void (*const bpf_ringbuf_submit)(void *data, __u64 flags) = (void *)132;

/*
 * bpf_ringbuf_discard: Gives a reserved record up. Since Linux 5.8.
 */
static void (*const bpf_ringbuf_discard)(void *data, __u64 flags) = (void *)133;

/*
 * bpf_ringbuf_query: Asks a ring buffer for its size, positions or unread bytes. Since Linux 5.8.
 */
static __u64 (*const bpf_ringbuf_query)(void *ringbuf, __u64 flags) = (void *)134;

/*
 * bpf_csum_level: Reads or changes for how many headers a packet's checksum was verified. Since Linux 5.8.
 */
static long (*const bpf_csum_level)(struct __sk_buff *skb, __u64 level) = (void *)135;

/*
 * bpf_skc_to_tcp6_sock: A socket as a TCPv6 socket, or null. Since Linux 5.9.
 */
static struct tcp6_sock *(*const bpf_skc_to_tcp6_sock)(void *sk) = (void *)136;

/*
 * bpf_skc_to_tcp_sock: A socket as a TCP socket, or null. Since Linux 5.9.
 */
static struct tcp_sock *(*const bpf_skc_to_tcp_sock)(void *sk) = (void *)137;

/*
 * bpf_skc_to_tcp_timewait_sock: A socket as one in time-wait, or null. Since Linux 5.9.
 */
static struct tcp_timewait_sock *(*const bpf_skc_to_tcp_timewait_sock)(void *sk) = (void *)138;

/*
 * bpf_skc_to_tcp_request_sock: A socket as a connection request, or null. Since Linux 5.9.
 */
static struct tcp_request_sock *(*const bpf_skc_to_tcp_request_sock)(void *sk) = (void *)139;

/*
 * bpf_skc_to_udp6_sock: A socket as a UDPv6 socket, or null. Since Linux 5.9.
 */
static struct udp6_sock *(*const bpf_skc_to_udp6_sock)(void *sk) = (void *)140;

/*
 * bpf_get_task_stack: Copies the addresses of a task's kernel or user stack. Since Linux 5.9.
 */
static long (*const bpf_get_task_stack)(struct task_struct *task, void *buf, __u32 size, __u64 flags) = (void *)141;

/*
 * bpf_load_hdr_opt: Finds an option in the TCP header of a received packet. Since Linux 5.10.
 */
static long (*const bpf_load_hdr_opt)(struct bpf_sock_ops *skops, void *searchby_res, __u32 len, __u64 flags) = (void *)142;

/*
 * bpf_store_hdr_opt: Writes an option into the TCP header of a packet that is being sent. Since Linux 5.10.
 */
static long (*const bpf_store_hdr_opt)(struct bpf_sock_ops *skops, const void *from, __u32 len, __u64 flags) = (void *)143;

/*
 * bpf_reserve_hdr_opt: Reserves room for options in the TCP header of a packet that is being sent. Since Linux
 * 5.10.
 */
static long (*const bpf_reserve_hdr_opt)(struct bpf_sock_ops *skops, __u32 len, __u64 flags) = (void *)144;

/*
 * bpf_inode_storage_get: The storage that a map keeps with an inode, made if asked for. Since Linux 5.10.
 */
static void *(*const bpf_inode_storage_get)(void *map, void *inode, void *value, __u64 flags) = (void *)145;

/*
 * bpf_inode_storage_delete: Removes the storage that a map keeps with an inode. Since Linux 5.10.
 */
static int (*const bpf_inode_storage_delete)(void *map, void *inode) = (void *)146;

/*
 * bpf_d_path: Copies the full name of a path. Since Linux 5.10.
 */
static long (*const bpf_d_path)(struct path *path, char *buf, __u32 sz) = (void *)147;

/*
 * bpf_copy_from_user: Copies memory of user space and may wait for it to be paged in. Since Linux 5.10.
 */
static long (*const bpf_copy_from_user)(void *dst, __u32 size, const void *user_ptr) = (void *)148;

/*
 * bpf_snprintf_btf: Writes a kernel object as text by its BTF type. Since Linux 5.10.
 */
static long (*const bpf_snprintf_btf)(char *str, __u32 str_size, struct btf_ptr *ptr, __u32 btf_ptr_size, __u64 flags) = (void *)149;

/*
 * bpf_seq_printf_btf: Writes a kernel object as text to the file of an iterator. Since Linux 5.10. For GPL-
 * compatible programs.
 */
static long (*const bpf_seq_printf_btf)(struct seq_file *m, struct btf_ptr *ptr, __u32 ptr_size, __u64 flags) = (void *)150;

/*
 * bpf_skb_cgroup_classid: The net_cls class of the socket behind a packet. Since Linux 5.10.
 */
static __u64 (*const bpf_skb_cgroup_classid)(struct __sk_buff *skb) = (void *)151;

/*
 * bpf_redirect_neigh: Sends the packet to another device and lets the kernel find the link-layer address. Since
 * Linux 5.10.
 */
static long (*const bpf_redirect_neigh)(__u32 ifindex, struct bpf_redir_neigh *params, int plen, __u64 flags) = (void *)152;

/*
 * bpf_per_cpu_ptr: The address of a per-CPU variable of the kernel on a given CPU, or null. Since Linux 5.10.
 */
static void *(*const bpf_per_cpu_ptr)(const void *percpu_ptr, __u32 cpu) = (void *)153;

/*
 * bpf_this_cpu_ptr: The address of a per-CPU variable of the kernel on this CPU. Since Linux 5.10.
 */
static void *(*const bpf_this_cpu_ptr)(const void *percpu_ptr) = (void *)154;

/*
 * bpf_redirect_peer: Sends the packet straight to the other end of a device pair in another namespace. Since Linux
 * 5.10.
 */
static long (*const bpf_redirect_peer)(__u32 ifindex, __u64 flags) = (void *)155;

/*
 * bpf_task_storage_get: The storage that a map keeps with a task, made if asked for. Since Linux 5.11.
 */
static void *(*const bpf_task_storage_get)(void *map, struct task_struct *task, void *value, __u64 flags) = (void *)156;

/*
 * bpf_task_storage_delete: Removes the storage that a map keeps with a task. Since Linux 5.11.
 */
static long (*const bpf_task_storage_delete)(void *map, struct task_struct *task) = (void *)157;

/*
 * bpf_get_current_task_btf: The current task as a typed pointer. Since Linux 5.11. For GPL-compatible programs.
 */
static struct task_struct *(*const bpf_get_current_task_btf)(void) = (void *)158;

/*
 * bpf_bprm_opts_set: Sets options of a program that is about to be executed. Since Linux 5.11.
 */
static long (*const bpf_bprm_opts_set)(struct linux_binprm *bprm, __u64 flags) = (void *)159;

/*
 * bpf_ktime_get_coarse_ns: Nanoseconds since boot as of the last tick; cheap. Since Linux 5.11.
 */
static __u64 (*const bpf_ktime_get_coarse_ns)(void) = (void *)160;

/*
 * bpf_ima_inode_hash: Copies the integrity hash of an inode. Since Linux 5.11.
 */
static long (*const bpf_ima_inode_hash)(struct inode *inode, void *dst, __u32 size) = (void *)161;

/*
 * bpf_sock_from_file: The socket behind a file, or null. Since Linux 5.11.
 */
static struct socket *(*const bpf_sock_from_file)(struct file *file) = (void *)162;

/*
 * bpf_check_mtu: Whether a packet, grown by so much, fits the MTU of a device. Since Linux 5.12. For GPL-
 * compatible programs.
 */
static long (*const bpf_check_mtu)(void *ctx, __u32 ifindex, __u32 *mtu_len, __s32 len_diff, __u64 flags) = (void *)163;

/*
 * bpf_for_each_map_elem: Calls a function for every element of a map. Since Linux 5.13.
 */
static long (*const bpf_for_each_map_elem)(void *map, void *callback_fn, void *callback_ctx, __u64 flags) = (void *)164;

/*
 * bpf_snprintf: Writes formatted text into memory. Since Linux 5.13. For GPL-compatible programs.
 */
static long (*const bpf_snprintf)(char *str, __u32 str_size, const char *fmt, __u64 *data, __u32 data_len) = (void *)165;

/*
 * bpf_sys_bpf: Makes a bpf(2) call. Since Linux 5.14.
 */
static long (*const bpf_sys_bpf)(__u32 cmd, void *attr, __u32 attr_size) = (void *)166;

/*
 * bpf_btf_find_by_name_kind: Finds the id of a type in the kernel's BTF by name and kind. Since Linux 5.14.
 */
static long (*const bpf_btf_find_by_name_kind)(char *name, int name_sz, __u32 kind, int flags) = (void *)167;

/*
 * bpf_sys_close: Closes a file descriptor. Since Linux 5.14.
 */
static long (*const bpf_sys_close)(__u32 fd) = (void *)168;

/*
 * bpf_timer_init: Prepares the timer inside a map value. Since Linux 5.15. For GPL-compatible programs.
 */
static long (*const bpf_timer_init)(struct bpf_timer *timer, void *map, __u64 flags) = (void *)169;

/*
 * bpf_timer_set_callback: Chooses the function that a timer calls. Since Linux 5.15. For GPL-compatible programs.
 */
static long (*const bpf_timer_set_callback)(struct bpf_timer *timer, void *callback_fn) = (void *)170;

/*
 * bpf_timer_start: Starts a timer. Since Linux 5.15. For GPL-compatible programs.
 */
static long (*const bpf_timer_start)(struct bpf_timer *timer, __u64 nsecs, __u64 flags) = (void *)171;

/*
 * bpf_timer_cancel: Stops a timer and waits for its function to end. Since Linux 5.15. For GPL-compatible
 * programs.
 */
static long (*const bpf_timer_cancel)(struct bpf_timer *timer) = (void *)172;

/*
 * bpf_get_func_ip: The address of the function that is being traced. Since Linux 5.15. For GPL-compatible
 * programs.
 */
static __u64 (*const bpf_get_func_ip)(void *ctx) = (void *)173;

/*
 * bpf_get_attach_cookie: The number that was given when the program was attached. Since Linux 5.15.
 */
static __u64 (*const bpf_get_attach_cookie)(void *ctx) = (void *)174;

/*
 * bpf_task_pt_regs: The saved registers of a task. Since Linux 5.15. For GPL-compatible programs.
 */
static long (*const bpf_task_pt_regs)(struct task_struct *task) = (void *)175;

/*
 * bpf_get_branch_snapshot: Copies the CPU's last branches. Since Linux 5.16. For GPL-compatible programs.
 */
static long (*const bpf_get_branch_snapshot)(void *entries, __u32 size, __u64 flags) = (void *)176;

/*
 * bpf_trace_vprintk: Writes a formatted line with any number of arguments to the kernel's trace pipe. Since Linux
 * 5.16. For GPL-compatible programs.
 */
static long (*const bpf_trace_vprintk)(const char *fmt, __u32 fmt_size, const void *data, __u32 data_len) = (void *)177;

/*
 * bpf_skc_to_unix_sock: A socket as a Unix socket, or null. Since Linux 5.16.
 */
static struct unix_sock *(*const bpf_skc_to_unix_sock)(void *sk) = (void *)178;

/*
 * bpf_kallsyms_lookup_name: Finds the address of a kernel symbol. Since Linux 5.16.
 */
static long (*const bpf_kallsyms_lookup_name)(const char *name, int name_sz, int flags, __u64 *res) = (void *)179;

/*
 * bpf_find_vma: Finds the mapping of a task that holds an address and calls a function with it. Since Linux 5.17.
 */
static long (*const bpf_find_vma)(struct task_struct *task, __u64 addr, void *callback_fn, void *callback_ctx, __u64 flags) = (void *)180;

/*
 * bpf_loop: Calls a function so many times, or until it returns 1. Since Linux 5.17.
 */
static long (*const bpf_loop)(__u32 nr_loops, void *callback_fn, void *callback_ctx, __u64 flags) = (void *)181;

/*
 * bpf_strncmp: Compares a text with a constant one. Since Linux 5.17.
 */
static long (*const bpf_strncmp)(const char *s1, __u32 s1_sz, const char *s2) = (void *)182;

/*
 * bpf_get_func_arg: Reads an argument of the traced function by number. Since Linux 5.17.
 */
static long (*const bpf_get_func_arg)(void *ctx, __u32 n, __u64 *value) = (void *)183;

/*
 * bpf_get_func_ret: Reads what the traced function returned. Since Linux 5.17.
 */
static long (*const bpf_get_func_ret)(void *ctx, __u64 *value) = (void *)184;

/*
 * bpf_get_func_arg_cnt: How many arguments the traced function has. Since Linux 5.17.
 */
static long (*const bpf_get_func_arg_cnt)(void *ctx) = (void *)185;

/*
 * bpf_get_retval: The result that the system call will have, as set so far. Since Linux 5.18.
 */
static int (*const bpf_get_retval)(void) = (void *)186;

/*
 * bpf_set_retval: Sets the result that the system call will have. Since Linux 5.18.
 */
static int (*const bpf_set_retval)(int retval) = (void *)187;

/*
 * bpf_xdp_get_buff_len: The whole length of an XDP frame, fragments included. Since Linux 5.18.
 */
static __u64 (*const bpf_xdp_get_buff_len)(struct xdp_md *xdp_md) = (void *)188;

/*
 * bpf_xdp_load_bytes: Copies bytes out of an XDP frame, also out of its fragments. Since Linux 5.18.
 */
static long (*const bpf_xdp_load_bytes)(struct xdp_md *xdp_md, __u32 offset, void *buf, __u32 len) = (void *)189;

/*
 * bpf_xdp_store_bytes: Writes bytes into an XDP frame, also into its fragments. Since Linux 5.18.
 */
static long (*const bpf_xdp_store_bytes)(struct xdp_md *xdp_md, __u32 offset, void *buf, __u32 len) = (void *)190;

/*
 * bpf_copy_from_user_task: Copies user memory of a given task and may wait for it. Since Linux 5.18. For GPL-
 * compatible programs.
 */
static long (*const bpf_copy_from_user_task)(void *dst, __u32 size, const void *user_ptr, struct task_struct *tsk, __u64 flags) = (void *)191;

/*
 * bpf_skb_set_tstamp: Sets the time stamp of a packet. Since Linux 5.18.
 */
static long (*const bpf_skb_set_tstamp)(struct __sk_buff *skb, __u64 tstamp, __u32 tstamp_type) = (void *)192;

/*
 * bpf_ima_file_hash: Computes and copies the integrity hash of a file. Since Linux 5.18.
 */
static long (*const bpf_ima_file_hash)(struct file *file, void *dst, __u32 size) = (void *)193;

/*
 * bpf_kptr_xchg: Exchanges the pointer in a map value for another one. Since Linux 5.19.
 */
static void *(*const bpf_kptr_xchg)(void *dst, void *ptr) = (void *)194;

/*
 * bpf_map_lookup_percpu_elem: Finds the value that a key has on a given CPU; null when there is none. Since Linux
 * 5.19.
 */
static void *(*const bpf_map_lookup_percpu_elem)(void *map, const void *key, __u32 cpu) = (void *)195;

/*
 * bpf_skc_to_mptcp_sock: A socket as a multipath TCP socket, or null. Since Linux 5.19.
 */
static struct mptcp_sock *(*const bpf_skc_to_mptcp_sock)(void *sk) = (void *)196;

/*
 * bpf_dynptr_from_mem: Makes a dynptr over part of a map value. Since Linux 5.19.
 */
static long (*const bpf_dynptr_from_mem)(void *data, __u32 size, __u64 flags, struct bpf_dynptr *ptr) = (void *)197;

/*
 * bpf_ringbuf_reserve_dynptr: Reserves a record of any size in a ring buffer as a dynptr. Since Linux 5.19.
 */
static long (*const bpf_ringbuf_reserve_dynptr)(void *ringbuf, __u32 size, __u64 flags, struct bpf_dynptr *ptr) = (void *)198;

/*
 * bpf_ringbuf_submit_dynptr: Hands a record that was reserved as a dynptr to the reader. Since Linux 5.19.
 */
static void (*const bpf_ringbuf_submit_dynptr)(struct bpf_dynptr *ptr, __u64 flags) = (void *)199;

/*
 * bpf_ringbuf_discard_dynptr: Gives a record up that was reserved as a dynptr. Since Linux 5.19.
 */
static void (*const bpf_ringbuf_discard_dynptr)(struct bpf_dynptr *ptr, __u64 flags) = (void *)200;

/*
 * bpf_dynptr_read: Copies bytes out of the memory behind a dynptr. Since Linux 5.19.
 */
static long (*const bpf_dynptr_read)(void *dst, __u32 len, const struct bpf_dynptr *src, __u32 offset, __u64 flags) = (void *)201;

/*
 * bpf_dynptr_write: Writes bytes into the memory behind a dynptr. Since Linux 5.19.
 */
static long (*const bpf_dynptr_write)(const struct bpf_dynptr *dst, __u32 offset, void *src, __u32 len, __u64 flags) = (void *)202;

/*
 * bpf_dynptr_data: The address of part of the memory behind a dynptr, or null. Since Linux 5.19.
 */
static void *(*const bpf_dynptr_data)(const struct bpf_dynptr *ptr, __u32 offset, __u32 len) = (void *)203;

/*
 * bpf_tcp_raw_gen_syncookie_ipv4: Makes a SYN cookie for an IPv4 packet without a listener. Since Linux 6.0. For
 * GPL-compatible programs.
 */
static __s64 (*const bpf_tcp_raw_gen_syncookie_ipv4)(struct iphdr *iph, struct tcphdr *th, __u32 th_len) = (void *)204;

/*
 * bpf_tcp_raw_gen_syncookie_ipv6: Makes a SYN cookie for an IPv6 packet without a listener. Since Linux 6.0. For
 * GPL-compatible programs.
 */
static __s64 (*const bpf_tcp_raw_gen_syncookie_ipv6)(struct ipv6hdr *iph, struct tcphdr *th, __u32 th_len) = (void *)205;

/*
 * bpf_tcp_raw_check_syncookie_ipv4: Whether an IPv4 packet's acknowledgement carries a valid SYN cookie, without a
 * listener. Since Linux 6.0. For GPL-compatible programs.
 */
static long (*const bpf_tcp_raw_check_syncookie_ipv4)(struct iphdr *iph, struct tcphdr *th) = (void *)206;

/*
 * bpf_tcp_raw_check_syncookie_ipv6: Whether an IPv6 packet's acknowledgement carries a valid SYN cookie, without a
 * listener. Since Linux 6.0. For GPL-compatible programs.
 */
static long (*const bpf_tcp_raw_check_syncookie_ipv6)(struct ipv6hdr *iph, struct tcphdr *th) = (void *)207;

/*
 * bpf_ktime_get_tai_ns: Nanoseconds of international atomic time. Since Linux 6.1.
 */
static __u64 (*const bpf_ktime_get_tai_ns)(void) = (void *)208;

/*
 * bpf_user_ringbuf_drain: Calls a function for every record that user space put into a user ring buffer. Since
 * Linux 6.1.
 */
static long (*const bpf_user_ringbuf_drain)(void *map, void *callback_fn, void *ctx, __u64 flags) = (void *)209;

/*
 * bpf_cgrp_storage_get: The storage that a map keeps with a cgroup, made if asked for. Since Linux 6.2.
 */
static void *(*const bpf_cgrp_storage_get)(void *map, struct cgroup *cgroup, void *value, __u64 flags) = (void *)210;

/*
 * bpf_cgrp_storage_delete: Removes the storage that a map keeps with a cgroup. Since Linux 6.2.
 */
static long (*const bpf_cgrp_storage_delete)(void *map, struct cgroup *cgroup) = (void *)211;

#else /* gcc, which has an attribute for them */

extern void *bpf_map_lookup_elem(void *map, const void *key) __attribute__((kernel_helper(1)));
extern long bpf_map_update_elem(void *map, const void *key, const void *value, __u64 flags) __attribute__((kernel_helper(2)));
extern long bpf_map_delete_elem(void *map, const void *key) __attribute__((kernel_helper(3)));
extern long bpf_probe_read(void *dst, __u32 size, const void *unsafe_ptr) __attribute__((kernel_helper(4)));
extern __u64 bpf_ktime_get_ns(void) __attribute__((kernel_helper(5)));
extern long bpf_trace_printk(const char *fmt, __u32 fmt_size, ...) __attribute__((kernel_helper(6)));
extern __u32 bpf_get_prandom_u32(void) __attribute__((kernel_helper(7)));
extern __u32 bpf_get_smp_processor_id(void) __attribute__((kernel_helper(8)));
extern long bpf_skb_store_bytes(struct __sk_buff *skb, __u32 offset, const void *from, __u32 len, __u64 flags) __attribute__((kernel_helper(9)));
extern long bpf_l3_csum_replace(struct __sk_buff *skb, __u32 offset, __u64 from, __u64 to, __u64 size) __attribute__((kernel_helper(10)));
extern long bpf_l4_csum_replace(struct __sk_buff *skb, __u32 offset, __u64 from, __u64 to, __u64 flags) __attribute__((kernel_helper(11)));
extern long bpf_tail_call(void *ctx, void *prog_array_map, __u32 index) __attribute__((kernel_helper(12)));
extern long bpf_clone_redirect(struct __sk_buff *skb, __u32 ifindex, __u64 flags) __attribute__((kernel_helper(13)));
extern __u64 bpf_get_current_pid_tgid(void) __attribute__((kernel_helper(14)));
extern __u64 bpf_get_current_uid_gid(void) __attribute__((kernel_helper(15)));
extern long bpf_get_current_comm(void *buf, __u32 size_of_buf) __attribute__((kernel_helper(16)));
extern __u32 bpf_get_cgroup_classid(struct __sk_buff *skb) __attribute__((kernel_helper(17)));
extern long bpf_skb_vlan_push(struct __sk_buff *skb, __be16 vlan_proto, __u16 vlan_tci) __attribute__((kernel_helper(18)));
extern long bpf_skb_vlan_pop(struct __sk_buff *skb) __attribute__((kernel_helper(19)));
extern long bpf_skb_get_tunnel_key(struct __sk_buff *skb, struct bpf_tunnel_key *key, __u32 size, __u64 flags) __attribute__((kernel_helper(20)));
extern long bpf_skb_set_tunnel_key(struct __sk_buff *skb, struct bpf_tunnel_key *key, __u32 size, __u64 flags) __attribute__((kernel_helper(21)));
extern __u64 bpf_perf_event_read(void *map, __u64 flags) __attribute__((kernel_helper(22)));
extern long bpf_redirect(__u32 ifindex, __u64 flags) __attribute__((kernel_helper(23)));
extern __u32 bpf_get_route_realm(struct __sk_buff *skb) __attribute__((kernel_helper(24)));
extern long bpf_perf_event_output(void *ctx, void *map, __u64 flags, void *data, __u64 size) __attribute__((kernel_helper(25)));
extern long bpf_skb_load_bytes(const void *skb, __u32 offset, void *to, __u32 len) __attribute__((kernel_helper(26)));
extern long bpf_get_stackid(void *ctx, void *map, __u64 flags) __attribute__((kernel_helper(27)));
extern __s64 bpf_csum_diff(__be32 *from, __u32 from_size, __be32 *to, __u32 to_size, __wsum seed) __attribute__((kernel_helper(28)));
extern long bpf_skb_get_tunnel_opt(struct __sk_buff *skb, void *opt, __u32 size) __attribute__((kernel_helper(29)));
extern long bpf_skb_set_tunnel_opt(struct __sk_buff *skb, void *opt, __u32 size) __attribute__((kernel_helper(30)));
extern long bpf_skb_change_proto(struct __sk_buff *skb, __be16 proto, __u64 flags) __attribute__((kernel_helper(31)));
extern long bpf_skb_change_type(struct __sk_buff *skb, __u32 type) __attribute__((kernel_helper(32)));
extern long bpf_skb_under_cgroup(struct __sk_buff *skb, void *map, __u32 index) __attribute__((kernel_helper(33)));
extern __u32 bpf_get_hash_recalc(struct __sk_buff *skb) __attribute__((kernel_helper(34)));
extern __u64 bpf_get_current_task(void) __attribute__((kernel_helper(35)));
extern long bpf_probe_write_user(void *dst, const void *src, __u32 len) __attribute__((kernel_helper(36)));
extern long bpf_current_task_under_cgroup(void *map, __u32 index) __attribute__((kernel_helper(37)));
extern long bpf_skb_change_tail(struct __sk_buff *skb, __u32 len, __u64 flags) __attribute__((kernel_helper(38)));
extern long bpf_skb_pull_data(struct __sk_buff *skb, __u32 len) __attribute__((kernel_helper(39)));
extern __s64 bpf_csum_update(struct __sk_buff *skb, __wsum csum) __attribute__((kernel_helper(40)));
extern void bpf_set_hash_invalid(struct __sk_buff *skb) __attribute__((kernel_helper(41)));
extern long bpf_get_numa_node_id(void) __attribute__((kernel_helper(42)));
extern long bpf_skb_change_head(struct __sk_buff *skb, __u32 len, __u64 flags) __attribute__((kernel_helper(43)));
extern long bpf_xdp_adjust_head(struct xdp_md *xdp_md, int delta) __attribute__((kernel_helper(44)));
extern long bpf_probe_read_str(void *dst, __u32 size, const void *unsafe_ptr) __attribute__((kernel_helper(45)));
extern __u64 bpf_get_socket_cookie(void *skb) __attribute__((kernel_helper(46)));
extern __u32 bpf_get_socket_uid(struct __sk_buff *skb) __attribute__((kernel_helper(47)));
extern long bpf_set_hash(struct __sk_buff *skb, __u32 hash) __attribute__((kernel_helper(48)));
extern long bpf_setsockopt(void *bpf_socket, int level, int optname, void *optval, int optlen) __attribute__((kernel_helper(49)));
extern long bpf_skb_adjust_room(struct __sk_buff *skb, __s32 len_diff, __u32 mode, __u64 flags) __attribute__((kernel_helper(50)));
extern long bpf_redirect_map(void *map, __u64 key, __u64 flags) __attribute__((kernel_helper(51)));
extern long bpf_sk_redirect_map(struct __sk_buff *skb, void *map, __u32 key, __u64 flags) __attribute__((kernel_helper(52)));
extern long bpf_sock_map_update(struct bpf_sock_ops *skops, void *map, void *key, __u64 flags) __attribute__((kernel_helper(53)));
extern long bpf_xdp_adjust_meta(struct xdp_md *xdp_md, int delta) __attribute__((kernel_helper(54)));
extern long bpf_perf_event_read_value(void *map, __u64 flags, struct bpf_perf_event_value *buf, __u32 buf_size) __attribute__((kernel_helper(55)));
extern long bpf_perf_prog_read_value(struct bpf_perf_event_data *ctx, struct bpf_perf_event_value *buf, __u32 buf_size) __attribute__((kernel_helper(56)));
extern long bpf_getsockopt(void *bpf_socket, int level, int optname, void *optval, int optlen) __attribute__((kernel_helper(57)));
extern long bpf_override_return(struct pt_regs *regs, __u64 rc) __attribute__((kernel_helper(58)));
extern long bpf_sock_ops_cb_flags_set(struct bpf_sock_ops *bpf_sock, int argval) __attribute__((kernel_helper(59)));
extern long bpf_msg_redirect_map(struct sk_msg_md *msg, void *map, __u32 key, __u64 flags) __attribute__((kernel_helper(60)));
extern long bpf_msg_apply_bytes(struct sk_msg_md *msg, __u32 bytes) __attribute__((kernel_helper(61)));
extern long bpf_msg_cork_bytes(struct sk_msg_md *msg, __u32 bytes) __attribute__((kernel_helper(62)));
extern long bpf_msg_pull_data(struct sk_msg_md *msg, __u32 start, __u32 end, __u64 flags) __attribute__((kernel_helper(63)));
extern long bpf_bind(struct bpf_sock_addr *ctx, struct sockaddr *addr, int addr_len) __attribute__((kernel_helper(64)));
extern long bpf_xdp_adjust_tail(struct xdp_md *xdp_md, int delta) __attribute__((kernel_helper(65)));
extern long bpf_skb_get_xfrm_state(struct __sk_buff *skb, __u32 index, struct bpf_xfrm_state *xfrm_state, __u32 size, __u64 flags) __attribute__((kernel_helper(66)));
extern long bpf_get_stack(void *ctx, void *buf, __u32 size, __u64 flags) __attribute__((kernel_helper(67)));
extern long bpf_skb_load_bytes_relative(const void *skb, __u32 offset, void *to, __u32 len, __u32 start_header) __attribute__((kernel_helper(68)));
extern long bpf_fib_lookup(void *ctx, struct bpf_fib_lookup *params, int plen, __u32 flags) __attribute__((kernel_helper(69)));
extern long bpf_sock_hash_update(struct bpf_sock_ops *skops, void *map, void *key, __u64 flags) __attribute__((kernel_helper(70)));
extern long bpf_msg_redirect_hash(struct sk_msg_md *msg, void *map, void *key, __u64 flags) __attribute__((kernel_helper(71)));
extern long bpf_sk_redirect_hash(struct __sk_buff *skb, void *map, void *key, __u64 flags) __attribute__((kernel_helper(72)));
extern long bpf_lwt_push_encap(struct __sk_buff *skb, __u32 type, void *hdr, __u32 len) __attribute__((kernel_helper(73)));
extern long bpf_lwt_seg6_store_bytes(struct __sk_buff *skb, __u32 offset, const void *from, __u32 len) __attribute__((kernel_helper(74)));
extern long bpf_lwt_seg6_adjust_srh(struct __sk_buff *skb, __u32 offset, __s32 delta) __attribute__((kernel_helper(75)));
extern long bpf_lwt_seg6_action(struct __sk_buff *skb, __u32 action, void *param, __u32 param_len) __attribute__((kernel_helper(76)));
extern long bpf_rc_repeat(void *ctx) __attribute__((kernel_helper(77)));
extern long bpf_rc_keydown(void *ctx, __u32 protocol, __u64 scancode, __u32 toggle) __attribute__((kernel_helper(78)));
extern __u64 bpf_skb_cgroup_id(struct __sk_buff *skb) __attribute__((kernel_helper(79)));
extern __u64 bpf_get_current_cgroup_id(void) __attribute__((kernel_helper(80)));
extern void *bpf_get_local_storage(void *map, __u64 flags) __attribute__((kernel_helper(81)));
extern long bpf_sk_select_reuseport(struct sk_reuseport_md *reuse, void *map, void *key, __u64 flags) __attribute__((kernel_helper(82)));
extern __u64 bpf_skb_ancestor_cgroup_id(struct __sk_buff *skb, int ancestor_level) __attribute__((kernel_helper(83)));
extern struct bpf_sock *bpf_sk_lookup_tcp(void *ctx, struct bpf_sock_tuple *tuple, __u32 tuple_size, __u64 netns, __u64 flags) __attribute__((kernel_helper(84)));
extern struct bpf_sock *bpf_sk_lookup_udp(void *ctx, struct bpf_sock_tuple *tuple, __u32 tuple_size, __u64 netns, __u64 flags) __attribute__((kernel_helper(85)));
extern long bpf_sk_release(void *sock) __attribute__((kernel_helper(86)));
extern long bpf_map_push_elem(void *map, const void *value, __u64 flags) __attribute__((kernel_helper(87)));
extern long bpf_map_pop_elem(void *map, void *value) __attribute__((kernel_helper(88)));
extern long bpf_map_peek_elem(void *map, void *value) __attribute__((kernel_helper(89)));
extern long bpf_msg_push_data(struct sk_msg_md *msg, __u32 start, __u32 len, __u64 flags) __attribute__((kernel_helper(90)));
extern long bpf_msg_pop_data(struct sk_msg_md *msg, __u32 start, __u32 len, __u64 flags) __attribute__((kernel_helper(91)));
extern long bpf_rc_pointer_rel(void *ctx, __s32 rel_x, __s32 rel_y) __attribute__((kernel_helper(92)));
extern long bpf_spin_lock(struct bpf_spin_lock *lock) __attribute__((kernel_helper(93)));
extern long bpf_spin_unlock(struct bpf_spin_lock *lock) __attribute__((kernel_helper(94)));
extern struct bpf_sock *bpf_sk_fullsock(struct bpf_sock *sk) __attribute__((kernel_helper(95)));
extern struct bpf_tcp_sock *bpf_tcp_sock(struct bpf_sock *sk) __attribute__((kernel_helper(96)));
extern long bpf_skb_ecn_set_ce(struct __sk_buff *skb) __attribute__((kernel_helper(97)));
extern struct bpf_sock *bpf_get_listener_sock(struct bpf_sock *sk) __attribute__((kernel_helper(98)));
extern struct bpf_sock *bpf_skc_lookup_tcp(void *ctx, struct bpf_sock_tuple *tuple, __u32 tuple_size, __u64 netns, __u64 flags) __attribute__((kernel_helper(99)));
extern long bpf_tcp_check_syncookie(void *sk, void *iph, __u32 iph_len, struct tcphdr *th, __u32 th_len) __attribute__((kernel_helper(100)));
extern long bpf_sysctl_get_name(struct bpf_sysctl *ctx, char *buf, unsigned long buf_len, __u64 flags) __attribute__((kernel_helper(101)));
extern long bpf_sysctl_get_current_value(struct bpf_sysctl *ctx, char *buf, unsigned long buf_len) __attribute__((kernel_helper(102)));
extern long bpf_sysctl_get_new_value(struct bpf_sysctl *ctx, char *buf, unsigned long buf_len) __attribute__((kernel_helper(103)));
extern long bpf_sysctl_set_new_value(struct bpf_sysctl *ctx, const char *buf, unsigned long buf_len) __attribute__((kernel_helper(104)));
extern long bpf_strtol(const char *buf, unsigned long buf_len, __u64 flags, long *res) __attribute__((kernel_helper(105)));
extern long bpf_strtoul(const char *buf, unsigned long buf_len, __u64 flags, unsigned long *res) __attribute__((kernel_helper(106)));
extern void *bpf_sk_storage_get(void *map, void *sk, void *value, __u64 flags) __attribute__((kernel_helper(107)));
extern long bpf_sk_storage_delete(void *map, void *sk) __attribute__((kernel_helper(108)));
extern long bpf_send_signal(__u32 sig) __attribute__((kernel_helper(109)));
extern __s64 bpf_tcp_gen_syncookie(void *sk, void *iph, __u32 iph_len, struct tcphdr *th, __u32 th_len) __attribute__((kernel_helper(110)));
extern long bpf_skb_output(void *ctx, void *map, __u64 flags, void *data, __u64 size) __attribute__((kernel_helper(111)));
extern long bpf_probe_read_user(void *dst, __u32 size, const void *unsafe_ptr) __attribute__((kernel_helper(112)));
extern long bpf_probe_read_kernel(void *dst, __u32 size, const void *unsafe_ptr) __attribute__((kernel_helper(113)));
extern long bpf_probe_read_user_str(void *dst, __u32 size, const void *unsafe_ptr) __attribute__((kernel_helper(114)));
extern long bpf_probe_read_kernel_str(void *dst, __u32 size, const void *unsafe_ptr) __attribute__((kernel_helper(115)));
extern long bpf_tcp_send_ack(void *tp, __u32 rcv_nxt) __attribute__((kernel_helper(116)));
extern long bpf_send_signal_thread(__u32 sig) __attribute__((kernel_helper(117)));
extern __u64 bpf_jiffies64(void) __attribute__((kernel_helper(118)));
extern long bpf_read_branch_records(struct bpf_perf_event_data *ctx, void *buf, __u32 size, __u64 flags) __attribute__((kernel_helper(119)));
extern long bpf_get_ns_current_pid_tgid(__u64 dev, __u64 ino, struct bpf_pidns_info *nsdata, __u32 size) __attribute__((kernel_helper(120)));
extern long bpf_xdp_output(void *ctx, void *map, __u64 flags, void *data, __u64 size) __attribute__((kernel_helper(121)));
extern __u64 bpf_get_netns_cookie(void *ctx) __attribute__((kernel_helper(122)));
extern __u64 bpf_get_current_ancestor_cgroup_id(int ancestor_level) __attribute__((kernel_helper(123)));
extern long bpf_sk_assign(void *skb, void *sk, __u64 flags) __attribute__((kernel_helper(124)));
extern __u64 bpf_ktime_get_boot_ns(void) __attribute__((kernel_helper(125)));
extern long bpf_seq_printf(struct seq_file *m, const char *fmt, __u32 fmt_size, const void *data, __u32 data_len) __attribute__((kernel_helper(126)));
extern long bpf_seq_write(struct seq_file *m, const void *data, __u32 len) __attribute__((kernel_helper(127)));
extern __u64 bpf_sk_cgroup_id(void *sk) __attribute__((kernel_helper(128)));
extern __u64 bpf_sk_ancestor_cgroup_id(void *sk, int ancestor_level) __attribute__((kernel_helper(129)));
extern long bpf_ringbuf_output(void *ringbuf, void *data, __u64 size, __u64 flags) __attribute__((kernel_helper(130)));
extern void *bpf_ringbuf_reserve(void *ringbuf, __u64 size, __u64 flags) __attribute__((kernel_helper(131)));
extern void bpf_ringbuf_submit(void *data, __u64 flags) __attribute__((kernel_helper(132)));
extern void bpf_ringbuf_discard(void *data, __u64 flags) __attribute__((kernel_helper(133)));
extern __u64 bpf_ringbuf_query(void *ringbuf, __u64 flags) __attribute__((kernel_helper(134)));
extern long bpf_csum_level(struct __sk_buff *skb, __u64 level) __attribute__((kernel_helper(135)));
extern struct tcp6_sock *bpf_skc_to_tcp6_sock(void *sk) __attribute__((kernel_helper(136)));
extern struct tcp_sock *bpf_skc_to_tcp_sock(void *sk) __attribute__((kernel_helper(137)));
extern struct tcp_timewait_sock *bpf_skc_to_tcp_timewait_sock(void *sk) __attribute__((kernel_helper(138)));
extern struct tcp_request_sock *bpf_skc_to_tcp_request_sock(void *sk) __attribute__((kernel_helper(139)));
extern struct udp6_sock *bpf_skc_to_udp6_sock(void *sk) __attribute__((kernel_helper(140)));
extern long bpf_get_task_stack(struct task_struct *task, void *buf, __u32 size, __u64 flags) __attribute__((kernel_helper(141)));
extern long bpf_load_hdr_opt(struct bpf_sock_ops *skops, void *searchby_res, __u32 len, __u64 flags) __attribute__((kernel_helper(142)));
extern long bpf_store_hdr_opt(struct bpf_sock_ops *skops, const void *from, __u32 len, __u64 flags) __attribute__((kernel_helper(143)));
extern long bpf_reserve_hdr_opt(struct bpf_sock_ops *skops, __u32 len, __u64 flags) __attribute__((kernel_helper(144)));
extern void *bpf_inode_storage_get(void *map, void *inode, void *value, __u64 flags) __attribute__((kernel_helper(145)));
extern int bpf_inode_storage_delete(void *map, void *inode) __attribute__((kernel_helper(146)));
extern long bpf_d_path(struct path *path, char *buf, __u32 sz) __attribute__((kernel_helper(147)));
extern long bpf_copy_from_user(void *dst, __u32 size, const void *user_ptr) __attribute__((kernel_helper(148)));
extern long bpf_snprintf_btf(char *str, __u32 str_size, struct btf_ptr *ptr, __u32 btf_ptr_size, __u64 flags) __attribute__((kernel_helper(149)));
extern long bpf_seq_printf_btf(struct seq_file *m, struct btf_ptr *ptr, __u32 ptr_size, __u64 flags) __attribute__((kernel_helper(150)));
extern __u64 bpf_skb_cgroup_classid(struct __sk_buff *skb) __attribute__((kernel_helper(151)));
extern long bpf_redirect_neigh(__u32 ifindex, struct bpf_redir_neigh *params, int plen, __u64 flags) __attribute__((kernel_helper(152)));
extern void *bpf_per_cpu_ptr(const void *percpu_ptr, __u32 cpu) __attribute__((kernel_helper(153)));
extern void *bpf_this_cpu_ptr(const void *percpu_ptr) __attribute__((kernel_helper(154)));
extern long bpf_redirect_peer(__u32 ifindex, __u64 flags) __attribute__((kernel_helper(155)));
extern void *bpf_task_storage_get(void *map, struct task_struct *task, void *value, __u64 flags) __attribute__((kernel_helper(156)));
extern long bpf_task_storage_delete(void *map, struct task_struct *task) __attribute__((kernel_helper(157)));
extern struct task_struct *bpf_get_current_task_btf(void) __attribute__((kernel_helper(158)));
extern long bpf_bprm_opts_set(struct linux_binprm *bprm, __u64 flags) __attribute__((kernel_helper(159)));
extern __u64 bpf_ktime_get_coarse_ns(void) __attribute__((kernel_helper(160)));
extern long bpf_ima_inode_hash(struct inode *inode, void *dst, __u32 size) __attribute__((kernel_helper(161)));
extern struct socket *bpf_sock_from_file(struct file *file) __attribute__((kernel_helper(162)));
extern long bpf_check_mtu(void *ctx, __u32 ifindex, __u32 *mtu_len, __s32 len_diff, __u64 flags) __attribute__((kernel_helper(163)));
extern long bpf_for_each_map_elem(void *map, void *callback_fn, void *callback_ctx, __u64 flags) __attribute__((kernel_helper(164)));
extern long bpf_snprintf(char *str, __u32 str_size, const char *fmt, __u64 *data, __u32 data_len) __attribute__((kernel_helper(165)));
extern long bpf_sys_bpf(__u32 cmd, void *attr, __u32 attr_size) __attribute__((kernel_helper(166)));
extern long bpf_btf_find_by_name_kind(char *name, int name_sz, __u32 kind, int flags) __attribute__((kernel_helper(167)));
extern long bpf_sys_close(__u32 fd) __attribute__((kernel_helper(168)));
extern long bpf_timer_init(struct bpf_timer *timer, void *map, __u64 flags) __attribute__((kernel_helper(169)));
extern long bpf_timer_set_callback(struct bpf_timer *timer, void *callback_fn) __attribute__((kernel_helper(170)));
extern long bpf_timer_start(struct bpf_timer *timer, __u64 nsecs, __u64 flags) __attribute__((kernel_helper(171)));
extern long bpf_timer_cancel(struct bpf_timer *timer) __attribute__((kernel_helper(172)));
extern __u64 bpf_get_func_ip(void *ctx) __attribute__((kernel_helper(173)));
extern __u64 bpf_get_attach_cookie(void *ctx) __attribute__((kernel_helper(174)));
extern long bpf_task_pt_regs(struct task_struct *task) __attribute__((kernel_helper(175)));
extern long bpf_get_branch_snapshot(void *entries, __u32 size, __u64 flags) __attribute__((kernel_helper(176)));
extern long bpf_trace_vprintk(const char *fmt, __u32 fmt_size, const void *data, __u32 data_len) __attribute__((kernel_helper(177)));
extern struct unix_sock *bpf_skc_to_unix_sock(void *sk) __attribute__((kernel_helper(178)));
extern long bpf_kallsyms_lookup_name(const char *name, int name_sz, int flags, __u64 *res) __attribute__((kernel_helper(179)));
extern long bpf_find_vma(struct task_struct *task, __u64 addr, void *callback_fn, void *callback_ctx, __u64 flags) __attribute__((kernel_helper(180)));
extern long bpf_loop(__u32 nr_loops, void *callback_fn, void *callback_ctx, __u64 flags) __attribute__((kernel_helper(181)));
extern long bpf_strncmp(const char *s1, __u32 s1_sz, const char *s2) __attribute__((kernel_helper(182)));
extern long bpf_get_func_arg(void *ctx, __u32 n, __u64 *value) __attribute__((kernel_helper(183)));
extern long bpf_get_func_ret(void *ctx, __u64 *value) __attribute__((kernel_helper(184)));
extern long bpf_get_func_arg_cnt(void *ctx) __attribute__((kernel_helper(185)));
extern int bpf_get_retval(void) __attribute__((kernel_helper(186)));
extern int bpf_set_retval(int retval) __attribute__((kernel_helper(187)));
extern __u64 bpf_xdp_get_buff_len(struct xdp_md *xdp_md) __attribute__((kernel_helper(188)));
extern long bpf_xdp_load_bytes(struct xdp_md *xdp_md, __u32 offset, void *buf, __u32 len) __attribute__((kernel_helper(189)));
extern long bpf_xdp_store_bytes(struct xdp_md *xdp_md, __u32 offset, void *buf, __u32 len) __attribute__((kernel_helper(190)));
extern long bpf_copy_from_user_task(void *dst, __u32 size, const void *user_ptr, struct task_struct *tsk, __u64 flags) __attribute__((kernel_helper(191)));
extern long bpf_skb_set_tstamp(struct __sk_buff *skb, __u64 tstamp, __u32 tstamp_type) __attribute__((kernel_helper(192)));
extern long bpf_ima_file_hash(struct file *file, void *dst, __u32 size) __attribute__((kernel_helper(193)));
extern void *bpf_kptr_xchg(void *dst, void *ptr) __attribute__((kernel_helper(194)));
extern void *bpf_map_lookup_percpu_elem(void *map, const void *key, __u32 cpu) __attribute__((kernel_helper(195)));
extern struct mptcp_sock *bpf_skc_to_mptcp_sock(void *sk) __attribute__((kernel_helper(196)));
extern long bpf_dynptr_from_mem(void *data, __u32 size, __u64 flags, struct bpf_dynptr *ptr) __attribute__((kernel_helper(197)));
extern long bpf_ringbuf_reserve_dynptr(void *ringbuf, __u32 size, __u64 flags, struct bpf_dynptr *ptr) __attribute__((kernel_helper(198)));
extern void bpf_ringbuf_submit_dynptr(struct bpf_dynptr *ptr, __u64 flags) __attribute__((kernel_helper(199)));
extern void bpf_ringbuf_discard_dynptr(struct bpf_dynptr *ptr, __u64 flags) __attribute__((kernel_helper(200)));
extern long bpf_dynptr_read(void *dst, __u32 len, const struct bpf_dynptr *src, __u32 offset, __u64 flags) __attribute__((kernel_helper(201)));
extern long bpf_dynptr_write(const struct bpf_dynptr *dst, __u32 offset, void *src, __u32 len, __u64 flags) __attribute__((kernel_helper(202)));
extern void *bpf_dynptr_data(const struct bpf_dynptr *ptr, __u32 offset, __u32 len) __attribute__((kernel_helper(203)));
extern __s64 bpf_tcp_raw_gen_syncookie_ipv4(struct iphdr *iph, struct tcphdr *th, __u32 th_len) __attribute__((kernel_helper(204)));
extern __s64 bpf_tcp_raw_gen_syncookie_ipv6(struct ipv6hdr *iph, struct tcphdr *th, __u32 th_len) __attribute__((kernel_helper(205)));
extern long bpf_tcp_raw_check_syncookie_ipv4(struct iphdr *iph, struct tcphdr *th) __attribute__((kernel_helper(206)));
extern long bpf_tcp_raw_check_syncookie_ipv6(struct ipv6hdr *iph, struct tcphdr *th) __attribute__((kernel_helper(207)));
extern __u64 bpf_ktime_get_tai_ns(void) __attribute__((kernel_helper(208)));
extern long bpf_user_ringbuf_drain(void *map, void *callback_fn, void *ctx, __u64 flags) __attribute__((kernel_helper(209)));
extern void *bpf_cgrp_storage_get(void *map, struct cgroup *cgroup, void *value, __u64 flags) __attribute__((kernel_helper(210)));
extern long bpf_cgrp_storage_delete(void *map, struct cgroup *cgroup) __attribute__((kernel_helper(211)));

#endif
#endif
