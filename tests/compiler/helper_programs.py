"""For helpers that take more than numbers and plain memory: a program that calls each with arguments that it takes.

`CASES` has (section, context type, lines of the body before its last return).
"""

from __future__ import annotations

TOP = '''\
from __future__ import annotations

from bombus import bpf
from bombus.bpf import (
    Array, Pointer, Ref, SpinLock, Struct, Timer, array, be16, be32, contexts, helpers, map, s32, s64, section, u8, u16,
    u32, u64,
)

LICENSE = bpf.license("GPL")
table = map.array(u32, u64, max_entries=1)
percpu = map.percpu_array(u32, u64, max_entries=1)
jumps = map.prog_array(max_entries=1)
perf = map.perf_event_array()
groups = map.cgroup_array(max_entries=1)
queue = map.queue(u64, max_entries=4)
ring = map.ringbuf(max_entries=4096)
commands = map.user_ringbuf(max_entries=4096)
stacks = map.stack_trace(max_entries=8)
devices = map.devmap(max_entries=4)
socks = map.sockmap(max_entries=4)
hashed = map.sockhash(u32, max_entries=4)
reuse = map.reuseport_array(max_entries=4)
local = map.cgroup_local_storage(u64)
NOWHERE = u64(u32.MAX << 32 | u32.MAX)


class Memory(Struct):
    room: Array[u64] = array(8)


class Words(Struct):
    args: Array[u64] = array(8)


class Locked(Struct):
    lock: SpinLock
    value: u64


class Clock(Struct):
    timer: Timer
    count: u64


class Value(Struct):
    number: u64


class Kept(Struct):
    last: bpf.Kptr[Value]
    each: bpf.PercpuKptr[Value]


kept = map.array(u32, Kept, max_entries=1)


class Dynptr(Struct, name="bpf_dynptr"):
    room: Array[u64] = array(2)


class Ports(Struct):
    source: be32
    destination: be32
    source_port: be16
    destination_port: be16


class Fib(Struct):
    room: Array[u64] = array(8)


class Header(Struct):
    room: Array[u8] = array(20)


class task_struct(Struct, core=True):
    pid: s32


class cgroup(Struct, core=True):
    level: s32


class css_set(Struct, core=True):
    dfl_cgrp: Pointer[cgroup]


class task_with_groups(Struct, core=True, name="task_struct"):
    cgroups: Pointer[css_set]


class tcp6_sock(Struct, core=True):
    srtt_us: u32


class tcp_sock(Struct, core=True):
    srtt_us: u32


class tcp_timewait_sock(Struct, core=True):
    tw_rcv_nxt: u32


class tcp_request_sock(Struct, core=True):
    rcv_isn: u32


class udp6_sock(Struct, core=True):
    pass_: u32


class unix_sock(Struct, core=True):
    inq_len: s32


class mptcp_sock(Struct, core=True):
    token: u32


class sk_buff(Struct, core=True):
    len: u32


class socket(Struct, core=True):
    flags: u64


class path(Struct, core=True):
    dentry: u64


class inode(Struct, core=True):
    i_mode: u16


class file(Struct, core=True):
    f_flags: u32
    f_path: path
    f_inode: Pointer[inode]


class linux_binprm(Struct, core=True):
    argc: s32


class Open(Struct):
    file: Pointer[file]


class xdp_buff(Struct, core=True):
    frame_sz: u32


class Redirect(Struct):
    device: u64
    buff: Pointer[xdp_buff]


class Exec(Struct):
    bprm: Pointer[linux_binprm]


class vm_area_struct(Struct, core=True):
    vm_start: u64


class seq_file(Struct, core=True):
    size: u64


class bpf_iter_meta(Struct, core=True):
    seq: Pointer[seq_file]


class bpf_iter__task(Struct):
    meta: Pointer[bpf_iter_meta]
    task: Pointer[task_struct]


class bpf_iter__task_file(Struct):
    meta: Pointer[bpf_iter_meta]
    task: Pointer[task_struct]
    fd: u32
    pad: u32
    file: Pointer[file]


class Free(Struct):
    skb: Pointer[sk_buff]


class pt_regs(Struct, core=True):
    ip: u64


class BtfPointer(Struct, name="btf_ptr"):
    ptr: u64
    type_id: u32
    flags: u32


locks = map.array(u32, Locked, max_entries=1)
clocks = map.array(u32, Clock, max_entries=1)
socket_values = map.sk_storage(Value)
task_values = map.task_storage(Value)
inodes = map.inode_storage(Value)
group_values = map.cgroup_storage(Value)
words = bpf.config(Memory)


def call_back(index: u32, room: Memory) -> s64:
    return s64(0)


def tick(_map: u64, key: Ref[u32], clock: Clock) -> s64:
    return s64(0)


def area(task: task_struct, vma: vm_area_struct, room: Memory) -> s64:
    return s64(0)


def drained(dynptr: Dynptr, room: Memory) -> s64:
    return s64(0)


'''
Case = tuple[str, str, str]
_SOCK = """\
ports = Ports()
sock = helpers.sk_lookup_tcp(ctx, ports, 12, NOWHERE, 0)
if sock is None:
    return 0
{}
helpers.sk_release(sock)
"""
_TASK = "task = helpers.get_current_task_btf(task_struct)\n"
_CLOCK = "clock = clocks.lookup(0)\nif clock is None:\n    return 0\n"
_RESERVED = """\
event = helpers.ringbuf_reserve(Value, ring, 8, 0)
if event is None:
    return 0
"""
_DYNPTR = "dynptr = Dynptr()\nhelpers.ringbuf_reserve_dynptr(ring, 16, 0, dynptr)\n"
_FREE = "helpers.ringbuf_discard_dynptr(dynptr, 0)\n"
_SEQ = "meta = ctx.meta\nif meta is None:\n    return 0\nseq = meta.seq\nif seq is None:\n    return 0\n"
_GROUP = """\
task = helpers.get_current_task_btf(task_with_groups)
css = task.cgroups
if css is None:
    return 0
group = css.dfl_cgrp
if group is None:
    return 0
"""
_INODE = "item = ctx.file\nif item is None:\n    return 0\ninode = item.f_inode\nif inode is None:\n    return 0\n"
_TC = ("tc", "contexts.Skb")


def _sock(text: str) -> Case:
    return (*_TC, _SOCK.format(text))


def _tp(text: str) -> Case:
    return "raw_tp/sys_enter", "Words", text


def _skc(kind: str) -> Case:
    return _sock(f"helpers.skc_to_{kind}({kind}, sock)")


_KEPT = "row = kept.lookup(0)\nif row is None:\n    return 0\n"
CASES: dict[str, Case] = {
    "trace_printk": ("socket", "contexts.Skb", 'bpf.printk("text")'),
    "trace_vprintk": ("socket", "contexts.Skb", 'bpf.printk(f"{u32(1)} {u32(2)} {u32(3)} {u32(4)}")'),
    "tail_call": ("socket", "contexts.Skb", "jumps.tail_call(ctx, 0)"),
    "perf_event_read": _tp("helpers.perf_event_read(perf, 0)"),
    "perf_event_output": _tp("memory = Memory()\nhelpers.perf_event_output(ctx, perf, u64(u32.MAX), memory, 8)"),
    "current_task_under_cgroup": _tp("helpers.current_task_under_cgroup(groups, 0)"),
    "perf_event_read_value": _tp("memory = Memory()\nhelpers.perf_event_read_value(perf, 0, memory, 24)"),
    "map_push_elem": _tp("value = Value()\nhelpers.map_push_elem(queue, value, 0)"),
    "map_pop_elem": _tp("value = Value()\nhelpers.map_pop_elem(queue, value)"),
    "map_peek_elem": _tp("value = Value()\nhelpers.map_peek_elem(queue, value)"),
    "spin_lock": (*_TC, "row = locks.lookup(0)\nif row is None:\n    return 0\nhelpers.spin_lock(row.lock)\n"
                  "row.value += 1\nhelpers.spin_unlock(row.lock)"),
    "ringbuf_output": _tp("memory = Memory()\nhelpers.ringbuf_output(ring, memory, 8, 0)"),
    "ringbuf_reserve": _tp(_RESERVED + "helpers.ringbuf_submit(event, 0)"),
    "ringbuf_discard": _tp(_RESERVED + "helpers.ringbuf_discard(event, 0)"),
    "ringbuf_query": _tp("helpers.ringbuf_query(ring, 0)"),
    "skc_to_tcp6_sock": _skc("tcp6_sock"),
    "skc_to_tcp_sock": _skc("tcp_sock"),
    "skc_to_tcp_timewait_sock": _skc("tcp_timewait_sock"),
    "skc_to_tcp_request_sock": _skc("tcp_request_sock"),
    "skc_to_udp6_sock": _skc("udp6_sock"),
    "skc_to_unix_sock": _skc("unix_sock"),
    "skc_to_mptcp_sock": _skc("mptcp_sock"),
    "get_task_stack": _tp(_TASK + "memory = Memory()\nhelpers.get_task_stack(task, memory, 64, 0)"),
    "copy_from_user": ("syscall", "Words", "memory = Memory()\nhelpers.copy_from_user(memory, 8, ctx.args[0])"),
    "copy_from_user_task": ("syscall", "Words", _TASK + "memory = Memory()\n"
                            "helpers.copy_from_user_task(memory, 8, ctx.args[0], task, 0)"),
    "task_storage_get": _tp(_TASK + "helpers.task_storage_get(Value, task_values, task, None, 0)"),
    "task_storage_delete": _tp(_TASK + "helpers.task_storage_delete(task_values, task)"),
    "snprintf": _tp('memory = Memory()\nhelpers.snprintf(memory, 16, words, None, 0)'),
    "strncmp": _tp("memory = Memory()\nhelpers.strncmp(memory, 8, words)"),
    "timer_init": (*_TC, _CLOCK + "helpers.timer_init(clock.timer, clocks, 1)"),
    "timer_set_callback": (*_TC, _CLOCK + "helpers.timer_init(clock.timer, clocks, 1)\n"
                           "helpers.timer_set_callback(clock.timer, tick)"),
    "timer_start": (*_TC, _CLOCK + "helpers.timer_start(clock.timer, 1, 0)"),
    "timer_cancel": (*_TC, _CLOCK + "helpers.timer_cancel(clock.timer)"),
    "task_pt_regs": _tp(_TASK + "helpers.task_pt_regs(task)"),
    "find_vma": _tp(_TASK + "memory = Memory()\nhelpers.find_vma(task, 0, area, memory, 0)"),
    "map_lookup_percpu_elem": _tp("key = bpf.local(u32(0))\nhelpers.map_lookup_percpu_elem(Value, percpu, key, 0)"),
    "dynptr_from_mem": _tp("row = table.lookup(0)\nif row is None:\n    return 0\ndynptr = Dynptr()\n"
                           "helpers.dynptr_from_mem(row, 8, 0, dynptr)"),
    "ringbuf_reserve_dynptr": _tp(_DYNPTR + _FREE),
    "ringbuf_submit_dynptr": _tp(_DYNPTR + "helpers.ringbuf_submit_dynptr(dynptr, 0)"),
    "ringbuf_discard_dynptr": _tp(_DYNPTR + _FREE),
    "dynptr_read": _tp(_DYNPTR + "memory = Memory()\nhelpers.dynptr_read(memory, 8, dynptr, 0, 0)\n" + _FREE),
    "dynptr_write": _tp(_DYNPTR + "memory = Memory()\nhelpers.dynptr_write(dynptr, 0, memory, 8, 0)\n" + _FREE),
    "dynptr_data": _tp(_DYNPTR + "helpers.dynptr_data(Value, dynptr, 0, 8)\n" + _FREE),
    "user_ringbuf_drain": _tp("memory = Memory()\nhelpers.user_ringbuf_drain(commands, drained, memory, 0)"),
    "cgrp_storage_get": _tp(_GROUP + "helpers.cgrp_storage_get(Value, group_values, group, None, 0)"),
    "cgrp_storage_delete": _tp(_GROUP + "helpers.cgrp_storage_delete(group_values, group)"),
    "get_stackid": _tp("helpers.get_stackid(ctx, stacks, 0)"),
    "skb_under_cgroup": (*_TC, "helpers.skb_under_cgroup(ctx, groups, 0)"),
    "sk_lookup_tcp": _sock(""),
    "sk_release": _sock(""),
    "sk_lookup_udp": (*_TC, _SOCK.replace("sk_lookup_tcp", "sk_lookup_udp").format("")),
    "skc_lookup_tcp": (*_TC, _SOCK.replace("sk_lookup_tcp", "skc_lookup_tcp").format("")),
    "sk_fullsock": _sock("helpers.sk_fullsock(sock)"),
    "tcp_sock": _sock("helpers.tcp_sock(sock)"),
    "get_listener_sock": _sock("helpers.get_listener_sock(sock)"),
    "tcp_check_syncookie": _sock("head = Header()\nhelpers.tcp_check_syncookie(sock, head, 20, head, 20)"),
    "tcp_gen_syncookie": _sock("head = Header()\nhelpers.tcp_gen_syncookie(sock, head, 20, head, 20)"),
    "sk_storage_get": _sock("full = helpers.sk_fullsock(sock)\nif full is not None:\n"
                            "    helpers.sk_storage_get(Value, socket_values, full, None, 1)"),
    "sk_storage_delete": _sock("full = helpers.sk_fullsock(sock)\nif full is not None:\n"
                               "    helpers.sk_storage_delete(socket_values, full)"),
    "sk_assign": ("tc/ingress", "contexts.Skb", _SOCK.format("helpers.sk_assign(ctx, sock, 0)")),
    "redirect_map": ("xdp", "contexts.XdpMd", "helpers.redirect_map(devices, 0, 0)"),
    "setsockopt": ("sockops", "contexts.BpfSockOps", "memory = Memory()\nhelpers.setsockopt(ctx, 1, 2, memory, 4)"),
    "getsockopt": ("sockops", "contexts.BpfSockOps", "memory = Memory()\nhelpers.getsockopt(ctx, 6, 13, memory, 4)"),
    "get_retval": ("cgroup/setsockopt", "contexts.BpfSockopt", "helpers.get_retval()"),
    "set_retval": ("cgroup/setsockopt", "contexts.BpfSockopt", "helpers.set_retval(-1)"),
    "sk_redirect_map": ("sk_skb/stream_verdict", "contexts.Skb", "helpers.sk_redirect_map(ctx, socks, 0, 0)"),
    "sk_redirect_hash": ("sk_skb/stream_verdict", "contexts.Skb",
                         "key = bpf.local(u32(0))\nhelpers.sk_redirect_hash(ctx, hashed, key, 0)"),
    "sock_map_update": ("sockops", "contexts.BpfSockOps",
                        "key = bpf.local(u32(0))\nhelpers.sock_map_update(ctx, socks, key, 0)"),
    "sock_hash_update": ("sockops", "contexts.BpfSockOps",
                         "key = bpf.local(u32(0))\nhelpers.sock_hash_update(ctx, hashed, key, 0)"),
    "msg_redirect_map": ("sk_msg", "contexts.SkMsgMd", "helpers.msg_redirect_map(ctx, socks, 0, 0)"),
    "msg_redirect_hash": ("sk_msg", "contexts.SkMsgMd",
                          "key = bpf.local(u32(0))\nhelpers.msg_redirect_hash(ctx, hashed, key, 0)"),
    "sk_select_reuseport": ("sk_reuseport", "contexts.SkReuseportMd",
                            "key = bpf.local(u32(0))\nhelpers.sk_select_reuseport(ctx, reuse, key, 0)"),
    "skb_output": ("tp_btf/kfree_skb", "Free", "skb = ctx.skb\nif skb is None:\n    return 0\nvalue = Value()\n"
                   "helpers.skb_output(skb, perf, u64(u32.MAX), value, 8)"),
    "sock_from_file": ("iter/task_file", "bpf_iter__task_file",
                       "item = ctx.file\nif item is None:\n    return 0\nhelpers.sock_from_file(socket, item)"),
    "seq_printf": ("iter/task", "bpf_iter__task", _SEQ + "helpers.seq_printf(seq, words, 8, None, 0)"),
    "seq_write": ("iter/task", "bpf_iter__task", _SEQ + "value = Value()\nhelpers.seq_write(seq, value, 8)"),
    "seq_printf_btf": ("iter/task", "bpf_iter__task",
                       _SEQ + "pointer = BtfPointer()\nhelpers.seq_printf_btf(seq, pointer, 16, 0)"),
    "sk_cgroup_id": ("cgroup_skb/egress", "contexts.Skb", _SOCK.format(
        "full = helpers.sk_fullsock(sock)\nif full is not None:\n    helpers.sk_cgroup_id(full)")),
    "sk_ancestor_cgroup_id": ("cgroup_skb/egress", "contexts.Skb", _SOCK.format(
        "full = helpers.sk_fullsock(sock)\nif full is not None:\n    helpers.sk_ancestor_cgroup_id(full, 1)")),
    "d_path": ("iter/task_file", "bpf_iter__task_file", "item = ctx.file\nif item is None:\n    return 0\n"
               "memory = Memory()\nhelpers.d_path(item.f_path, memory, 64)"),
    "inode_storage_get": ("lsm/file_open", "Open", _INODE + "helpers.inode_storage_get(Value, inodes, inode, None, 0)"),
    "inode_storage_delete": ("lsm/file_open", "Open", _INODE + "helpers.inode_storage_delete(inodes, inode)"),
    "ima_inode_hash": ("lsm.s/file_open", "Open", _INODE + "memory = Memory()\n"
                       "helpers.ima_inode_hash(inode, memory, 64)"),
    "ima_file_hash": ("lsm.s/file_open", "Open", "item = ctx.file\nif item is None:\n    return 0\n"
                      "memory = Memory()\nhelpers.ima_file_hash(item, memory, 64)"),
    "bprm_opts_set": ("lsm/bprm_creds_for_exec", "Exec", "bprm = ctx.bprm\nif bprm is None:\n    return 0\n"
                      "helpers.bprm_opts_set(bprm, 1)"),
    "get_func_arg": ("fentry/vfs_read", "Words", "value = bpf.local(u64(0))\nhelpers.get_func_arg(ctx, 0, value)"),
    "get_func_ret": ("fexit/vfs_read", "Words", "value = bpf.local(u64(0))\nhelpers.get_func_ret(ctx, value)"),
    "get_func_arg_cnt": ("fentry/vfs_read", "Words", "helpers.get_func_arg_cnt(ctx)"),
    "get_local_storage": ("cgroup_skb/egress", "contexts.Skb", "local.get().value += 1"),
    "kptr_xchg": (*_TC, _KEPT + "old = row.last.exchange(None)\nif old is not None:\n    bpf.drop(old)"),
    "this_cpu_ptr": (*_TC, _KEPT + "each = row.each.get()\nif each is not None:\n    bpf.this_cpu(each).number += 1"),
    "per_cpu_ptr": (*_TC, _KEPT + "each = row.each.get()\nif each is not None:\n    mine = bpf.per_cpu(each, 0)\n"
                    "    if mine is not None:\n        mine.number += 1"),
    "xdp_output": ("fentry/xdp_do_redirect", "Redirect", "buff = ctx.buff\nif buff is None:\n    return 0\n"
                   "value = Value()\nhelpers.xdp_output(buff, perf, u64(u32.MAX), value, 8)"),
    "xdp_get_buff_len": ("xdp", "contexts.XdpMd", "helpers.xdp_get_buff_len(ctx)"),
}  # fmt: skip
CASES["spin_unlock"] = CASES["spin_lock"]
CASES["ringbuf_submit"] = CASES["ringbuf_reserve"]


def text_of(name: str, number: int) -> str:
    """The program for a helper of CASES."""
    kind, context, body = CASES[name]
    lines = [f"    {line}" for line in body.splitlines() if line]
    head = [f'@section("{kind}")', f"def call_{number}(ctx: {context}) -> int:"]
    return "\n".join([*head, *lines, f"    return {1 if 'cgroup' in kind or kind == 'sk_reuseport' else 0}", "", ""])


# tcp_send_ack is for congestion control alone.
STRUCT_OPS = '''\
from __future__ import annotations

from bombus import bpf
from bombus.bpf import Array, Struct, array, helpers, s32, struct_ops, u8, u32
from bombus.bpf.structops import Method, StructOps

LICENSE = bpf.license("GPL")


class tcp_sock(Struct, core=True):
    rcv_nxt: u32


class tcp_congestion_ops(StructOps):
    ssthresh: Method
    undo_cwnd: Method
    cong_avoid: Method
    name: Array[u8] = array(16)


@struct_ops
def call_116(sk: tcp_sock, ack: u32, acked: u32) -> None:
    helpers.tcp_send_ack(sk, sk.rcv_nxt)


@struct_ops
def threshold(sk: tcp_sock) -> u32:
    return u32(2)


@struct_ops
def undo(sk: tcp_sock) -> u32:
    return u32(2)


mine = tcp_congestion_ops(cong_avoid=call_116, ssthresh=threshold, undo_cwnd=undo, name=b"bombus_ack")
'''
