"""Explanations of refusals that are about the kernel's types: each as the end of a log, and some as a whole one."""

from __future__ import annotations

import pytest

from bombus.verifier.explain import explain

# Message: kind, register, part of the meaning, part of what helps.
CASES: dict[str, tuple[str, int, str, str]] = {
    "invalid func unknown#195896080": ("failed-relocation", -1, "CO-RE", "bpf_core_field_exists"),
    "invalid func unknown#2002000003": ("unresolved-symbol", -1, "did not find", "address of the function"),
    "R3 invalid mem access 'trusted_ptr_or_null_'": ("null-check", 3, "R3 may be NULL", "Compare"),
    "Possibly NULL pointer passed to trusted arg0": ("null-argument", 1, "R1 may be NULL", "right before"),
    "Possibly NULL pointer passed to helper arg2": ("null-argument", 2, "R2 may be NULL", "right before"),
    "dereference of modified ptr_or_null_ ptr R2 off=16 disallowed": ("null-check", 2, "R2 may be NULL", "for NULL"),
    "R1 must be referenced or trusted": ("untrusted-argument", 1, "cannot vanish", "bpf_task_acquire"),
    "R1 must be a rcu pointer": ("untrusted-argument", 1, "RCU keeps alive", "bpf_rcu_read_lock"),
    "R2 type=untrusted_ptr_ expected=ptr_, trusted_ptr_, rcu_ptr_": ("untrusted-argument", 2, "vouch", "bpf_rcu_read"),
    "arg#1 is ptr_or_null_ expected ptr_ or socket": ("untrusted-argument", 2, "R2 is a ptr_or_null_", "NULL"),
    "arg#0 pointer type STRUCT cgroup must point to scalar, or struct with scalar":
        ("kernel-object", 1, "struct cgroup", "that the kernel gave"),
    "R2 is of type task_struct but cgroup is expected": ("other-struct", 2, "struct cgroup", "Pass a struct cgroup"),
    "kernel function bpf_ct_release args#0 expected pointer to STRUCT nf_conn but R1 has a pointer to STRUCT "
    "nf_conn___init": ("other-struct", 1, "bpf_ct_release() wants a nf_conn", "Pass a nf_conn"),
    "release kernel function bpf_task_release expects refcounted PTR_TO_BTF_ID":
        ("not-acquired", -1, "bpf_task_release() gives a reference back", "once on each path"),
    "calling kernel function bpf_dynptr_from_skb is not allowed":
        ("kfunc-not-allowed", -1, "bpf_dynptr_from_skb()", "bombus feature list bpf_dynptr_from_skb"),
    "metadata kfuncs require device-bound program": ("device-bound", -1, "network device", "device's index"),
    "access beyond the end of member comm (mend:1768) in struct task_struct with off 1752 size 17":
        ("btf-access", -1, "17 bytes at offset 1752", "sizeof"),
    "R0 cannot write into rdonly_mem": ("read-only-memory", 0, "may only be read", "bpf_dynptr_slice_rdwr"),
    "the prog does not allow writes to packet data": ("packet-read-only", -1, "may not change", "bpf_dynptr_slice()"),
    "direct access to bpf_list_node is disallowed": ("special-field", -1, "bpf_list_node", "member by member"),
    "bpf_spin_lock at off=40 must be held for bpf_list_head": ("lock-not-held", -1, "bpf_list_head", "Take that lock"),
    "arg#1 expected pointer to allocated object": ("not-owned", 2, "R2 must be an object", "once"),
    "operation on bpf_list_head expects arg#1 bpf_list_node at offset=48 in struct foo, but arg is at offset=0 in "
    "struct bar": ("node-place", -1, "struct foo by their bpf_list_node at offset 48", "&object->member"),
    "arg#1 offset=0, but expected bpf_list_node at offset=48 in struct foo": ("node-place", -1, "offset 48", "names"),
    "bpf_rb_node not found at offset=8": ("node-place", -1, "there is none at offset 8", "&value->member"),
    "local type ID argument must be in range [0, U32_MAX]": ("object-type", -1, "own BTF", "bpf_obj_new"),
    "invalid kptr access, R2 type=ptr_bar expected=ptr_foo": ("kptr-type", 2, "takes ptr_foo only", "acquired"),
    "R1 has no valid kptr": ("kptr-place", 1, "__kptr", "&value->member"),
    "tracing progs cannot use bpf_spin_lock yet": ("map-and-program", -1, "contain a bpf_spin_lock", "another map"),
    "BPF_EXIT instruction in main prog cannot be used inside bpf_preempt_disable-ed region":
        ("unbalanced", -1, "bpf_preempt_disable is in force", "counterpart"),
    "bpf_throw cannot be used inside bpf_rcu_read_lock-ed region":
        ("exception", -1, "stay in force", "before throwing"),
    "bpf_throw kfunc (insn 16) cannot be called from callback subprog 1": ("exception", -1, "callback", "throw after"),
    "expected an initialized iter_num as arg #0": ("iterator-not-begun", 1, "bpf_iter_num", "bpf_iter_num_new()"),
    "expected uninitialized iter_task as arg #0": ("iterator-in-use", 1, "in use", "bpf_iter_task_destroy()"),
    "attach to unsupported member get_info of struct tcp_congestion_ops":
        ("unsupported-member", -1, "implement get_info", "Leave the member out"),
    "kernel func bpf_iter_task_new requires RCU critical section protection":
        ("rcu-needed", -1, "bpf_iter_task_new()", "bpf_rcu_read_lock"),
    "cannot restore irq state out of order, expected id=2 acquired at insn_idx=4":
        ("irq-flags", -1, "the last saved first", "opposite"),
    "bpf_res_spin_unlock cannot be out of order": ("lock-order", -1, "last one taken", "opposite order"),
    "Acquiring the same lock again, AA deadlock detected": ("lock-order", -1, "taken once", "opposite order"),
    "map 'graph' has no valid bpf_wq": ("map-field", -1, "no bpf_wq", "__type"),
    "off 0 doesn't point to 'struct bpf_task_work' that is at 8": ("map-field", -1, "bpf_task_work", "&value->member"),
}  # fmt: skip


@pytest.mark.parametrize("message", CASES)
def test_message(message: str) -> None:
    key, register, meaning, fix = CASES[message]
    found = explain(f"{message}\nprocessed 3 insns (limit 1000000) max_states_per_insn 0 total_states 0\n")
    assert found.key == key
    assert found.register == register
    assert meaning in found.meaning
    assert fix in found.fix
    assert "{" not in found.meaning + found.fix
    assert "?" not in found.meaning


def test_the_line_before_a_general_one_says_why() -> None:
    """The kernel repeats in general terms what it said exactly: the exact line is explained, the last one is shown."""
    size = "R4 unbounded memory access, use 'var &= const' or 'if (var < const)'\n"
    found = explain(size + "arg#2 arg#3 memory, len pair leads to invalid memory access\nprocessed 7 insns\n")
    assert (found.key, found.register) == ("unbounded", 4)
    assert found.message.startswith("arg#2 arg#3 memory")
    found = explain("Possibly NULL pointer passed to trusted arg0\nCaller passes invalid args into func#1 ('f')\n")
    assert (found.key, found.register) == ("null-argument", 1)


def test_a_pointer_that_was_taken_away() -> None:
    log = (
        "0: R1=ctx() R10=fp0\n"
        "0: (85) call bpf_ringbuf_reserve#131          ; R0=ringbuf_mem(ref_obj_id=2,sz=8)\n"
        "1: (bf) r6 = r0                       ; R6=ringbuf_mem(ref_obj_id=2,sz=8)\n"
        "2: (85) call bpf_ringbuf_submit#132           ;\n"
        "3: (61) r0 = *(u32 *)(r6 +0)\n"
        "R6 invalid mem access 'scalar'\nprocessed 4 insns\n"
    )
    found = explain(log)
    assert found.key == "scalar-pointer"
    assert "was a pointer (ringbuf_mem(ref_obj_id=2,sz=8)) until something took it away" in found.meaning
