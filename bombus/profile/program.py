"""The BPF program of a profile, as assembly: a filter, then a counter for each stack.

It is assembled here when it is needed, so that no compiler is. Terms of a filter that only struct perf_sample_data has
are read through the kernel's BTF and the kfunc bpf_cast_to_kern_ctx (Linux 6.2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bombus.asm import assemble
from bombus.asm.model import R_BPF_64_32
from bombus.btf.types import Kind
from bombus.errors import NotSupported
from bombus.isa.insn import Insn
from bombus.isa.opcodes import BPF_PSEUDO_KFUNC_CALL, BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE
from bombus.profile.filter import Filter, snoop_text
from bombus.spec.samples import Term

if TYPE_CHECKING:
    from bombus.btf.parse import Btf

CAST = "bpf_cast_to_kern_ctx"
# Key of the counters: u32 process, u32 thread, s32 user stack, s32 kernel stack, char comm[16]
KEY_SIZE = 32
# Totals: u64 samples, u64 lost (no room for their counter), u64 refused by the filter
TOTALS_SIZE = 24

# A stack whose place in the first map another one has (-EEXIST) goes into the second; ids there begin here.
MORE = 1 << 20


def _stack_id(label: str, flags: int, offset: int) -> str:
    """Assembly: *(u32 *)(r10 - offset) = the id of the stack."""
    return f"""
    r1 = r6
    r2 = stacks ll
    r3 = {flags}
    call bpf_get_stackid
    if r0 != -17 goto {label}
    r1 = r6
    r2 = more_stacks ll
    r3 = {flags}
    call bpf_get_stackid
    if r0 s< 0 goto {label}
    r0 += {MORE}
{label}:
    *(u32 *)(r10 - {offset}) = r0
"""


_COUNT = f"""
    r1 = totals ll
    r2 = 1
    lock *(u64 *)(r1 + 0) += r2
    call bpf_get_current_pid_tgid
    *(u32 *)(r10 - 28) = r0
    r0 >>= 32
    *(u32 *)(r10 - 32) = r0
    r1 = r10
    r1 += -16
    r2 = 16
    call bpf_get_current_comm
{_stack_id("user", 0x100, 24)}
{_stack_id("kernel", 0, 20)}
    r1 = counts ll
    r2 = r10
    r2 += -32
    call bpf_map_lookup_elem
    if r0 != 0 goto known
    *(u64 *)(r10 - 40) = 1
    r1 = counts ll
    r2 = r10
    r2 += -32
    r3 = r10
    r3 += -40
    r4 = 1
    call bpf_map_update_elem
    if r0 == 0 goto done
    r1 = counts ll
    r2 = r10
    r2 += -32
    call bpf_map_lookup_elem
    if r0 != 0 goto known
    r1 = totals ll
    r2 = 1
    lock *(u64 *)(r1 + 8) += r2
    goto done
known:
    r2 = 1
    lock *(u64 *)(r0 + 0) += r2
done:
    r0 = 0
    exit
"""
_REFUSED = """
refused:
    r1 = totals ll
    r2 = 1
    lock *(u64 *)(r1 + 16) += r2
    r0 = 0
    exit
"""


@dataclass(frozen=True, slots=True)
class SampleData:
    """Where this kernel keeps what filters read. offsets: of members of struct perf_sample_data in bytes."""

    cast: int
    data: int
    flags: int
    offsets: Mapping[str, int]

    @classmethod
    def of(cls, btf: Btf, paths: set[str]) -> SampleData:
        """NotSupported when the kernel is too old or does not have a member."""
        cast = btf.find(CAST, Kind.FUNC)
        sample = btf.find("perf_sample_data", Kind.STRUCT)
        context = btf.find("bpf_perf_event_data_kern", Kind.STRUCT)
        if cast is None or sample is None or context is None:
            raise NotSupported("filtering by data of the sample", f"{CAST} came with Linux 6.2")
        offsets: dict[str, int] = {}
        for path in paths:
            head = path.partition(".")[0]
            if btf.member(sample, head) is None:
                raise NotSupported(f"filtering by {head}", "this kernel's struct perf_sample_data does not have it")
            offsets[path] = btf.field(sample, path).offset // 8
        if btf.member(sample, "sample_flags") is None:
            raise NotSupported("filtering by data of the sample", "struct perf_sample_data has no sample_flags")
        return cls(cast, btf.field(context, "data").offset // 8, btf.field(sample, "sample_flags").offset // 8, offsets)


Load = Callable[[Term, int], list[str]]


def filter_text(filter_: Filter, load: Load, refused: str = "refused") -> list[str]:
    """Assembly that goes to `refused` unless the filter holds, and on after it otherwise.

    load(term, number): lines that put a term's value into r2; they may use r0 to r5, and `number` for labels.
    """
    lines: list[str] = []
    number = 0
    for index, group in enumerate(filter_.groups):
        for condition in group:
            lines += load(condition.term, number)
            number += 1
            lines += [f"r3 = {condition.value} ll", f"if r2 {condition.operator} r3 goto group{index}"]
        lines += [f"goto {refused}", f"group{index}:"]
    return lines


def _loader(data: SampleData | None) -> Load:
    def load(term: Term, number: int) -> list[str]:
        if term.source == "helper":
            lines = [f"call bpf_{term.path}", "r2 = r0"]
        else:
            assert data is not None
            # Zero unless the kernel filled it.
            lines = [
                "r2 = 0", f"r3 = *(u64 *)(r8 + {data.flags})", f"if r3 & {term.sample:#x} goto there{number}",
                f"goto have{number}", f"there{number}:", f"r2 = *(u64 *)(r8 + {data.offsets[term.path]})",
                f"have{number}:",
            ]  # fmt: skip
        if term.name == "mem_snoop":
            return lines + snoop_text("r2", "r3")
        if term.shift:
            lines.append(f"r2 >>= {term.shift}")
        if term.bits and term.shift + term.bits < 64:
            lines += [f"r2 <<= {64 - term.bits}", f"r2 >>= {64 - term.bits}"]
        return lines

    return load


def program_text(filter_: Filter | None, data: SampleData | None = None) -> str:
    """The whole program. data: needed when the filter has terms of source "data"."""
    lines = ["sample:", "r6 = r1"]
    if filter_ is not None:
        if any(term.source == "data" for term in filter_.terms()):
            assert data is not None
            lines += ["r1 = r6", f"call {CAST}", f"r8 = *(u64 *)(r0 + {data.data})"]
        lines += filter_text(filter_, _loader(data))
    return "\n".join(lines) + "\n" + _COUNT + (_REFUSED if filter_ is not None else "")


def assembled(text: str, maps: Mapping[str, tuple[int, bool]], kfuncs: Mapping[str, int] | None = None) -> list[Insn]:
    """Instructions with maps put in. maps: name to (descriptor, whether its value's address is meant)."""
    made = assemble(text)
    insns = list(made.insns)
    for relocation in made.relocations:
        at = relocation.offset // 8
        if relocation.type == R_BPF_64_32:
            insns[at] = insns[at]._replace(src=BPF_PSEUDO_KFUNC_CALL, imm=(kfuncs or {})[relocation.symbol])
            continue
        fd, value = maps[relocation.symbol]
        insns[at] = insns[at]._replace(src=BPF_PSEUDO_MAP_VALUE if value else BPF_PSEUDO_MAP_FD, imm=fd)
    return insns
