"""States of TCP sockets, the moments that sockops programs are called at, and the flags that ask for some of them.

Source: include/uapi/linux/bpf.h of Linux 6.12 (BPF_TCP_*, BPF_SOCK_OPS_*), include/net/tcp_states.h.
"""

from __future__ import annotations

from enum import IntEnum

TcpState = IntEnum(
    "TcpState",
    "ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN CLOSING NEW_SYN_RECV"
    " BOUND_INACTIVE",
)
SockOp = IntEnum(
    "SockOp",
    "TIMEOUT_INIT RWND_INIT TCP_CONNECT_CB ACTIVE_ESTABLISHED_CB PASSIVE_ESTABLISHED_CB NEEDS_ECN BASE_RTT RTO_CB"
    " RETRANS_CB STATE_CB TCP_LISTEN_CB RTT_CB PARSE_HDR_OPT_CB HDR_OPT_LEN_CB WRITE_HDR_OPT_CB TSTAMP_SCHED_CB"
    " TSTAMP_SND_SW_CB TSTAMP_SND_HW_CB TSTAMP_ACK_CB TSTAMP_SENDMSG_CB",
)
SockOpFlag = IntEnum(
    "SockOpFlag",
    {
        "RTO_CB_FLAG": 1, "RETRANS_CB_FLAG": 2, "STATE_CB_FLAG": 4, "RTT_CB_FLAG": 8, "PARSE_ALL_HDR_OPT_CB_FLAG": 16,
        "PARSE_UNKNOWN_HDR_OPT_CB_FLAG": 32, "WRITE_HDR_OPT_CB_FLAG": 64,
    },
)  # fmt: skip
SOCK_OPS_ALL_CB_FLAGS = sum(SockOpFlag)
