"""Flags that helpers take, as their `flags` arguments name them.

Source: the enums of include/uapi/linux/bpf.h and the BTF of Linux 6.1, 6.12 and 6.18; ages from the kernel's history:
a flag is as old as its bit, even if its name came later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bombus.spec.version import KernelVersion, since


@dataclass(frozen=True, slots=True)
class HelperFlag:
    """One flag or mask. helpers: names without bpf_ of those that take it."""

    name: str
    value: int
    since: KernelVersion
    helpers: tuple[str, ...]
    doc: str


def _flag(name: str, value: int, version: str, helpers: str, doc: str) -> HelperFlag:
    return HelperFlag(name, value, since(version), tuple(helpers.split()), doc)


_OUTPUT = "perf_event_output skb_output xdp_output"
_TUNNEL_SET = "skb_set_tunnel_key"

HELPER_FLAGS: Final[tuple[HelperFlag, ...]] = (
    _flag("BPF_F_RECOMPUTE_CSUM", 1 << 0, "4.1", "skb_store_bytes", "Bring the skb's checksum up to date."),
    _flag("BPF_F_INVALIDATE_HASH", 1 << 1, "4.6", "skb_store_bytes", "Forget the packet's hash."),
    _flag("BPF_F_HDR_FIELD_MASK", 0xF, "4.1", "l3_csum_replace l4_csum_replace", "Bytes of the field that changed."),
    _flag("BPF_F_PSEUDO_HDR", 1 << 4, "4.1", "l4_csum_replace", "The field is part of the pseudo header."),
    _flag("BPF_F_MARK_MANGLED_0", 1 << 5, "4.6", "l4_csum_replace", "A checksum of 0 stays 0, as UDP wants it."),
    _flag("BPF_F_MARK_ENFORCE", 1 << 6, "4.11", "l4_csum_replace", "Even so update a checksum of 0."),
    _flag("BPF_F_IPV6", 1 << 7, "6.16", "l4_csum_replace", "The address in the pseudo header is an IPv6 one."),
    _flag("BPF_F_INGRESS", 1 << 0, "4.2", "clone_redirect redirect sk_redirect_map msg_redirect_map sk_redirect_hash"
          " msg_redirect_hash", "Towards the receiving side of the device or socket."),
    _flag("BPF_F_BROADCAST", 1 << 3, "5.14", "redirect_map", "Send to every device of the map."),
    _flag("BPF_F_EXCLUDE_INGRESS", 1 << 4, "5.14", "redirect_map", "All devices but the one it came from."),
    _flag("BPF_F_TUNINFO_IPV6", 1 << 0, "4.5", "skb_set_tunnel_key skb_get_tunnel_key", "The tunnel's addresses are"
          " IPv6 ones."),
    _flag("BPF_F_ZERO_CSUM_TX", 1 << 1, "4.5", _TUNNEL_SET, "Send without a UDP checksum."),
    _flag("BPF_F_DONT_FRAGMENT", 1 << 2, "4.6", _TUNNEL_SET, "The outer packet must not be fragmented."),
    _flag("BPF_F_SEQ_NUMBER", 1 << 3, "4.17", _TUNNEL_SET, "Number the outer packets."),
    _flag("BPF_F_NO_TUNNEL_KEY", 1 << 4, "6.3", _TUNNEL_SET, "Send without a tunnel key."),
    _flag("BPF_F_TUNINFO_FLAGS", 1 << 4, "6.1", "skb_get_tunnel_key", "Fill in tunnel_flags too."),
    _flag("BPF_F_SKIP_FIELD_MASK", 0xFF, "4.6", "get_stack get_stackid get_task_stack", "Frames to leave out."),
    _flag("BPF_F_USER_STACK", 1 << 8, "4.6", "get_stack get_stackid get_task_stack", "The stack of user space."),
    _flag("BPF_F_FAST_STACK_CMP", 1 << 9, "4.6", "get_stackid", "Compare stacks by their hash alone."),
    _flag("BPF_F_REUSE_STACKID", 1 << 10, "4.6", "get_stackid", "A new stack takes the place of one with its hash."),
    _flag("BPF_F_USER_BUILD_ID", 1 << 11, "4.18", "get_stack get_task_stack", "Build id and offset of each frame."),
    _flag("BPF_F_INDEX_MASK", 0xFFFF_FFFF, "4.7", f"{_OUTPUT} perf_event_read perf_event_read_value", "Index in the"
          " map."),
    _flag("BPF_F_CURRENT_CPU", 0xFFFF_FFFF, "4.7", f"{_OUTPUT} perf_event_read perf_event_read_value", "The index of"
          " this CPU."),
    _flag("BPF_F_CTXLEN_MASK", 0xFFFFF << 32, "4.8", _OUTPUT, "Bytes of the packet to append."),
    _flag("BPF_F_CURRENT_NETNS", -1, "4.20", "sk_lookup_tcp sk_lookup_udp skc_lookup_tcp", "The program's own network"
          " namespace."),
    _flag("BPF_F_ADJ_ROOM_FIXED_GSO", 1 << 0, "5.2", "skb_adjust_room", "Leave the GSO size alone."),
    _flag("BPF_F_ADJ_ROOM_ENCAP_L3_IPV4", 1 << 1, "5.2", "skb_adjust_room", "The room is for an IPv4 header."),
    _flag("BPF_F_ADJ_ROOM_ENCAP_L3_IPV6", 1 << 2, "5.2", "skb_adjust_room", "The room is for an IPv6 header."),
    _flag("BPF_F_ADJ_ROOM_ENCAP_L4_GRE", 1 << 3, "5.2", "skb_adjust_room", "The room is for a GRE header."),
    _flag("BPF_F_ADJ_ROOM_ENCAP_L4_UDP", 1 << 4, "5.2", "skb_adjust_room", "The room is for a UDP header."),
    _flag("BPF_F_ADJ_ROOM_NO_CSUM_RESET", 1 << 5, "5.8", "skb_adjust_room", "Keep the state of the checksum."),
    _flag("BPF_F_ADJ_ROOM_ENCAP_L2_ETH", 1 << 6, "5.13", "skb_adjust_room", "The room is for an Ethernet header."),
    _flag("BPF_F_ADJ_ROOM_DECAP_L3_IPV4", 1 << 7, "6.3", "skb_adjust_room", "Turn an IPv6 packet into an IPv4 one."),
    _flag("BPF_F_ADJ_ROOM_DECAP_L3_IPV6", 1 << 8, "6.3", "skb_adjust_room", "Turn an IPv4 packet into an IPv6 one."),
    _flag("BPF_F_SYSCTL_BASE_NAME", 1 << 0, "5.2", "sysctl_get_name", "Only the last part of the name."),
    _flag("BPF_LOCAL_STORAGE_GET_F_CREATE", 1 << 0, "5.10", "sk_storage_get inode_storage_get task_storage_get"
          " cgrp_storage_get", "Make the storage when there is none."),
    _flag("BPF_SK_STORAGE_GET_F_CREATE", 1 << 0, "5.2", "sk_storage_get", "Former name of the flag above."),
    _flag("BPF_F_GET_BRANCH_RECORDS_SIZE", 1 << 0, "5.7", "read_branch_records", "Only ask how much there is."),
    _flag("BPF_RB_NO_WAKEUP", 1 << 0, "5.8", "ringbuf_output ringbuf_submit ringbuf_discard ringbuf_submit_dynptr"
          " ringbuf_discard_dynptr", "Do not wake the reader."),
    _flag("BPF_RB_FORCE_WAKEUP", 1 << 1, "5.8", "ringbuf_output ringbuf_submit ringbuf_discard ringbuf_submit_dynptr"
          " ringbuf_discard_dynptr", "Wake the reader whatever it has read."),
    _flag("BPF_RB_AVAIL_DATA", 0, "5.8", "ringbuf_query", "Bytes that nobody has read yet."),
    _flag("BPF_RB_RING_SIZE", 1, "5.8", "ringbuf_query", "Size of the ring."),
    _flag("BPF_RB_CONS_POS", 2, "5.8", "ringbuf_query", "Position of the reader."),
    _flag("BPF_RB_PROD_POS", 3, "5.8", "ringbuf_query", "Position of the writers."),
    _flag("BPF_SK_LOOKUP_F_REPLACE", 1 << 0, "5.9", "sk_assign", "Replace the socket that was chosen before."),
    _flag("BPF_SK_LOOKUP_F_NO_REUSEPORT", 1 << 1, "5.9", "sk_assign", "No choice within the reuseport group."),
    _flag("BPF_F_BPRM_SECUREEXEC", 1 << 0, "5.11", "bprm_opts_set", "Execute as if identity had changed."),
    _flag("BPF_F_TIMER_ABS", 1 << 0, "6.4", "timer_start", "The time is a point, not a distance."),
    _flag("BPF_F_TIMER_CPU_PIN", 1 << 1, "6.7", "timer_start", "The callback runs on this CPU."),
    _flag("BPF_FIB_LOOKUP_DIRECT", 1 << 0, "4.18", "fib_lookup", "Look into one table, not along the rules."),
    _flag("BPF_FIB_LOOKUP_OUTPUT", 1 << 1, "4.18", "fib_lookup", "As for packets that leave."),
    _flag("BPF_FIB_LOOKUP_SKIP_NEIGH", 1 << 2, "6.3", "fib_lookup", "Do not ask for the neighbour."),
    _flag("BPF_FIB_LOOKUP_TBID", 1 << 3, "6.5", "fib_lookup", "The table is named by tbid."),
    _flag("BPF_FIB_LOOKUP_SRC", 1 << 4, "6.7", "fib_lookup", "Tell the source address too."),
    _flag("BPF_FIB_LOOKUP_MARK", 1 << 5, "6.10", "fib_lookup", "The mark counts in policy routing."),
    _flag("BPF_MTU_CHK_SEGS", 1 << 0, "5.12", "check_mtu", "Check each segment of a GSO packet."),
    _flag("BPF_CSUM_LEVEL_QUERY", 0, "5.8", "csum_level", "Tell how many checksums are verified."),
    _flag("BPF_CSUM_LEVEL_INC", 1, "5.8", "csum_level", "One more checksum is verified."),
    _flag("BPF_CSUM_LEVEL_DEC", 2, "5.8", "csum_level", "One checksum fewer is verified."),
    _flag("BPF_CSUM_LEVEL_RESET", 3, "5.8", "csum_level", "No checksum is verified."),
    _flag("BPF_LOAD_HDR_OPT_TCP_SYN", 1 << 0, "5.10", "load_hdr_opt", "Read from the SYN packet that was saved."),
    _flag("BPF_F_PAD_ZEROS", 1 << 0, "6.12", "", "Fill the rest of the buffer with zeros (kfunc"
          " bpf_copy_from_user_str)."),
)  # fmt: skip
HELPER_FLAG: Final[dict[str, HelperFlag]] = {flag.name: flag for flag in HELPER_FLAGS}
