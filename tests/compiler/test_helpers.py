"""Every helper of spec can be called from the dialect: its binding makes the call instruction with its number, and
Linux loads a program that calls it with arguments that it takes."""

from __future__ import annotations

import errno
from functools import cache

import pytest
from helper_programs import CASES, STRUCT_OPS, TOP, text_of

from bombus.compiler.bindings import class_name
from bombus.compiler.build import build_source, module_text
from bombus.compiler.codegen import CODEGEN
from bombus.compiler.importing import import_source
from bombus.compiler.prototypes import INTS, argument_kinds, parameters, result_kind
from bombus.errors import LoadError, ObjectError
from bombus.isa import opcodes as op
from bombus.kernel.api import Kernel
from bombus.kernel.user.kernel import UserKernel
from bombus.loader.load import load
from bombus.object.model import Object
from bombus.object.read import read_object
from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.spec.helpers import HELPER, HELPERS, Helper, allowed
from bombus.spec.progtypes import PROG_TYPE
from bombus.spec.sections import SECTIONS, Section


def section_of(row: Helper) -> Section:
    for section in SECTIONS:
        kind = PROG_TYPE[section.prog_type]
        attach = ATTACH_TYPE[section.attach_type].id if section.attach_type else 0
        if allowed(row.name, kind.id, attach):
            return section
    raise AssertionError(f"no program may call {row.name}")


def context_of(section: Section) -> str:
    ctx = PROG_TYPE[section.prog_type].ctx
    return f"contexts.{class_name(ctx)}" if ctx and ctx != "u64" else "Memory"


def call_of(row: Helper) -> str:
    args = ["Memory"] if result_kind(row) == "pointer" else []
    for (_name, c_type), kind in zip(parameters(row), argument_kinds(row), strict=True):
        if c_type in INTS:
            args.append(f"{INTS[c_type]}(1)")
        elif kind.startswith("ARG_CONST_MAP_PTR") or c_type == "struct bpf_map *":
            args.append("table")
        elif kind.startswith("ARG_PTR_TO_FUNC"):
            args.append("call_back")
        elif kind.startswith("ARG_PTR_TO_CTX"):
            args.append("ctx")
        else:
            args.append("memory")
    return f"helpers.{row.name}({', '.join(args)})"


def program(row: Helper) -> str:
    if row.name in CASES:
        return text_of(row.name, row.id)
    section = section_of(row)
    name = section.base + ("/x" if section.name.endswith("+") else "")
    return f'''
@section("{name}")
def call_{row.id}(ctx: {context_of(section)}) -> int:
    memory = Memory()
    {call_of(row)}
    return 0
'''


# Helpers that Linux does not load here, and why. "refused": programs of this kind get EPERM without a log where the
# kernel has no trampolines for them.
NOT_HERE = {
    **dict.fromkeys(("inode_storage_get", "inode_storage_delete", "ima_inode_hash", "ima_file_hash", "bprm_opts_set",
                     "get_func_arg", "get_func_ret", "get_func_arg_cnt", "xdp_output"), "refused"),
    **dict.fromkeys(("rc_repeat", "rc_keydown", "rc_pointer_rel"), "the kernel may be without CONFIG_BPF_LIRC_MODE2"),
    "override_return": "the kernel may be without CONFIG_BPF_KPROBE_OVERRIDE",
    "probe_write_user": "lockdown or the kernel's policy may forbid it",
}


@cache
def built() -> Object:
    text = TOP + "\n".join(program(row) for row in HELPERS if row.name != "tcp_send_ack")
    return read_object(build_source(text, "helpers.py"), name="helpers")


@cache
def operations() -> Object:
    return read_object(build_source(STRUCT_OPS, "operations.py"), name="operations")


@cache
def calls() -> dict[str, set[int]]:
    return {
        spec.name: {insn.imm for insn in spec.function.insns if insn.opcode == op.CALL and insn.src == 0}
        for obj in (built(), operations()) for spec in obj.programs
    }


@pytest.mark.parametrize("row", HELPERS, ids=lambda row: row.name)
def test_helper_is_called(row: Helper) -> None:
    assert row.id in calls()[f"call_{row.id}"]


def test_linux_loads(linux_kernel: Kernel) -> None:
    """All at once; which it was stands in the error's note."""
    names = [f"call_{row.id}" for row in HELPERS if row.name not in (*NOT_HERE, "tcp_send_ack")]
    with load(built(), linux_kernel, programs=names) as loaded:
        assert len(loaded.programs) == len(names) >= 196


def test_linux_loads_struct_ops(linux_kernel: Kernel) -> None:
    with load(operations(), linux_kernel) as loaded:
        assert loaded.programs


@pytest.mark.parametrize("name", NOT_HERE)
def test_linux_loads_it_or_says_why_not(name: str, linux_kernel: Kernel) -> None:
    row = HELPER[name]
    try:
        load(built(), linux_kernel, programs=[f"call_{row.id}"]).close()
    except (LoadError, ObjectError) as error:
        if NOT_HERE[name] == "refused":
            assert isinstance(error, LoadError)
            assert (error.errno, error.log) == (errno.EPERM, "")
        pytest.skip("programs of this kind are refused here" if NOT_HERE[name] == "refused" else NOT_HERE[name])


def test_reasons_are_for_helpers() -> None:
    assert set(NOT_HERE) | set(CASES) <= set(HELPER)


ROUNDS = """
from __future__ import annotations
from bombus.bpf import Struct, helpers, s64, u32, u64, xdp
class Work(Struct):
    sum: u64
class Data(Struct):
    number: u64
    other: u64
def each(index: u32, work: Work) -> s64:
    work.sum += u64(index) + 1
    return s64(0)
@xdp
def f(ctx: xdp.Context) -> xdp.Action:
    data = ctx.parse(Data)
    if data is None:
        return xdp.ABORTED
    work = Work()
    helpers.loop(u32(data.number >> 13) % 7, each, work, 0)
    return xdp.Action(u32(work.sum))
"""


@pytest.mark.parametrize("cpu", ["v1", "v2", "v3", "v4"])
def test_numbers_for_helpers_have_no_more_bits(cpu: str, kernel: Kernel) -> None:
    """Linux puts code in place of bpf_loop, which looks at a whole register."""
    number = 0x591DA3DD3BED3040
    rounds = (number >> 13 & 0xFFFF_FFFF) % 7
    with load(read_object(build_source(ROUNDS, "rounds.py", cpu=cpu)), kernel) as loaded:
        verdict = loaded.programs["f"].test_run(number.to_bytes(8, "little") + bytes(56)).retval
    assert verdict == rounds * (rounds + 1) // 2 > 0


def test_numbers_with_more_bits_are_as_in_linux(linux_kernel: Kernel) -> None:
    """What a compiler may leave in the upper half of a register before cpu v3: bpf_loop finds the number too large."""
    call = "helpers.loop(u32(data.number >> 13) % 7, each, work, 0)"
    source = ROUNDS.replace(call, f"work.sum += u64({call})")
    text = module_text(import_source(source, "rounds.py"), cpu="v1").replace("zeroext ", "")
    obj = read_object(CODEGEN.compile(text, cpu="v1"))
    packet = (0x591DA3DD3BED3040).to_bytes(8, "little") + bytes(56)
    engines = [UserKernel(version="6.12", engine=engine) for engine in ("fast", "reference", "native")]
    verdicts = []
    for kernel in (linux_kernel, *engines):
        with load(obj, kernel) as loaded:
            verdicts.append(loaded.programs["f"].test_run(packet).retval)
    assert verdicts == [-errno.E2BIG & 0xFFFF_FFFF] * 4
