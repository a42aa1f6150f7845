"""Helpers as typed functions. Written by tools/gen-dialect from bombus.spec.helpers.

In plain Python they run the helper bodies of the machine. Pointers are structs, references, arrays and, where a helper
only reads, bytes. A helper that returns a pointer whose type its prototype does not say takes that type first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from bombus.bpf.contexts import BpfSock, BpfTcpSock
from bombus.bpf.ints import be16, s32, s64, u16, u32, u64
from bombus.bpf.machine import call as _call
from bombus.bpf.machine import pointed as _pointed
from bombus.bpf.maps import Map
from bombus.bpf.struct import Array, Ref, Struct

S = TypeVar("S", bound=Struct)
Memory: TypeAlias = Struct | Array[Any] | Ref[Any] | bytes


def map_lookup_elem(kind: type[S], map: Map, key: Memory | None) -> S | None:
    """Finds the value of a key; null when the map has none. (helper 1, Linux 3.19)"""
    return _pointed(kind, int(_call(u64, 1, map, key)))  # type: ignore[no-any-return]


def map_update_elem(map: Map, key: Memory | None, value: Memory | None, flags: u64 | int) -> s64:
    """Stores a value under a key, creating or replacing it as the flags say. (helper 2, Linux 3.19)"""
    return _call(s64, 2, map, key, value, flags)


def map_delete_elem(map: Map, key: Memory | None) -> s64:
    """Removes a key with its value. (helper 3, Linux 3.19)"""
    return _call(s64, 3, map, key)


def probe_read(dst: Memory, size: u32 | int, unsafe_ptr: Memory | u64 | None) -> s64:
    """Copies memory that may be unreadable, of the kernel or of user space; zeroes the target when it fails. (helper
    4, Linux 4.1, GPL only)"""
    return _call(s64, 4, dst, size, unsafe_ptr)


def ktime_get_ns() -> u64:
    """Nanoseconds since boot, not counting suspend. (helper 5, Linux 4.1)"""
    return _call(u64, 5)


def trace_printk(fmt: Memory, fmt_size: u32 | int, *args: Any) -> s64:
    """Writes a formatted line with up to three numbers to the kernel's trace pipe. (helper 6, Linux 4.1, GPL only)"""
    return _call(s64, 6, fmt, fmt_size, *args)


def get_prandom_u32() -> u32:
    """A pseudo-random 32-bit number. (helper 7, Linux 4.1)"""
    return _call(u32, 7)


def get_smp_processor_id() -> u32:
    """The number of the CPU that the program runs on. (helper 8, Linux 4.1)"""
    return _call(u32, 8)


def skb_store_bytes(skb: Struct, offset: u32 | int, from_: Memory, len: u32 | int, flags: u64 | int) -> s64:
    """Writes bytes into a packet and, if asked to, mends its checksum and hash. (helper 9, Linux 4.1)"""
    return _call(s64, 9, skb, offset, from_, len, flags)


def l3_csum_replace(skb: Struct, offset: u32 | int, from_: u64 | int, to: u64 | int, size: u64 | int) -> s64:
    """Mends a layer 3 checksum after a field changed. (helper 10, Linux 4.1)"""
    return _call(s64, 10, skb, offset, from_, to, size)


def l4_csum_replace(skb: Struct, offset: u32 | int, from_: u64 | int, to: u64 | int, flags: u64 | int) -> s64:
    """Mends a layer 4 checksum after a field or the pseudo header changed. (helper 11, Linux 4.1)"""
    return _call(s64, 11, skb, offset, from_, to, flags)


def tail_call(ctx: Struct, prog_array_map: Map, index: u32 | int) -> s64:
    """Jumps into another program of a prog array and does not come back; falls through when it cannot. (helper 12,
    Linux 4.2)"""
    return _call(s64, 12, ctx, prog_array_map, index)


def clone_redirect(skb: Struct, ifindex: u32 | int, flags: u64 | int) -> s64:
    """Sends a copy of the packet to another device. (helper 13, Linux 4.2)"""
    return _call(s64, 13, skb, ifindex, flags)


def get_current_pid_tgid() -> u64:
    """The current task's tgid in the upper and pid in the lower half. (helper 14, Linux 4.2)"""
    return _call(u64, 14)


def get_current_uid_gid() -> u64:
    """The current task's gid in the upper and uid in the lower half. (helper 15, Linux 4.2)"""
    return _call(u64, 15)


def get_current_comm(buf: Memory, size_of_buf: u32 | int) -> s64:
    """Copies the name of the current task. (helper 16, Linux 4.2)"""
    return _call(s64, 16, buf, size_of_buf)


def get_cgroup_classid(skb: Struct) -> u32:
    """The net_cls class of the task behind a packet, or of the current task. (helper 17, Linux 4.3)"""
    return _call(u32, 17, skb)


def skb_vlan_push(skb: Struct, vlan_proto: be16, vlan_tci: u16 | int) -> s64:
    """Puts a VLAN tag on a packet. (helper 18, Linux 4.3)"""
    return _call(s64, 18, skb, vlan_proto, vlan_tci)


def skb_vlan_pop(skb: Struct) -> s64:
    """Takes the VLAN tag off a packet. (helper 19, Linux 4.3)"""
    return _call(s64, 19, skb)


def skb_get_tunnel_key(skb: Struct, key: Memory, size: u32 | int, flags: u64 | int) -> s64:
    """Reads the tunnel metadata that came with a packet. (helper 20, Linux 4.3)"""
    return _call(s64, 20, skb, key, size, flags)


def skb_set_tunnel_key(skb: Struct, key: Memory, size: u32 | int, flags: u64 | int) -> s64:
    """Sets the tunnel metadata with which a packet leaves. (helper 21, Linux 4.3)"""
    return _call(s64, 21, skb, key, size, flags)


def perf_event_read(map: Map, flags: u64 | int) -> u64:
    """Reads the counter of a perf event array's slot. (helper 22, Linux 4.3, GPL only)"""
    return _call(u64, 22, map, flags)


def redirect(ifindex: u32 | int, flags: u64 | int) -> s64:
    """Sends the packet to another device once the program has returned this helper's result. (helper 23, Linux 4.4)"""
    return _call(s64, 23, ifindex, flags)


def get_route_realm(skb: Struct) -> u32:
    """The routing realm of a packet's destination. (helper 24, Linux 4.4)"""
    return _call(u32, 24, skb)


def perf_event_output(ctx: Struct, map: Map, flags: u64 | int, data: Memory, size: u64 | int) -> s64:
    """Sends a record, if wanted with part of the packet, through a perf event array. (helper 25, Linux 4.4, GPL
    only)"""
    return _call(s64, 25, ctx, map, flags, data, size)


def skb_load_bytes(skb: Struct, offset: u32 | int, to: Memory, len: u32 | int) -> s64:
    """Copies bytes out of a packet. (helper 26, Linux 4.5)"""
    return _call(s64, 26, skb, offset, to, len)


def get_stackid(ctx: Struct, map: Map, flags: u64 | int) -> s64:
    """Walks the stack, stores it in a stack trace map and gives its number. (helper 27, Linux 4.6, GPL only)"""
    return _call(s64, 27, ctx, map, flags)


def csum_diff(
    from_: Memory | None, from_size: u32 | int, to: Memory | None, to_size: u32 | int, seed: u32 | int
) -> s64:
    """The difference that replacing one block of bytes by another makes to a checksum. (helper 28, Linux 4.6)"""
    return _call(s64, 28, from_, from_size, to, to_size, seed)


def skb_get_tunnel_opt(skb: Struct, opt: Memory, size: u32 | int) -> s64:
    """Reads the tunnel options that came with a packet. (helper 29, Linux 4.6)"""
    return _call(s64, 29, skb, opt, size)


def skb_set_tunnel_opt(skb: Struct, opt: Memory, size: u32 | int) -> s64:
    """Sets the tunnel options with which a packet leaves. (helper 30, Linux 4.6)"""
    return _call(s64, 30, skb, opt, size)


def skb_change_proto(skb: Struct, proto: be16, flags: u64 | int) -> s64:
    """Turns an IPv4 packet into an IPv6 one or back, making or taking away the room. (helper 31, Linux 4.8)"""
    return _call(s64, 31, skb, proto, flags)


def skb_change_type(skb: Struct, type: u32 | int) -> s64:
    """Changes whom a packet seems to be for: this host, another, all. (helper 32, Linux 4.8)"""
    return _call(s64, 32, skb, type)


def skb_under_cgroup(skb: Struct, map: Map, index: u32 | int) -> s64:
    """Whether the packet's socket lies under a cgroup of a cgroup array. (helper 33, Linux 4.8)"""
    return _call(s64, 33, skb, map, index)


def get_hash_recalc(skb: Struct) -> u32:
    """The flow hash of a packet, computed when it has none. (helper 34, Linux 4.8)"""
    return _call(u32, 34, skb)


def get_current_task() -> u64:
    """The address of the current task's task_struct, as a number. (helper 35, Linux 4.8, GPL only)"""
    return _call(u64, 35)


def probe_write_user(dst: Memory | u64 | None, src: Memory, len: u32 | int) -> s64:
    """Writes into the memory of the current task; for experiments only. (helper 36, Linux 4.8, GPL only)"""
    return _call(s64, 36, dst, src, len)


def current_task_under_cgroup(map: Map, index: u32 | int) -> s64:
    """Whether the current task lies under a cgroup of a cgroup array. (helper 37, Linux 4.9)"""
    return _call(s64, 37, map, index)


def skb_change_tail(skb: Struct, len: u32 | int, flags: u64 | int) -> s64:
    """Cuts a packet or makes it longer at its end. (helper 38, Linux 4.9)"""
    return _call(s64, 38, skb, len, flags)


def skb_pull_data(skb: Struct, len: u32 | int) -> s64:
    """Makes the first bytes of a packet linear, so that they can be reached directly. (helper 39, Linux 4.9)"""
    return _call(s64, 39, skb, len)


def csum_update(skb: Struct, csum: u32 | int) -> s64:
    """Adds a difference to a packet's complete checksum. (helper 40, Linux 4.9)"""
    return _call(s64, 40, skb, csum)


def set_hash_invalid(skb: Struct) -> None:
    """Forgets the flow hash of a packet. (helper 41, Linux 4.9)"""
    _call(None, 41, skb)


def get_numa_node_id() -> s64:
    """The NUMA node that the program runs on. (helper 42, Linux 4.10)"""
    return _call(s64, 42)


def skb_change_head(skb: Struct, len: u32 | int, flags: u64 | int) -> s64:
    """Makes room in front of a packet. (helper 43, Linux 4.10)"""
    return _call(s64, 43, skb, len, flags)


def xdp_adjust_head(xdp_md: Struct, delta: s32 | int) -> s64:
    """Moves the start of an XDP frame. (helper 44, Linux 4.10)"""
    return _call(s64, 44, xdp_md, delta)


def probe_read_str(dst: Memory, size: u32 | int, unsafe_ptr: Memory | u64 | None) -> s64:
    """Copies a string from unsafe memory up to its zero byte. (helper 45, Linux 4.11, GPL only)"""
    return _call(s64, 45, dst, size, unsafe_ptr)


def get_socket_cookie(skb: Struct) -> u64:
    """A number that names a socket for as long as the host runs. (helper 46, Linux 4.12)"""
    return _call(u64, 46, skb)


def get_socket_uid(skb: Struct) -> u32:
    """The owner of the socket that a packet belongs to. (helper 47, Linux 4.12)"""
    return _call(u32, 47, skb)


def set_hash(skb: Struct, hash: u32 | int) -> s64:
    """Sets the flow hash of a packet. (helper 48, Linux 4.13)"""
    return _call(s64, 48, skb, hash)


def setsockopt(
    bpf_socket: Memory | None, level: s32 | int, optname: s32 | int, optval: Memory, optlen: s32 | int
) -> s64:
    """Sets an option of a socket. (helper 49, Linux 4.13)"""
    return _call(s64, 49, bpf_socket, level, optname, optval, optlen)


def skb_adjust_room(skb: Struct, len_diff: s32 | int, mode: u32 | int, flags: u64 | int) -> s64:
    """Makes or takes away room behind the MAC or the network header of a packet. (helper 50, Linux 4.13)"""
    return _call(s64, 50, skb, len_diff, mode, flags)


def redirect_map(map: Map, key: u64 | int, flags: u64 | int) -> s64:
    """Sends the packet where the slot of a device, CPU or XDP socket map says. (helper 51, Linux 4.14)"""
    return _call(s64, 51, map, key, flags)


def sk_redirect_map(skb: Struct, map: Map, key: u32 | int, flags: u64 | int) -> s64:
    """Hands received data to a socket of a sockmap. (helper 52, Linux 4.14)"""
    return _call(s64, 52, skb, map, key, flags)


def sock_map_update(skops: Struct, map: Map, key: Memory | None, flags: u64 | int) -> s64:
    """Puts the socket of a connection event into a sockmap. (helper 53, Linux 4.14)"""
    return _call(s64, 53, skops, map, key, flags)


def xdp_adjust_meta(xdp_md: Struct, delta: s32 | int) -> s64:
    """Moves the start of the metadata in front of an XDP frame. (helper 54, Linux 4.15)"""
    return _call(s64, 54, xdp_md, delta)


def perf_event_read_value(map: Map, flags: u64 | int, buf: Memory, buf_size: u32 | int) -> s64:
    """Reads a perf counter with its enabled and running times. (helper 55, Linux 4.15, GPL only)"""
    return _call(s64, 55, map, flags, buf, buf_size)


def perf_prog_read_value(ctx: Struct, buf: Memory, buf_size: u32 | int) -> s64:
    """Reads the counter of the perf event that the program is attached to. (helper 56, Linux 4.15, GPL only)"""
    return _call(s64, 56, ctx, buf, buf_size)


def getsockopt(
    bpf_socket: Memory | None, level: s32 | int, optname: s32 | int, optval: Memory, optlen: s32 | int
) -> s64:
    """Reads an option of a socket. (helper 57, Linux 4.15)"""
    return _call(s64, 57, bpf_socket, level, optname, optval, optlen)


def override_return(regs: Struct, rc: u64 | int) -> s64:
    """Makes the probed function return at once with a given value, where it allows errors to be injected. (helper
    58, Linux 4.16, GPL only)"""
    return _call(s64, 58, regs, rc)


def sock_ops_cb_flags_set(bpf_sock: Struct, argval: s32 | int) -> s64:
    """Chooses which further events of a connection call the program. (helper 59, Linux 4.16)"""
    return _call(s64, 59, bpf_sock, argval)


def msg_redirect_map(msg: Struct, map: Map, key: u32 | int, flags: u64 | int) -> s64:
    """Hands a message that is being sent to a socket of a sockmap. (helper 60, Linux 4.17)"""
    return _call(s64, 60, msg, map, key, flags)


def msg_apply_bytes(msg: Struct, bytes: u32 | int) -> s64:
    """Lets the verdict hold for so many bytes. (helper 61, Linux 4.17)"""
    return _call(s64, 61, msg, bytes)


def msg_cork_bytes(msg: Struct, bytes: u32 | int) -> s64:
    """Holds a message back until so many bytes have come together. (helper 62, Linux 4.17)"""
    return _call(s64, 62, msg, bytes)


def msg_pull_data(msg: Struct, start: u32 | int, end: u32 | int, flags: u64 | int) -> s64:
    """Makes part of a message linear, so that it can be reached directly. (helper 63, Linux 4.17)"""
    return _call(s64, 63, msg, start, end, flags)


def bind(ctx: Struct, addr: Memory, addr_len: s32 | int) -> s64:
    """Binds a socket to a local address before it connects. (helper 64, Linux 4.17)"""
    return _call(s64, 64, ctx, addr, addr_len)


def xdp_adjust_tail(xdp_md: Struct, delta: s32 | int) -> s64:
    """Moves the end of an XDP frame. (helper 65, Linux 4.18)"""
    return _call(s64, 65, xdp_md, delta)


def skb_get_xfrm_state(skb: Struct, index: u32 | int, xfrm_state: Memory, size: u32 | int, flags: u64 | int) -> s64:
    """Reads an IPsec state of a packet. (helper 66, Linux 4.18)"""
    return _call(s64, 66, skb, index, xfrm_state, size, flags)


def get_stack(ctx: Struct, buf: Memory, size: u32 | int, flags: u64 | int) -> s64:
    """Copies the addresses of the kernel or user stack. (helper 67, Linux 4.18, GPL only)"""
    return _call(s64, 67, ctx, buf, size, flags)


def skb_load_bytes_relative(skb: Struct, offset: u32 | int, to: Memory, len: u32 | int, start_header: u32 | int) -> s64:
    """Copies bytes of a packet, counted from its MAC or network header. (helper 68, Linux 4.18)"""
    return _call(s64, 68, skb, offset, to, len, start_header)


def fib_lookup(ctx: Struct, params: Memory, plen: s32 | int, flags: u32 | int) -> s64:
    """Looks a destination up in the routing and neighbour tables. (helper 69, Linux 4.18, GPL only)"""
    return _call(s64, 69, ctx, params, plen, flags)


def sock_hash_update(skops: Struct, map: Map, key: Memory | None, flags: u64 | int) -> s64:
    """Puts the socket of a connection event into a sockhash. (helper 70, Linux 4.18)"""
    return _call(s64, 70, skops, map, key, flags)


def msg_redirect_hash(msg: Struct, map: Map, key: Memory | None, flags: u64 | int) -> s64:
    """Hands a message that is being sent to a socket of a sockhash. (helper 71, Linux 4.18)"""
    return _call(s64, 71, msg, map, key, flags)


def sk_redirect_hash(skb: Struct, map: Map, key: Memory | None, flags: u64 | int) -> s64:
    """Hands received data to a socket of a sockhash. (helper 72, Linux 4.18)"""
    return _call(s64, 72, skb, map, key, flags)


def lwt_push_encap(skb: Struct, type: u32 | int, hdr: Memory, len: u32 | int) -> s64:
    """Puts an outer header in front of a packet. (helper 73, Linux 4.18)"""
    return _call(s64, 73, skb, type, hdr, len)


def lwt_seg6_store_bytes(skb: Struct, offset: u32 | int, from_: Memory, len: u32 | int) -> s64:
    """Writes into the segment routing header where that is allowed. (helper 74, Linux 4.18)"""
    return _call(s64, 74, skb, offset, from_, len)


def lwt_seg6_adjust_srh(skb: Struct, offset: u32 | int, delta: s32 | int) -> s64:
    """Makes the segment routing header longer or shorter. (helper 75, Linux 4.18)"""
    return _call(s64, 75, skb, offset, delta)


def lwt_seg6_action(skb: Struct, action: u32 | int, param: Memory, param_len: u32 | int) -> s64:
    """Applies a segment routing action to a packet. (helper 76, Linux 4.18)"""
    return _call(s64, 76, skb, action, param, param_len)


def rc_repeat(ctx: Struct) -> s64:
    """Reports that the remote control's key is still held. (helper 77, Linux 4.18, GPL only)"""
    return _call(s64, 77, ctx)


def rc_keydown(ctx: Struct, protocol: u32 | int, scancode: u64 | int, toggle: u32 | int) -> s64:
    """Reports a decoded key of a remote control. (helper 78, Linux 4.18, GPL only)"""
    return _call(s64, 78, ctx, protocol, scancode, toggle)


def skb_cgroup_id(skb: Struct) -> u64:
    """The id of the cgroup of a packet's socket. (helper 79, Linux 4.18)"""
    return _call(u64, 79, skb)


def get_current_cgroup_id() -> u64:
    """The id of the current task's cgroup. (helper 80, Linux 4.18)"""
    return _call(u64, 80)


def get_local_storage(kind: type[S], map: Map, flags: u64 | int) -> S:
    """The storage that the program has in the cgroup it is attached to. (helper 81, Linux 4.19)"""
    return _pointed(kind, int(_call(u64, 81, map, flags)))  # type: ignore[no-any-return]


def sk_select_reuseport(reuse: Struct, map: Map, key: Memory | None, flags: u64 | int) -> s64:
    """Chooses the listening socket of a reuseport group from a map. (helper 82, Linux 4.19)"""
    return _call(s64, 82, reuse, map, key, flags)


def skb_ancestor_cgroup_id(skb: Struct, ancestor_level: s32 | int) -> u64:
    """The id of an ancestor, at a given level, of the cgroup of a packet's socket. (helper 83, Linux 4.19)"""
    return _call(u64, 83, skb, ancestor_level)


def sk_lookup_tcp(
    ctx: Struct, tuple: Memory, tuple_size: u32 | int, netns: u64 | int, flags: u64 | int
) -> BpfSock | None:
    """Finds a TCP socket by addresses and ports; it must be released. (helper 84, Linux 4.20)"""
    return _pointed(BpfSock, int(_call(u64, 84, ctx, tuple, tuple_size, netns, flags)))  # type: ignore[no-any-return]


def sk_lookup_udp(
    ctx: Struct, tuple: Memory, tuple_size: u32 | int, netns: u64 | int, flags: u64 | int
) -> BpfSock | None:
    """Finds a UDP socket by addresses and ports; it must be released. (helper 85, Linux 4.20)"""
    return _pointed(BpfSock, int(_call(u64, 85, ctx, tuple, tuple_size, netns, flags)))  # type: ignore[no-any-return]


def sk_release(sock: Memory | None) -> s64:
    """Gives back a socket that was looked up. (helper 86, Linux 4.20)"""
    return _call(s64, 86, sock)


def map_push_elem(map: Map, value: Memory | None, flags: u64 | int) -> s64:
    """Adds a value to a queue, stack or bloom filter. (helper 87, Linux 4.20)"""
    return _call(s64, 87, map, value, flags)


def map_pop_elem(map: Map, value: Memory) -> s64:
    """Takes the next value out of a queue or stack. (helper 88, Linux 4.20)"""
    return _call(s64, 88, map, value)


def map_peek_elem(map: Map, value: Memory) -> s64:
    """Copies the next value of a queue or stack, or asks a bloom filter for a value. (helper 89, Linux 4.20)"""
    return _call(s64, 89, map, value)


def msg_push_data(msg: Struct, start: u32 | int, len: u32 | int, flags: u64 | int) -> s64:
    """Inserts room into a message. (helper 90, Linux 4.20)"""
    return _call(s64, 90, msg, start, len, flags)


def msg_pop_data(msg: Struct, start: u32 | int, len: u32 | int, flags: u64 | int) -> s64:
    """Removes bytes from a message. (helper 91, Linux 5.0)"""
    return _call(s64, 91, msg, start, len, flags)


def rc_pointer_rel(ctx: Struct, rel_x: s32 | int, rel_y: s32 | int) -> s64:
    """Reports a movement of a remote control's pointer. (helper 92, Linux 5.0, GPL only)"""
    return _call(s64, 92, ctx, rel_x, rel_y)


def spin_lock(lock: Memory | None) -> s64:
    """Takes the lock inside a map value. (helper 93, Linux 5.1)"""
    return _call(s64, 93, lock)


def spin_unlock(lock: Memory | None) -> s64:
    """Gives the lock inside a map value back. (helper 94, Linux 5.1)"""
    return _call(s64, 94, lock)


def sk_fullsock(sk: Memory | None) -> BpfSock | None:
    """The full socket behind a socket pointer, or null. (helper 95, Linux 5.1)"""
    return _pointed(BpfSock, int(_call(u64, 95, sk)))  # type: ignore[no-any-return]


def tcp_sock(sk: Memory | None) -> BpfTcpSock | None:
    """The TCP socket behind a socket pointer, or null. (helper 96, Linux 5.1)"""
    return _pointed(BpfTcpSock, int(_call(u64, 96, sk)))  # type: ignore[no-any-return]


def skb_ecn_set_ce(skb: Struct) -> s64:
    """Marks a packet that can carry the mark as having met congestion. (helper 97, Linux 5.1)"""
    return _call(s64, 97, skb)


def get_listener_sock(sk: Memory | None) -> BpfSock | None:
    """The listening socket behind a socket, or null. (helper 98, Linux 5.1)"""
    return _pointed(BpfSock, int(_call(u64, 98, sk)))  # type: ignore[no-any-return]


def skc_lookup_tcp(
    ctx: Struct, tuple: Memory, tuple_size: u32 | int, netns: u64 | int, flags: u64 | int
) -> BpfSock | None:
    """Finds a TCP socket, also one in a request or time-wait state; it must be released. (helper 99, Linux 5.2)"""
    return _pointed(BpfSock, int(_call(u64, 99, ctx, tuple, tuple_size, netns, flags)))  # type: ignore[no-any-return]


def tcp_check_syncookie(sk: Memory | None, iph: Memory, iph_len: u32 | int, th: Memory, th_len: u32 | int) -> s64:
    """Whether a packet's acknowledgement carries a valid SYN cookie of a listener. (helper 100, Linux 5.2, GPL only)"""
    return _call(s64, 100, sk, iph, iph_len, th, th_len)


def sysctl_get_name(ctx: Struct, buf: Memory, buf_len: u64 | int, flags: u64 | int) -> s64:
    """Copies the name of the sysctl that is being used. (helper 101, Linux 5.2)"""
    return _call(s64, 101, ctx, buf, buf_len, flags)


def sysctl_get_current_value(ctx: Struct, buf: Memory, buf_len: u64 | int) -> s64:
    """Copies the value that the sysctl has. (helper 102, Linux 5.2)"""
    return _call(s64, 102, ctx, buf, buf_len)


def sysctl_get_new_value(ctx: Struct, buf: Memory, buf_len: u64 | int) -> s64:
    """Copies the value that is about to be written to the sysctl. (helper 103, Linux 5.2)"""
    return _call(s64, 103, ctx, buf, buf_len)


def sysctl_set_new_value(ctx: Struct, buf: Memory, buf_len: u64 | int) -> s64:
    """Replaces the value that is about to be written to the sysctl. (helper 104, Linux 5.2)"""
    return _call(s64, 104, ctx, buf, buf_len)


def strtol(buf: Memory, buf_len: u64 | int, flags: u64 | int, res: Memory) -> s64:
    """Reads a signed number out of a text. (helper 105, Linux 5.2)"""
    return _call(s64, 105, buf, buf_len, flags, res)


def strtoul(buf: Memory, buf_len: u64 | int, flags: u64 | int, res: Memory) -> s64:
    """Reads an unsigned number out of a text. (helper 106, Linux 5.2)"""
    return _call(s64, 106, buf, buf_len, flags, res)


def sk_storage_get(kind: type[S], map: Map, sk: Memory | None, value: Memory | None, flags: u64 | int) -> S | None:
    """The storage that a map keeps with a socket, made if asked for. (helper 107, Linux 5.2)"""
    return _pointed(kind, int(_call(u64, 107, map, sk, value, flags)))  # type: ignore[no-any-return]


def sk_storage_delete(map: Map, sk: Memory | None) -> s64:
    """Removes the storage that a map keeps with a socket. (helper 108, Linux 5.2)"""
    return _call(s64, 108, map, sk)


def send_signal(sig: u32 | int) -> s64:
    """Sends a signal to the current process. (helper 109, Linux 5.3)"""
    return _call(s64, 109, sig)


def tcp_gen_syncookie(sk: Memory | None, iph: Memory, iph_len: u32 | int, th: Memory, th_len: u32 | int) -> s64:
    """Makes a SYN cookie for a packet on behalf of a listener. (helper 110, Linux 5.3, GPL only)"""
    return _call(s64, 110, sk, iph, iph_len, th, th_len)


def skb_output(ctx: Memory | None, map: Map, flags: u64 | int, data: Memory, size: u64 | int) -> s64:
    """Sends a record with part of a packet through a perf event array, from tracing programs. (helper 111, Linux
    5.5, GPL only)"""
    return _call(s64, 111, ctx, map, flags, data, size)


def probe_read_user(dst: Memory, size: u32 | int, unsafe_ptr: Memory | u64 | None) -> s64:
    """Copies memory of user space; zeroes the target when it fails. (helper 112, Linux 5.5, GPL only)"""
    return _call(s64, 112, dst, size, unsafe_ptr)


def probe_read_kernel(dst: Memory, size: u32 | int, unsafe_ptr: Memory | u64 | None) -> s64:
    """Copies memory of the kernel; zeroes the target when it fails. (helper 113, Linux 5.5, GPL only)"""
    return _call(s64, 113, dst, size, unsafe_ptr)


def probe_read_user_str(dst: Memory, size: u32 | int, unsafe_ptr: Memory | u64 | None) -> s64:
    """Copies a string of user space up to its zero byte. (helper 114, Linux 5.5, GPL only)"""
    return _call(s64, 114, dst, size, unsafe_ptr)


def probe_read_kernel_str(dst: Memory, size: u32 | int, unsafe_ptr: Memory | u64 | None) -> s64:
    """Copies a string of the kernel up to its zero byte. (helper 115, Linux 5.5, GPL only)"""
    return _call(s64, 115, dst, size, unsafe_ptr)


def tcp_send_ack(tp: Memory | None, rcv_nxt: u32 | int) -> s64:
    """Makes a TCP socket send an acknowledgement. (helper 116, Linux 5.6)"""
    return _call(s64, 116, tp, rcv_nxt)


def send_signal_thread(sig: u32 | int) -> s64:
    """Sends a signal to the current thread. (helper 117, Linux 5.6)"""
    return _call(s64, 117, sig)


def jiffies64() -> u64:
    """The kernel's tick counter. (helper 118, Linux 5.6)"""
    return _call(u64, 118)


def read_branch_records(ctx: Struct, buf: Memory | None, size: u32 | int, flags: u64 | int) -> s64:
    """Copies the branch records of a perf sample. (helper 119, Linux 5.7, GPL only)"""
    return _call(s64, 119, ctx, buf, size, flags)


def get_ns_current_pid_tgid(dev: u64 | int, ino: u64 | int, nsdata: Memory, size: u32 | int) -> s64:
    """Pid and tgid of the current task as a pid namespace sees them. (helper 120, Linux 5.7)"""
    return _call(s64, 120, dev, ino, nsdata, size)


def xdp_output(ctx: Memory | None, map: Map, flags: u64 | int, data: Memory, size: u64 | int) -> s64:
    """Sends a record with part of an XDP frame through a perf event array, from tracing programs. (helper 121, Linux
    5.7, GPL only)"""
    return _call(s64, 121, ctx, map, flags, data, size)


def get_netns_cookie(ctx: Struct) -> u64:
    """A number that names a network namespace. (helper 122, Linux 5.7)"""
    return _call(u64, 122, ctx)


def get_current_ancestor_cgroup_id(ancestor_level: s32 | int) -> u64:
    """The id of an ancestor, at a given level, of the current task's cgroup. (helper 123, Linux 5.7)"""
    return _call(u64, 123, ancestor_level)


def sk_assign(skb: Struct, sk: Memory | None, flags: u64 | int) -> s64:
    """Gives a packet, or a lookup, to a socket. (helper 124, Linux 5.7)"""
    return _call(s64, 124, skb, sk, flags)


def ktime_get_boot_ns() -> u64:
    """Nanoseconds since boot, counting suspend. (helper 125, Linux 5.8)"""
    return _call(u64, 125)


def seq_printf(m: Memory | None, fmt: Memory, fmt_size: u32 | int, data: Memory | None, data_len: u32 | int) -> s64:
    """Writes formatted text to the file of an iterator. (helper 126, Linux 5.8, GPL only)"""
    return _call(s64, 126, m, fmt, fmt_size, data, data_len)


def seq_write(m: Memory | None, data: Memory, len: u32 | int) -> s64:
    """Writes bytes to the file of an iterator. (helper 127, Linux 5.8, GPL only)"""
    return _call(s64, 127, m, data, len)


def sk_cgroup_id(sk: Memory | None) -> u64:
    """The id of a socket's cgroup. (helper 128, Linux 5.8)"""
    return _call(u64, 128, sk)


def sk_ancestor_cgroup_id(sk: Memory | None, ancestor_level: s32 | int) -> u64:
    """The id of an ancestor, at a given level, of a socket's cgroup. (helper 129, Linux 5.8)"""
    return _call(u64, 129, sk, ancestor_level)


def ringbuf_output(ringbuf: Map, data: Memory, size: u64 | int, flags: u64 | int) -> s64:
    """Copies a record into a ring buffer. (helper 130, Linux 5.8)"""
    return _call(s64, 130, ringbuf, data, size, flags)


def ringbuf_reserve(kind: type[S], ringbuf: Map, size: u64 | int, flags: u64 | int) -> S | None:
    """Reserves room for a record in a ring buffer; it must be submitted or discarded. (helper 131, Linux 5.8)"""
    return _pointed(kind, int(_call(u64, 131, ringbuf, size, flags)))  # type: ignore[no-any-return]


def ringbuf_submit(data: Memory, flags: u64 | int) -> None:
    """Hands a reserved record to the reader. (helper 132, Linux 5.8)"""
    _call(None, 132, data, flags)


def ringbuf_discard(data: Memory, flags: u64 | int) -> None:
    """Gives a reserved record up. (helper 133, Linux 5.8)"""
    _call(None, 133, data, flags)


def ringbuf_query(ringbuf: Map, flags: u64 | int) -> u64:
    """Asks a ring buffer for its size, positions or unread bytes. (helper 134, Linux 5.8)"""
    return _call(u64, 134, ringbuf, flags)


def csum_level(skb: Struct, level: u64 | int) -> s64:
    """Reads or changes for how many headers a packet's checksum was verified. (helper 135, Linux 5.8)"""
    return _call(s64, 135, skb, level)


def skc_to_tcp6_sock(kind: type[S], sk: Memory | None) -> S | None:
    """A socket as a TCPv6 socket, or null. (helper 136, Linux 5.9)"""
    return _pointed(kind, int(_call(u64, 136, sk)))  # type: ignore[no-any-return]


def skc_to_tcp_sock(kind: type[S], sk: Memory | None) -> S | None:
    """A socket as a TCP socket, or null. (helper 137, Linux 5.9)"""
    return _pointed(kind, int(_call(u64, 137, sk)))  # type: ignore[no-any-return]


def skc_to_tcp_timewait_sock(kind: type[S], sk: Memory | None) -> S | None:
    """A socket as one in time-wait, or null. (helper 138, Linux 5.9)"""
    return _pointed(kind, int(_call(u64, 138, sk)))  # type: ignore[no-any-return]


def skc_to_tcp_request_sock(kind: type[S], sk: Memory | None) -> S | None:
    """A socket as a connection request, or null. (helper 139, Linux 5.9)"""
    return _pointed(kind, int(_call(u64, 139, sk)))  # type: ignore[no-any-return]


def skc_to_udp6_sock(kind: type[S], sk: Memory | None) -> S | None:
    """A socket as a UDPv6 socket, or null. (helper 140, Linux 5.9)"""
    return _pointed(kind, int(_call(u64, 140, sk)))  # type: ignore[no-any-return]


def get_task_stack(task: Memory | None, buf: Memory, size: u32 | int, flags: u64 | int) -> s64:
    """Copies the addresses of a task's kernel or user stack. (helper 141, Linux 5.9)"""
    return _call(s64, 141, task, buf, size, flags)


def load_hdr_opt(skops: Struct, searchby_res: Memory, len: u32 | int, flags: u64 | int) -> s64:
    """Finds an option in the TCP header of a received packet. (helper 142, Linux 5.10)"""
    return _call(s64, 142, skops, searchby_res, len, flags)


def store_hdr_opt(skops: Struct, from_: Memory, len: u32 | int, flags: u64 | int) -> s64:
    """Writes an option into the TCP header of a packet that is being sent. (helper 143, Linux 5.10)"""
    return _call(s64, 143, skops, from_, len, flags)


def reserve_hdr_opt(skops: Struct, len: u32 | int, flags: u64 | int) -> s64:
    """Reserves room for options in the TCP header of a packet that is being sent. (helper 144, Linux 5.10)"""
    return _call(s64, 144, skops, len, flags)


def inode_storage_get(
    kind: type[S], map: Map, inode: Memory | None, value: Memory | None, flags: u64 | int
) -> S | None:
    """The storage that a map keeps with an inode, made if asked for. (helper 145, Linux 5.10)"""
    return _pointed(kind, int(_call(u64, 145, map, inode, value, flags)))  # type: ignore[no-any-return]


def inode_storage_delete(map: Map, inode: Memory | None) -> s32:
    """Removes the storage that a map keeps with an inode. (helper 146, Linux 5.10)"""
    return _call(s32, 146, map, inode)


def d_path(path: Memory | None, buf: Memory, sz: u32 | int) -> s64:
    """Copies the full name of a path. (helper 147, Linux 5.10)"""
    return _call(s64, 147, path, buf, sz)


def copy_from_user(dst: Memory, size: u32 | int, user_ptr: Memory | u64 | None) -> s64:
    """Copies memory of user space and may wait for it to be paged in. (helper 148, Linux 5.10)"""
    return _call(s64, 148, dst, size, user_ptr)


def snprintf_btf(str: Memory, str_size: u32 | int, ptr: Memory, btf_ptr_size: u32 | int, flags: u64 | int) -> s64:
    """Writes a kernel object as text by its BTF type. (helper 149, Linux 5.10)"""
    return _call(s64, 149, str, str_size, ptr, btf_ptr_size, flags)


def seq_printf_btf(m: Memory | None, ptr: Memory, ptr_size: u32 | int, flags: u64 | int) -> s64:
    """Writes a kernel object as text to the file of an iterator. (helper 150, Linux 5.10, GPL only)"""
    return _call(s64, 150, m, ptr, ptr_size, flags)


def skb_cgroup_classid(skb: Struct) -> u64:
    """The net_cls class of the socket behind a packet. (helper 151, Linux 5.10)"""
    return _call(u64, 151, skb)


def redirect_neigh(ifindex: u32 | int, params: Memory | None, plen: s32 | int, flags: u64 | int) -> s64:
    """Sends the packet to another device and lets the kernel find the link-layer address. (helper 152, Linux 5.10)"""
    return _call(s64, 152, ifindex, params, plen, flags)


def per_cpu_ptr(kind: type[S], percpu_ptr: Memory | None, cpu: u32 | int) -> S | None:
    """The address of a per-CPU variable of the kernel on a given CPU, or null. (helper 153, Linux 5.10)"""
    return _pointed(kind, int(_call(u64, 153, percpu_ptr, cpu)))  # type: ignore[no-any-return]


def this_cpu_ptr(kind: type[S], percpu_ptr: Memory | None) -> S:
    """The address of a per-CPU variable of the kernel on this CPU. (helper 154, Linux 5.10)"""
    return _pointed(kind, int(_call(u64, 154, percpu_ptr)))  # type: ignore[no-any-return]


def redirect_peer(ifindex: u32 | int, flags: u64 | int) -> s64:
    """Sends the packet straight to the other end of a device pair in another namespace. (helper 155, Linux 5.10)"""
    return _call(s64, 155, ifindex, flags)


def task_storage_get(kind: type[S], map: Map, task: Memory | None, value: Memory | None, flags: u64 | int) -> S | None:
    """The storage that a map keeps with a task, made if asked for. (helper 156, Linux 5.11)"""
    return _pointed(kind, int(_call(u64, 156, map, task, value, flags)))  # type: ignore[no-any-return]


def task_storage_delete(map: Map, task: Memory | None) -> s64:
    """Removes the storage that a map keeps with a task. (helper 157, Linux 5.11)"""
    return _call(s64, 157, map, task)


def get_current_task_btf(kind: type[S]) -> S:
    """The current task as a typed pointer. (helper 158, Linux 5.11, GPL only)"""
    return _pointed(kind, int(_call(u64, 158)))  # type: ignore[no-any-return]


def bprm_opts_set(bprm: Memory | None, flags: u64 | int) -> s64:
    """Sets options of a program that is about to be executed. (helper 159, Linux 5.11)"""
    return _call(s64, 159, bprm, flags)


def ktime_get_coarse_ns() -> u64:
    """Nanoseconds since boot as of the last tick; cheap. (helper 160, Linux 5.11)"""
    return _call(u64, 160)


def ima_inode_hash(inode: Memory | None, dst: Memory, size: u32 | int) -> s64:
    """Copies the integrity hash of an inode. (helper 161, Linux 5.11)"""
    return _call(s64, 161, inode, dst, size)


def sock_from_file(kind: type[S], file: Memory | None) -> S | None:
    """The socket behind a file, or null. (helper 162, Linux 5.11)"""
    return _pointed(kind, int(_call(u64, 162, file)))  # type: ignore[no-any-return]


def check_mtu(ctx: Struct, ifindex: u32 | int, mtu_len: Memory, len_diff: s32 | int, flags: u64 | int) -> s64:
    """Whether a packet, grown by so much, fits the MTU of a device. (helper 163, Linux 5.12, GPL only)"""
    return _call(s64, 163, ctx, ifindex, mtu_len, len_diff, flags)


def for_each_map_elem(map: Map, callback_fn: Callable[..., Any], callback_ctx: Memory | None, flags: u64 | int) -> s64:
    """Calls a function for every element of a map. (helper 164, Linux 5.13)"""
    return _call(s64, 164, map, callback_fn, callback_ctx, flags)


def snprintf(
    str: Memory | None, str_size: u32 | int, fmt: Memory | None, data: Memory | None, data_len: u32 | int
) -> s64:
    """Writes formatted text into memory. (helper 165, Linux 5.13, GPL only)"""
    return _call(s64, 165, str, str_size, fmt, data, data_len)


def sys_bpf(cmd: u32 | int, attr: Memory, attr_size: u32 | int) -> s64:
    """Makes a bpf(2) call. (helper 166, Linux 5.14)"""
    return _call(s64, 166, cmd, attr, attr_size)


def btf_find_by_name_kind(name: Memory, name_sz: s32 | int, kind_: u32 | int, flags: s32 | int) -> s64:
    """Finds the id of a type in the kernel's BTF by name and kind. (helper 167, Linux 5.14)"""
    return _call(s64, 167, name, name_sz, kind_, flags)


def sys_close(fd: u32 | int) -> s64:
    """Closes a file descriptor. (helper 168, Linux 5.14)"""
    return _call(s64, 168, fd)


def timer_init(timer: Memory | None, map: Map, flags: u64 | int) -> s64:
    """Prepares the timer inside a map value. (helper 169, Linux 5.15, GPL only)"""
    return _call(s64, 169, timer, map, flags)


def timer_set_callback(timer: Memory | None, callback_fn: Callable[..., Any]) -> s64:
    """Chooses the function that a timer calls. (helper 170, Linux 5.15, GPL only)"""
    return _call(s64, 170, timer, callback_fn)


def timer_start(timer: Memory | None, nsecs: u64 | int, flags: u64 | int) -> s64:
    """Starts a timer. (helper 171, Linux 5.15, GPL only)"""
    return _call(s64, 171, timer, nsecs, flags)


def timer_cancel(timer: Memory | None) -> s64:
    """Stops a timer and waits for its function to end. (helper 172, Linux 5.15, GPL only)"""
    return _call(s64, 172, timer)


def get_func_ip(ctx: Struct) -> u64:
    """The address of the function that is being traced. (helper 173, Linux 5.15, GPL only)"""
    return _call(u64, 173, ctx)


def get_attach_cookie(ctx: Struct) -> u64:
    """The number that was given when the program was attached. (helper 174, Linux 5.15)"""
    return _call(u64, 174, ctx)


def task_pt_regs(task: Memory | None) -> s64:
    """The saved registers of a task. (helper 175, Linux 5.15, GPL only)"""
    return _call(s64, 175, task)


def get_branch_snapshot(entries: Memory, size: u32 | int, flags: u64 | int) -> s64:
    """Copies the CPU's last branches. (helper 176, Linux 5.16, GPL only)"""
    return _call(s64, 176, entries, size, flags)


def trace_vprintk(fmt: Memory, fmt_size: u32 | int, data: Memory | None, data_len: u32 | int) -> s64:
    """Writes a formatted line with any number of arguments to the kernel's trace pipe. (helper 177, Linux 5.16, GPL
    only)"""
    return _call(s64, 177, fmt, fmt_size, data, data_len)


def skc_to_unix_sock(kind: type[S], sk: Memory | None) -> S | None:
    """A socket as a Unix socket, or null. (helper 178, Linux 5.16)"""
    return _pointed(kind, int(_call(u64, 178, sk)))  # type: ignore[no-any-return]


def kallsyms_lookup_name(name: Memory, name_sz: s32 | int, flags: s32 | int, res: Memory) -> s64:
    """Finds the address of a kernel symbol. (helper 179, Linux 5.16)"""
    return _call(s64, 179, name, name_sz, flags, res)


def find_vma(
    task: Memory | None, addr: u64 | int, callback_fn: Callable[..., Any], callback_ctx: Memory | None, flags: u64 | int
) -> s64:
    """Finds the mapping of a task that holds an address and calls a function with it. (helper 180, Linux 5.17)"""
    return _call(s64, 180, task, addr, callback_fn, callback_ctx, flags)


def loop(nr_loops: u32 | int, callback_fn: Callable[..., Any], callback_ctx: Memory | None, flags: u64 | int) -> s64:
    """Calls a function so many times, or until it returns 1. (helper 181, Linux 5.17)"""
    return _call(s64, 181, nr_loops, callback_fn, callback_ctx, flags)


def strncmp(s1: Memory, s1_sz: u32 | int, s2: Memory | None) -> s64:
    """Compares a text with a constant one. (helper 182, Linux 5.17)"""
    return _call(s64, 182, s1, s1_sz, s2)


def get_func_arg(ctx: Struct, n: u32 | int, value: Memory) -> s64:
    """Reads an argument of the traced function by number. (helper 183, Linux 5.17)"""
    return _call(s64, 183, ctx, n, value)


def get_func_ret(ctx: Struct, value: Memory) -> s64:
    """Reads what the traced function returned. (helper 184, Linux 5.17)"""
    return _call(s64, 184, ctx, value)


def get_func_arg_cnt(ctx: Struct) -> s64:
    """How many arguments the traced function has. (helper 185, Linux 5.17)"""
    return _call(s64, 185, ctx)


def get_retval() -> s32:
    """The result that the system call will have, as set so far. (helper 186, Linux 5.18)"""
    return _call(s32, 186)


def set_retval(retval: s32 | int) -> s32:
    """Sets the result that the system call will have. (helper 187, Linux 5.18)"""
    return _call(s32, 187, retval)


def xdp_get_buff_len(xdp_md: Struct) -> u64:
    """The whole length of an XDP frame, fragments included. (helper 188, Linux 5.18)"""
    return _call(u64, 188, xdp_md)


def xdp_load_bytes(xdp_md: Struct, offset: u32 | int, buf: Memory, len: u32 | int) -> s64:
    """Copies bytes out of an XDP frame, also out of its fragments. (helper 189, Linux 5.18)"""
    return _call(s64, 189, xdp_md, offset, buf, len)


def xdp_store_bytes(xdp_md: Struct, offset: u32 | int, buf: Memory, len: u32 | int) -> s64:
    """Writes bytes into an XDP frame, also into its fragments. (helper 190, Linux 5.18)"""
    return _call(s64, 190, xdp_md, offset, buf, len)


def copy_from_user_task(
    dst: Memory, size: u32 | int, user_ptr: Memory | u64 | None, tsk: Memory | None, flags: u64 | int
) -> s64:
    """Copies user memory of a given task and may wait for it. (helper 191, Linux 5.18, GPL only)"""
    return _call(s64, 191, dst, size, user_ptr, tsk, flags)


def skb_set_tstamp(skb: Struct, tstamp: u64 | int, tstamp_type: u32 | int) -> s64:
    """Sets the time stamp of a packet. (helper 192, Linux 5.18)"""
    return _call(s64, 192, skb, tstamp, tstamp_type)


def ima_file_hash(file: Memory | None, dst: Memory, size: u32 | int) -> s64:
    """Computes and copies the integrity hash of a file. (helper 193, Linux 5.18)"""
    return _call(s64, 193, file, dst, size)


def kptr_xchg(kind: type[S], dst: Memory | None, ptr: Memory | None) -> S | None:
    """Exchanges the pointer in a map value for another one. (helper 194, Linux 5.19)"""
    return _pointed(kind, int(_call(u64, 194, dst, ptr)))  # type: ignore[no-any-return]


def map_lookup_percpu_elem(kind: type[S], map: Map, key: Memory | None, cpu: u32 | int) -> S | None:
    """Finds the value that a key has on a given CPU; null when there is none. (helper 195, Linux 5.19)"""
    return _pointed(kind, int(_call(u64, 195, map, key, cpu)))  # type: ignore[no-any-return]


def skc_to_mptcp_sock(kind: type[S], sk: Memory | None) -> S | None:
    """A socket as a multipath TCP socket, or null. (helper 196, Linux 5.19)"""
    return _pointed(kind, int(_call(u64, 196, sk)))  # type: ignore[no-any-return]


def dynptr_from_mem(data: Memory, size: u32 | int, flags: u64 | int, ptr: Memory) -> s64:
    """Makes a dynptr over part of a map value. (helper 197, Linux 5.19)"""
    return _call(s64, 197, data, size, flags, ptr)


def ringbuf_reserve_dynptr(ringbuf: Map, size: u32 | int, flags: u64 | int, ptr: Memory) -> s64:
    """Reserves a record of any size in a ring buffer as a dynptr. (helper 198, Linux 5.19)"""
    return _call(s64, 198, ringbuf, size, flags, ptr)


def ringbuf_submit_dynptr(ptr: Memory | None, flags: u64 | int) -> None:
    """Hands a record that was reserved as a dynptr to the reader. (helper 199, Linux 5.19)"""
    _call(None, 199, ptr, flags)


def ringbuf_discard_dynptr(ptr: Memory | None, flags: u64 | int) -> None:
    """Gives a record up that was reserved as a dynptr. (helper 200, Linux 5.19)"""
    _call(None, 200, ptr, flags)


def dynptr_read(dst: Memory, len: u32 | int, src: Memory, offset: u32 | int, flags: u64 | int) -> s64:
    """Copies bytes out of the memory behind a dynptr. (helper 201, Linux 5.19)"""
    return _call(s64, 201, dst, len, src, offset, flags)


def dynptr_write(dst: Memory, offset: u32 | int, src: Memory, len: u32 | int, flags: u64 | int) -> s64:
    """Writes bytes into the memory behind a dynptr. (helper 202, Linux 5.19)"""
    return _call(s64, 202, dst, offset, src, len, flags)


def dynptr_data(kind: type[S], ptr: Memory, offset: u32 | int, len: u32 | int) -> S | None:
    """The address of part of the memory behind a dynptr, or null. (helper 203, Linux 5.19)"""
    return _pointed(kind, int(_call(u64, 203, ptr, offset, len)))  # type: ignore[no-any-return]


def tcp_raw_gen_syncookie_ipv4(iph: Memory, th: Memory, th_len: u32 | int) -> s64:
    """Makes a SYN cookie for an IPv4 packet without a listener. (helper 204, Linux 6.0, GPL only)"""
    return _call(s64, 204, iph, th, th_len)


def tcp_raw_gen_syncookie_ipv6(iph: Memory, th: Memory, th_len: u32 | int) -> s64:
    """Makes a SYN cookie for an IPv6 packet without a listener. (helper 205, Linux 6.0, GPL only)"""
    return _call(s64, 205, iph, th, th_len)


def tcp_raw_check_syncookie_ipv4(iph: Memory, th: Memory) -> s64:
    """Whether an IPv4 packet's acknowledgement carries a valid SYN cookie, without a listener. (helper 206, Linux
    6.0, GPL only)"""
    return _call(s64, 206, iph, th)


def tcp_raw_check_syncookie_ipv6(iph: Memory, th: Memory) -> s64:
    """Whether an IPv6 packet's acknowledgement carries a valid SYN cookie, without a listener. (helper 207, Linux
    6.0, GPL only)"""
    return _call(s64, 207, iph, th)


def ktime_get_tai_ns() -> u64:
    """Nanoseconds of international atomic time. (helper 208, Linux 6.1)"""
    return _call(u64, 208)


def user_ringbuf_drain(map: Map, callback_fn: Callable[..., Any], ctx: Memory | None, flags: u64 | int) -> s64:
    """Calls a function for every record that user space put into a user ring buffer. (helper 209, Linux 6.1)"""
    return _call(s64, 209, map, callback_fn, ctx, flags)


def cgrp_storage_get(
    kind: type[S], map: Map, cgroup: Memory | None, value: Memory | None, flags: u64 | int
) -> S | None:
    """The storage that a map keeps with a cgroup, made if asked for. (helper 210, Linux 6.2)"""
    return _pointed(kind, int(_call(u64, 210, map, cgroup, value, flags)))  # type: ignore[no-any-return]


def cgrp_storage_delete(map: Map, cgroup: Memory | None) -> s64:
    """Removes the storage that a map keeps with a cgroup. (helper 211, Linux 6.2)"""
    return _call(s64, 211, map, cgroup)
