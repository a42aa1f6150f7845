"""Programs that use the kernel's types, in assembly, against the running kernel with its BTF: errno and whole logs.

Names of kernel functions and types stand in the text as {kfunc:NAME} and {type:NAME}.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from linux_loads import Answers, last, normal

from bombus.asm import assemble
from bombus.btf.parse import Btf
from bombus.btf.types import Kind
from bombus.errors import BombusError
from bombus.isa.insn import Insn, decode, encode
from bombus.kernel.api import Attr
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.btfcache import vmlinux_of
from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.spec.progtypes import PROG_TYPE
from bombus.spec.version import since
from bombus.verifier.main import verify

pytestmark = pytest.mark.linux


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    target: str  # "tp_btf/sched_switch", "iter/task", "syscall", "xdp", "tc", "raw_tp"
    text: str
    flags: int = 0


SLEEPABLE = 1 << 4
_CREATE = "r1 = r10\nr1 += -8\nr2 = 0\nr3 = 10\ncall {kfunc:bpf_iter_num_new}\n"
_DESTROY = "r1 = r10\nr1 += -8\ncall {kfunc:bpf_iter_num_destroy}\n"
_NEXT = "r1 = r10\nr1 += -8\ncall {kfunc:bpf_iter_num_next}\n"
_END = "r0 = 0\nexit\n"
_LOCK = "call {kfunc:bpf_rcu_read_lock}\n"
_UNLOCK = "call {kfunc:bpf_rcu_read_unlock}\n"
_SAVE = "r1 = r10\nr1 += -{}\ncall {{kfunc:bpf_local_irq_save}}\n"
_RESTORE = "r1 = r10\nr1 += -{}\ncall {{kfunc:bpf_local_irq_restore}}\n"
_TASK = "call bpf_get_current_task_btf\nr6 = r0\n"
_OFF = "r1 = r10\nr1 += -8\ncall {kfunc:bpf_local_irq_save}\n"
_ON = "r1 = r10\nr1 += -8\ncall {kfunc:bpf_local_irq_restore}\n"


def _second(text: str) -> str:
    """The same with another slot."""
    return text.replace("-8", "-16")


CASES = (
    Case("a task's number", "tp_btf/sched_switch", "r2 = *(u64 *)(r1 + 8)\nr0 = *(u32 *)(r2 + 100)\n" + _END),
    Case("a number before its first argument", "tp_btf/sched_switch", "r2 = *(u64 *)(r1 - 8)\n" + _END),
    Case("half an argument", "tp_btf/sched_switch", "r2 = *(u32 *)(r1 + 8)\n" + _END),
    Case("an argument that there is not", "tp_btf/sched_switch", "r2 = *(u64 *)(r1 + 40)\n" + _END),
    Case("an odd place in the context", "tp_btf/sched_switch", "r2 = *(u8 *)(r1 + 9)\n" + _END),
    Case("a store to the context", "tp_btf/sched_switch", "*(u64 *)(r1 + 0) = r1\n" + _END),
    Case("a store to a task", "tp_btf/sched_switch", "r2 = *(u64 *)(r1 + 8)\n*(u32 *)(r2 + 100) = r1\n" + _END),
    Case("a negative offset", "tp_btf/sched_switch", "r2 = *(u64 *)(r1 + 8)\nr0 = *(u32 *)(r2 - 4)\n" + _END),
    Case("a variable offset", "tp_btf/sched_switch",
         "r2 = *(u64 *)(r1 + 8)\nr3 = *(u64 *)(r1 + 0)\nr3 &= 7\nr2 += r3\nr0 = *(u8 *)(r2 + 0)\n" + _END),
    Case("far behind a struct", "tp_btf/sched_switch", "r2 = *(u64 *)(r1 + 8)\nr0 = *(u64 *)(r2 + 30000)\n" + _END),
    Case("an argument that may be null", "tp_btf/kfree_skb", "r2 = *(u64 *)(r1 + 24)\nr0 = *(u32 *)(r2 + 0)\n" + _END),
    Case("the same after a test", "tp_btf/kfree_skb",
         "r2 = *(u64 *)(r1 + 24)\nif r2 == 0 goto out\nr0 = *(u32 *)(r2 + 0)\nout:\n" + _END),
    Case("a task of an iterator", "iter/task", "r2 = *(u64 *)(r1 + 8)\nr0 = *(u32 *)(r2 + 100)\n" + _END),
    Case("the same after a test", "iter/task",
         "r2 = *(u64 *)(r1 + 8)\nif r2 == 0 goto out\nr0 = *(u32 *)(r2 + 100)\nout:\n" + _END),
    Case("the result of an iterator", "iter/task", "r0 = 2\nexit\n"),
    Case("a sleeping iterator", "iter/task", "r2 = *(u64 *)(r1 + 8)\n" + _END, SLEEPABLE),
    Case("a sleeping tracepoint", "tp_btf/sched_switch", _END, SLEEPABLE),
    Case("counting", "raw_tp", _CREATE + "again:\n" + _NEXT + "if r0 == 0 goto out\nr6 = *(u32 *)(r0 + 0)\n"
         "goto again\nout:\n" + _DESTROY + _END),
    Case("counting without an end", "raw_tp", _CREATE + "again:\n" + _NEXT + "if r0 != 0 goto again\n" + _END),
    Case("counting twice at one place", "raw_tp", _CREATE + _CREATE + _DESTROY + _END),
    Case("ending what was not begun", "raw_tp", _DESTROY + _END),
    Case("going on after the end", "raw_tp", _CREATE + _DESTROY + _NEXT + _END),
    Case("looking at the state", "raw_tp", _CREATE + "r0 = *(u64 *)(r10 - 8)\n" + _DESTROY + _END),
    Case("overwriting the state", "raw_tp", _CREATE + "*(u64 *)(r10 - 8) = 0\n" + _DESTROY + _END),
    Case("using what was not tested", "raw_tp", _CREATE + _NEXT + "r0 = *(u32 *)(r0 + 0)\n" + _DESTROY + _END),
    Case("writing to the number", "raw_tp", _CREATE + _NEXT + "if r0 == 0 goto out\n*(u32 *)(r0 + 0) = 1\nout:\n"
         + _DESTROY + _END),
    Case("an odd place for the state", "raw_tp", _CREATE.replace("-8", "-12") + _END),
    Case("a section", "tp_btf/sched_switch", _LOCK + _UNLOCK + _END),
    Case("a section in a section", "tp_btf/sched_switch", _LOCK + _LOCK + _UNLOCK + _END),
    Case("no section", "tp_btf/sched_switch", _UNLOCK + _END),
    Case("a section that does not end", "tp_btf/sched_switch", _LOCK + _END),
    Case("a parent under RCU", "syscall", _TASK + _LOCK + "r6 = *(u64 *)(r6 + {member:task_struct.real_parent})\n"
         "r0 = *(u32 *)(r6 + {member:task_struct.pid})\n" + _UNLOCK + _END, SLEEPABLE),
    Case("a parent after RCU", "syscall", _TASK + _LOCK + "r6 = *(u64 *)(r6 + {member:task_struct.real_parent})\n"
         + _UNLOCK + "r1 = r6\ncall {kfunc:bpf_task_acquire}\n" + _END, SLEEPABLE),
    Case("a reference to a task", "tp_btf/sched_switch", "r1 = *(u64 *)(r1 + 8)\ncall {kfunc:bpf_task_acquire}\n"
         "if r0 == 0 goto out\nr1 = r0\ncall {kfunc:bpf_task_release}\nout:\n" + _END),
    Case("a reference that is kept", "tp_btf/sched_switch",
         "r1 = *(u64 *)(r1 + 8)\ncall {kfunc:bpf_task_acquire}\n" + _END),
    Case("giving back what was not taken", "tp_btf/sched_switch",
         "r1 = *(u64 *)(r1 + 8)\ncall {kfunc:bpf_task_release}\n" + _END),
    Case("giving back what may be null", "tp_btf/sched_switch", "r1 = *(u64 *)(r1 + 8)\n"
         "call {kfunc:bpf_task_acquire}\nr1 = r0\ncall {kfunc:bpf_task_release}\n" + _END),
    Case("a number for a task", "tp_btf/sched_switch", "r1 = 5\ncall {kfunc:bpf_task_acquire}\n" + _END),
    Case("a cgroup for a task", "tp_btf/cgroup_mkdir", "r1 = *(u64 *)(r1 + 0)\ncall {kfunc:bpf_task_acquire}\n" + _END),
    Case("a function of others", "xdp", "call {kfunc:bpf_cpumask_create}\n" + _END),
    Case("a function that is none", "xdp", "call {kfunc:do_exit}\n" + _END),
    Case("a packet's dynptr", "tc", "r2 = 0\nr3 = r10\nr3 += -16\ncall {kfunc:bpf_dynptr_from_skb}\n"
         "r1 = r10\nr1 += -16\nr2 = 0\nr3 = r10\nr3 += -32\nr4 = 14\ncall {kfunc:bpf_dynptr_slice}\n"
         "if r0 == 0 goto out\nr0 = *(u8 *)(r0 + 13)\nout:\n" + _END),
    Case("too much of a slice", "tc", "r2 = 0\nr3 = r10\nr3 += -16\ncall {kfunc:bpf_dynptr_from_skb}\n"
         "r1 = r10\nr1 += -16\nr2 = 0\nr3 = r10\nr3 += -32\nr4 = 14\ncall {kfunc:bpf_dynptr_slice}\n"
         "if r0 == 0 goto out\nr0 = *(u16 *)(r0 + 13)\nout:\n" + _END),
    Case("a typed view of the context", "tc", "call {kfunc:bpf_cast_to_kern_ctx}\nr0 = *(u32 *)(r0 + 112)\n" + _END),
    Case("a cast for reading", "tp_btf/sched_switch", "r1 = *(u64 *)(r1 + 8)\nr2 = {type:task_struct}\n"
         "call {kfunc:bpf_rdonly_cast}\nr0 = *(u32 *)(r0 + 100)\n" + _END),
    Case("an exception", "tc", "r1 = 7\ncall {kfunc:bpf_throw}\n" + _END),
    Case("preemption", "tc", "call {kfunc:bpf_preempt_disable}\ncall {kfunc:bpf_preempt_enable}\n" + _END),
    Case("preemption stays off", "tc", "call {kfunc:bpf_preempt_disable}\n" + _END),
    Case("preemption was on", "tc", "call {kfunc:bpf_preempt_enable}\n" + _END),
    Case("interrupts", "tc", _OFF + _ON + _END),
    Case("interrupts stay off", "tc", _OFF + _END),
    Case("interrupts twice", "tc", _OFF + _second(_OFF) + _second(_ON) + _ON + _END),
    Case("interrupts in the wrong order", "tc", _OFF + _second(_OFF) + _ON + _second(_ON) + _END),
    Case("interrupts twice in one place", "tc", _OFF + _OFF + _ON + _END),
    Case("interrupts that were on", "tc", _ON + _END),
    Case("interrupts on twice", "tc", _OFF + _ON + _ON + _END),
    Case("interrupts of a number", "tc", "r1 = 5\ncall {kfunc:bpf_local_irq_save}\n" + _END),
    Case("interrupts of a value", "tc", "*(u64 *)(r10 - 8) = 0\n" + _ON + _END),
    Case("interrupts over a value", "tc", "*(u64 *)(r10 - 8) = 7\n" + _OFF + _ON + _END),
    Case("interrupts at an odd place", "tc", _OFF.replace("-8", "-12") + _END),
    Case("interrupts above the stack", "tc", _OFF.replace("-8", "8") + _END),
    Case("a look at saved interrupts", "tc", _OFF + "r6 = *(u64 *)(r10 - 8)\n" + _ON + _END),
    Case("a byte over saved interrupts", "tc", _OFF + "*(u8 *)(r10 - 3) = 0\n" + _ON + _END),
    Case("saved interrupts are lost", "tc", _OFF + "*(u64 *)(r10 - 8) = 0\n" + _END),
    Case("interrupts on one way", "tc", "r6 = *(u32 *)(r1 + 0)\nr7 = 0\nif r6 == 0 goto out\n" + _OFF
         + "r7 = 1\nout:\nif r7 == 0 goto end\n" + _ON + "end:\n" + _END),
    Case("interrupts on both ways", "tc", "r6 = *(u32 *)(r1 + 0)\nif r6 == 0 goto two\n" + _OFF + "goto out\ntwo:\n"
         + _OFF + "out:\n" + _ON + _END),
    Case("sleeping without interrupts", "syscall", _OFF + "r1 = r10\nr1 += -16\nr2 = 8\nr3 = 0\n"
         "call bpf_copy_from_user\n" + _ON + _END, SLEEPABLE),
    Case("a sleeping function without interrupts", "syscall", _TASK + _OFF + "r1 = r10\nr1 += -24\nr2 = 8\nr3 = 0\n"
         "r4 = 0\ncall {kfunc:bpf_copy_from_user_str}\n" + _ON + _END, SLEEPABLE),
    Case("an exception without interrupts", "tc", _OFF + "r1 = 7\ncall {kfunc:bpf_throw}\n" + _END),
    Case("a packet load without interrupts", "tc", "r6 = r1\n" + _OFF + "r0 = *(u8 *)skb[0]\n" + _ON + _END),
    Case("interrupts of a caller", "tc", "r1 = r10\nr1 += -8\ncall off\n" + _ON + _END
         + "off:\ncall {kfunc:bpf_local_irq_save}\n" + _END),
    Case("interrupts that a function switched off", "tc", "call off\n" + _END + "off:\n" + _OFF + _END),
    Case("a section without interrupts", "tc", _OFF + _LOCK + _ON + _UNLOCK + _END),
    Case("a loop without interrupts", "tc", "r6 = *(u32 *)(r1 + 0)\nr6 &= 7\nagain:\n" + _OFF + _ON
         + "r6 += -1\nif r6 s> 0 goto again\n" + _END),
    Case("a reference without interrupts", "tp_btf/sched_switch", "r6 = *(u64 *)(r1 + 8)\n" + _OFF + "r1 = r6\n"
         "call {kfunc:bpf_task_acquire}\nif r0 == 0 goto out\nr1 = r0\ncall {kfunc:bpf_task_release}\nout:\n"
         + _ON + _END),
    Case("the members of congestion control", "struct_ops/tcp_congestion_ops.ssthresh",
         "r2 = *(u64 *)(r1 + 0)\nr0 = *(u32 *)(r2 + 100)\n" + _END),
    Case("a store to a connection", "struct_ops/tcp_congestion_ops.ssthresh", "r2 = *(u64 *)(r1 + 0)\nr3 = 1\n"
         "*(u32 *)(r2 + {member:tcp_sock.snd_cwnd}) = r3\n" + _END),
    Case("a store beside it", "struct_ops/tcp_congestion_ops.ssthresh", "r2 = *(u64 *)(r1 + 0)\nr3 = 1\n"
         "*(u32 *)(r2 + {member:tcp_sock.rcv_nxt}) = r3\n" + _END),
    Case("flags of interrupts", "tc", _SAVE.format(8) + _RESTORE.format(8) + _END),
    Case("flags restored in the wrong order", "tc",
         _SAVE.format(8) + _SAVE.format(16) + _RESTORE.format(8) + _RESTORE.format(16) + _END),
    Case("flags that are not restored", "tc", _SAVE.format(8) + _END),
    Case("flags that were written over", "tc", _SAVE.format(8) + "*(u8 *)(r10 - 3) = 0\n" + _RESTORE.format(8) + _END),
    Case("a trap", "tc", "call {kfunc:__bpf_trap}\n" + _END),
    Case("a session's function without a session", "kprobe", "call {kfunc:bpf_session_is_return}\n" + _END),
    Case("a session's cookie", "kprobe.session", "call {kfunc:bpf_session_cookie}\n*(u64 *)(r0 + 0) = 1\n" + _END),
    Case("an iterator over tasks outside of RCU", "syscall", _TASK + "r1 = r10\nr1 += -24\nr2 = r6\nr3 = 0\n"
         "call {kfunc:bpf_iter_task_new}\n" + _END, SLEEPABLE),
    Case("a cast to a type that there is not", "tc", "r2 = -2\ncall {kfunc:bpf_rdonly_cast}\n" + _END),
    Case("a moved slice", "tc", "r2 = 0\nr3 = r10\nr3 += -16\ncall {kfunc:bpf_dynptr_from_skb}\nr1 = r10\nr1 += -16\n"
         "r2 = 0\nr3 = r10\nr3 += -32\nr4 = 14\ncall {kfunc:bpf_dynptr_slice}\nif r0 == 0 goto out\nr1 = r0\n"
         "r1 += 2\nr2 = 4\nr3 = 0\nr4 = 0\nr5 = 0\ncall bpf_csum_diff\nout:\n" + _END),
    Case("an iterator named by the frame", "raw_tp", _CREATE + "r1 = r10\ncall {kfunc:bpf_iter_num_next}\n" + _DESTROY
         + _END),
    Case("an exception in a loop", "tc", "r6 = 0\nagain:\ncall bpf_get_prandom_u32\nif r0 == 0 goto on\nr1 = 0\n"
         "call {kfunc:bpf_throw}\non:\nr6 += 1\nif r6 < 2 goto again\n" + _END),
    Case("a reference that is returned", "struct_ops/tcp_congestion_ops.release",
         "r1 = 1\ncall {kfunc:bpf_task_from_pid}\nif r0 != 0 goto out\nr0 = 0\nout:\nexit\n"),
    Case("a member that nobody may implement", "struct_ops/tcp_congestion_ops.get_info", _END),
)  # fmt: skip


@pytest.fixture(scope="module")
def answers() -> Iterator[Answers]:
    kernel = LinuxKernel()
    if not since("6.18") <= kernel.version < since("6.19"):
        pytest.skip(f"the verifier's texts are those of Linux 6.18, this is {kernel.version}")
    try:
        vmlinux_of(kernel)
    except BombusError as error:
        pytest.skip(f"no BTF: {error}")
    yield Answers(kernel)


_PLACE = re.compile(r"\{(kfunc|type|member):([\w.]+)\}")


def _filled(text: str, btf: Btf) -> list[Insn]:
    """The instructions. Calls of kernel functions are assembled as calls of helpers and then changed."""

    def value(found: re.Match[str]) -> str:
        kind, name = found[1], found[2]
        if kind == "member":
            struct, _, path = name.partition(".")
            number = btf.find(struct, Kind.STRUCT)
            assert number is not None, name
            return str(btf.field(number, path).offset // 8)
        number = btf.find(name, Kind.FUNC if kind == "kfunc" else Kind.STRUCT)
        if number is None:
            pytest.skip(f"this kernel has no {name}")
        return str(number)

    made = decode(encode(list(assemble(_PLACE.sub(value, text)).insns)))
    for i, insn in enumerate(made):
        if insn.opcode == 0x85 and insn.imm > 1000:
            made[i] = insn._replace(src=2)
    return made


def _attr(case: Case, btf: Btf) -> Attr:
    made = _filled(case.text, btf)
    kind, _, target = case.target.partition("/")
    fields = {"prog_flags": case.flags}
    names = {"tp_btf": "TRACING", "iter": "TRACING", "syscall": "SYSCALL", "xdp": "XDP", "tc": "SCHED_CLS",
             "raw_tp": "RAW_TRACEPOINT", "struct_ops": "STRUCT_OPS", "kprobe": "KPROBE",
             "kprobe.session": "KPROBE"}  # fmt: skip
    if kind == "tp_btf":
        fields |= {"expected_attach_type": ATTACH_TYPE["BPF_TRACE_RAW_TP"].id,
                   "attach_btf_id": btf.find(f"btf_trace_{target}", Kind.TYPEDEF) or 0}  # fmt: skip
    elif kind == "kprobe.session":
        fields |= {"expected_attach_type": ATTACH_TYPE["BPF_TRACE_KPROBE_SESSION"].id}
    elif kind == "iter":
        fields |= {"expected_attach_type": ATTACH_TYPE["BPF_TRACE_ITER"].id,
                   "attach_btf_id": btf.find(f"bpf_iter_{target}", Kind.FUNC) or 0}  # fmt: skip
    elif kind == "struct_ops":
        struct, _, member = target.partition(".")
        number = btf.find(struct, Kind.STRUCT)
        assert number is not None
        members = [one.name for one in btf.type(number).members]  # type: ignore[attr-defined]
        fields |= {"expected_attach_type": members.index(member), "attach_btf_id": number}
    return Attr(
        "BPF_PROG_LOAD", prog_type=PROG_TYPE[f"BPF_PROG_TYPE_{names[kind]}"].id, insn_cnt=len(made),
        insns=encode(made), license=b"GPL\0", **fields,
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.target.replace('/', ':')} {case.name}")
def test_answer_equals_the_kernels(case: Case, answers: Answers) -> None:
    answers.answers.clear()
    btf = vmlinux_of(answers.kernel)
    answers.loaded(_attr(case, btf))
    answer = answers.answers[0]
    assert (answer.errno, bool(last(answer.log))) != (1, False), "this kernel refuses such programs without a word"
    ours = verify(replace(answer.program, log_level=6))
    assert (abs(ours.errno), normal(ours.log)) == (answer.errno, normal(answer.log))
