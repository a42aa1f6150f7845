"""Helpers: sockets."""

from __future__ import annotations

from bombus.spec.helpers.model import Helper, row

ROWS: tuple[Helper, ...] = (
    row(
        46, "get_socket_cookie", "4.12", "sock", "u64", "struct sk_buff *skb",
        ("ARG_PTR_TO_CTX",), "RET_INTEGER",
        "A number that names a socket for as long as the host runs.",
    ),
    row(
        47, "get_socket_uid", "4.12", "sock", "u32", "struct sk_buff *skb",
        ("ARG_PTR_TO_CTX",), "RET_INTEGER",
        "The owner of the socket that a packet belongs to.",
    ),
    row(
        49, "setsockopt", "4.13", "sock", "long", "void *bpf_socket, int level, int optname, void *optval, int optlen",
        (
            "ARG_PTR_TO_BTF_ID_SOCK_COMMON",
            "ARG_ANYTHING",
            "ARG_ANYTHING",
            "ARG_PTR_TO_MEM|MEM_RDONLY",
            "ARG_CONST_SIZE",
        ),
        "RET_INTEGER",
        "Sets an option of a socket.",
    ),
    row(
        57, "getsockopt", "4.15", "sock", "long", "void *bpf_socket, int level, int optname, void *optval, int optlen",
        (
            "ARG_PTR_TO_BTF_ID_SOCK_COMMON",
            "ARG_ANYTHING",
            "ARG_ANYTHING",
            "ARG_PTR_TO_MEM|MEM_UNINIT|MEM_WRITE",
            "ARG_CONST_SIZE",
        ),
        "RET_INTEGER",
        "Reads an option of a socket.",
    ),
    row(
        59, "sock_ops_cb_flags_set", "4.16", "sock", "long", "struct bpf_sock_ops *bpf_sock, int argval",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING"), "RET_INTEGER",
        "Chooses which further events of a connection call the program.",
    ),
    row(
        64, "bind", "4.17", "sock", "long", "struct bpf_sock_addr *ctx, struct sockaddr *addr, int addr_len",
        ("ARG_PTR_TO_CTX", "ARG_PTR_TO_MEM|MEM_RDONLY", "ARG_CONST_SIZE"), "RET_INTEGER",
        "Binds a socket to a local address before it connects.",
    ),
    row(
        82, "sk_select_reuseport", "4.19", "sock", "long",
        "struct sk_reuseport_md *reuse, struct bpf_map *map, void *key, u64 flags",
        ("ARG_PTR_TO_CTX", "ARG_CONST_MAP_PTR", "ARG_PTR_TO_MAP_KEY", "ARG_ANYTHING"), "RET_INTEGER",
        "Chooses the listening socket of a reuseport group from a map.",
    ),
    row(
        84, "sk_lookup_tcp", "4.20", "sock", "struct bpf_sock *",
        "void *ctx, struct bpf_sock_tuple *tuple, u32 tuple_size, u64 netns, u64 flags",
        (
            "ARG_PTR_TO_CTX",
            "ARG_PTR_TO_MEM|MEM_RDONLY",
            "ARG_CONST_SIZE_OR_ZERO",
            "ARG_ANYTHING",
            "ARG_ANYTHING",
        ),
        "RET_PTR_TO_SOCKET|PTR_MAYBE_NULL",
        "Finds a TCP socket by addresses and ports; it must be released.",
        pkt_access=True,
    ),
    row(
        85, "sk_lookup_udp", "4.20", "sock", "struct bpf_sock *",
        "void *ctx, struct bpf_sock_tuple *tuple, u32 tuple_size, u64 netns, u64 flags",
        (
            "ARG_PTR_TO_CTX",
            "ARG_PTR_TO_MEM|MEM_RDONLY",
            "ARG_CONST_SIZE_OR_ZERO",
            "ARG_ANYTHING",
            "ARG_ANYTHING",
        ),
        "RET_PTR_TO_SOCKET|PTR_MAYBE_NULL",
        "Finds a UDP socket by addresses and ports; it must be released.",
        pkt_access=True,
    ),
    row(
        86, "sk_release", "4.20", "sock", "long", "void *sock",
        ("ARG_PTR_TO_BTF_ID_SOCK_COMMON|OBJ_RELEASE",), "RET_INTEGER",
        "Gives back a socket that was looked up.",
    ),
    row(
        95, "sk_fullsock", "5.1", "sock", "struct bpf_sock *", "struct bpf_sock *sk",
        ("ARG_PTR_TO_SOCK_COMMON",), "RET_PTR_TO_SOCKET|PTR_MAYBE_NULL",
        "The full socket behind a socket pointer, or null.",
    ),
    row(
        96, "tcp_sock", "5.1", "sock", "struct bpf_tcp_sock *", "struct bpf_sock *sk",
        ("ARG_PTR_TO_SOCK_COMMON",), "RET_PTR_TO_TCP_SOCK|PTR_MAYBE_NULL",
        "The TCP socket behind a socket pointer, or null.",
    ),
    row(
        98, "get_listener_sock", "5.1", "sock", "struct bpf_sock *", "struct bpf_sock *sk",
        ("ARG_PTR_TO_SOCK_COMMON",), "RET_PTR_TO_SOCKET|PTR_MAYBE_NULL",
        "The listening socket behind a socket, or null.",
    ),
    row(
        99, "skc_lookup_tcp", "5.2", "sock", "struct bpf_sock *",
        "void *ctx, struct bpf_sock_tuple *tuple, u32 tuple_size, u64 netns, u64 flags",
        (
            "ARG_PTR_TO_CTX",
            "ARG_PTR_TO_MEM|MEM_RDONLY",
            "ARG_CONST_SIZE_OR_ZERO",
            "ARG_ANYTHING",
            "ARG_ANYTHING",
        ),
        "RET_PTR_TO_SOCK_COMMON|PTR_MAYBE_NULL",
        "Finds a TCP socket, also one in a request or time-wait state; it must be released.",
        pkt_access=True,
    ),
    row(
        100, "tcp_check_syncookie", "5.2", "sock", "long",
        "void *sk, void *iph, u32 iph_len, struct tcphdr *th, u32 th_len",
        (
            "ARG_PTR_TO_BTF_ID_SOCK_COMMON",
            "ARG_PTR_TO_MEM|MEM_RDONLY",
            "ARG_CONST_SIZE",
            "ARG_PTR_TO_MEM|MEM_RDONLY",
            "ARG_CONST_SIZE",
        ),
        "RET_INTEGER",
        "Whether a packet's acknowledgement carries a valid SYN cookie of a listener.",
        gpl_only=True, pkt_access=True,
    ),
    row(
        110, "tcp_gen_syncookie", "5.3", "sock", "s64",
        "void *sk, void *iph, u32 iph_len, struct tcphdr *th, u32 th_len",
        (
            "ARG_PTR_TO_BTF_ID_SOCK_COMMON",
            "ARG_PTR_TO_MEM|MEM_RDONLY",
            "ARG_CONST_SIZE",
            "ARG_PTR_TO_MEM|MEM_RDONLY",
            "ARG_CONST_SIZE",
        ),
        "RET_INTEGER",
        "Makes a SYN cookie for a packet on behalf of a listener.",
        gpl_only=True, pkt_access=True,
    ),
    row(
        116, "tcp_send_ack", "5.6", "sock", "long", "void *tp, u32 rcv_nxt",
        ("ARG_PTR_TO_BTF_ID", "ARG_ANYTHING"), "RET_INTEGER",
        "Makes a TCP socket send an acknowledgement.",
    ),
    row(
        122, "get_netns_cookie", "5.7", "sock", "u64", "void *ctx",
        ("ARG_PTR_TO_CTX|PTR_MAYBE_NULL",), "RET_INTEGER",
        "A number that names a network namespace.",
    ),
    row(
        124, "sk_assign", "5.7", "sock", "long", "struct sk_buff *skb, void *sk, u64 flags",
        ("ARG_PTR_TO_CTX", "ARG_PTR_TO_BTF_ID_SOCK_COMMON", "ARG_ANYTHING"), "RET_INTEGER",
        "Gives a packet, or a lookup, to a socket.",
    ),
    row(
        136, "skc_to_tcp6_sock", "5.9", "sock", "struct tcp6_sock *", "void *sk",
        ("ARG_PTR_TO_BTF_ID_SOCK_COMMON",), "RET_PTR_TO_BTF_ID|PTR_MAYBE_NULL",
        "A socket as a TCPv6 socket, or null.",
    ),
    row(
        137, "skc_to_tcp_sock", "5.9", "sock", "struct tcp_sock *", "void *sk",
        ("ARG_PTR_TO_BTF_ID_SOCK_COMMON",), "RET_PTR_TO_BTF_ID|PTR_MAYBE_NULL",
        "A socket as a TCP socket, or null.",
    ),
    row(
        138, "skc_to_tcp_timewait_sock", "5.9", "sock", "struct tcp_timewait_sock *", "void *sk",
        ("ARG_PTR_TO_BTF_ID_SOCK_COMMON",), "RET_PTR_TO_BTF_ID|PTR_MAYBE_NULL",
        "A socket as one in time-wait, or null.",
    ),
    row(
        139, "skc_to_tcp_request_sock", "5.9", "sock", "struct tcp_request_sock *", "void *sk",
        ("ARG_PTR_TO_BTF_ID_SOCK_COMMON",), "RET_PTR_TO_BTF_ID|PTR_MAYBE_NULL",
        "A socket as a connection request, or null.",
    ),
    row(
        140, "skc_to_udp6_sock", "5.9", "sock", "struct udp6_sock *", "void *sk",
        ("ARG_PTR_TO_BTF_ID_SOCK_COMMON",), "RET_PTR_TO_BTF_ID|PTR_MAYBE_NULL",
        "A socket as a UDPv6 socket, or null.",
    ),
    row(
        142, "load_hdr_opt", "5.10", "sock", "long",
        "struct bpf_sock_ops *skops, void *searchby_res, u32 len, u64 flags",
        ("ARG_PTR_TO_CTX", "ARG_PTR_TO_MEM|MEM_WRITE", "ARG_CONST_SIZE", "ARG_ANYTHING"), "RET_INTEGER",
        "Finds an option in the TCP header of a received packet.",
    ),
    row(
        143, "store_hdr_opt", "5.10", "sock", "long",
        "struct bpf_sock_ops *skops, const void *from, u32 len, u64 flags",
        ("ARG_PTR_TO_CTX", "ARG_PTR_TO_MEM|MEM_RDONLY", "ARG_CONST_SIZE", "ARG_ANYTHING"), "RET_INTEGER",
        "Writes an option into the TCP header of a packet that is being sent.",
    ),
    row(
        144, "reserve_hdr_opt", "5.10", "sock", "long", "struct bpf_sock_ops *skops, u32 len, u64 flags",
        ("ARG_PTR_TO_CTX", "ARG_ANYTHING", "ARG_ANYTHING"), "RET_INTEGER",
        "Reserves room for options in the TCP header of a packet that is being sent.",
    ),
    row(
        162, "sock_from_file", "5.11", "sock", "struct socket *", "struct file *file",
        ("ARG_PTR_TO_BTF_ID",), "RET_PTR_TO_BTF_ID|PTR_MAYBE_NULL",
        "The socket behind a file, or null.",
    ),
    row(
        178, "skc_to_unix_sock", "5.16", "sock", "struct unix_sock *", "void *sk",
        ("ARG_PTR_TO_BTF_ID_SOCK_COMMON",), "RET_PTR_TO_BTF_ID|PTR_MAYBE_NULL",
        "A socket as a Unix socket, or null.",
    ),
    row(
        196, "skc_to_mptcp_sock", "5.19", "sock", "struct mptcp_sock *", "void *sk",
        ("ARG_PTR_TO_SOCK_COMMON",), "RET_PTR_TO_BTF_ID|PTR_MAYBE_NULL",
        "A socket as a multipath TCP socket, or null.",
    ),
    row(
        204, "tcp_raw_gen_syncookie_ipv4", "6.0", "sock", "s64", "struct iphdr *iph, struct tcphdr *th, u32 th_len",
        ("ARG_PTR_TO_MEM", "ARG_PTR_TO_MEM", "ARG_CONST_SIZE_OR_ZERO"), "RET_INTEGER",
        "Makes a SYN cookie for an IPv4 packet without a listener.",
        sizes=(20, 0, 0,), gpl_only=True, pkt_access=True,
    ),
    row(
        205, "tcp_raw_gen_syncookie_ipv6", "6.0", "sock", "s64", "struct ipv6hdr *iph, struct tcphdr *th, u32 th_len",
        ("ARG_PTR_TO_MEM", "ARG_PTR_TO_MEM", "ARG_CONST_SIZE_OR_ZERO"), "RET_INTEGER",
        "Makes a SYN cookie for an IPv6 packet without a listener.",
        sizes=(40, 0, 0,), gpl_only=True, pkt_access=True,
    ),
    row(
        206, "tcp_raw_check_syncookie_ipv4", "6.0", "sock", "long", "struct iphdr *iph, struct tcphdr *th",
        ("ARG_PTR_TO_MEM", "ARG_PTR_TO_MEM"), "RET_INTEGER",
        "Whether an IPv4 packet's acknowledgement carries a valid SYN cookie, without a listener.",
        sizes=(20, 20,), gpl_only=True, pkt_access=True,
    ),
    row(
        207, "tcp_raw_check_syncookie_ipv6", "6.0", "sock", "long", "struct ipv6hdr *iph, struct tcphdr *th",
        ("ARG_PTR_TO_MEM", "ARG_PTR_TO_MEM"), "RET_INTEGER",
        "Whether an IPv6 packet's acknowledgement carries a valid SYN cookie, without a listener.",
        sizes=(40, 20,), gpl_only=True, pkt_access=True,
    ),
)  # fmt: skip
