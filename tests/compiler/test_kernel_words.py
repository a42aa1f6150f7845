"""Words that need the kernel: CO-RE facts, struct_ops, exceptions, iterators, typed arguments, tags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from readings import compiled, plain

from bombus import bpf
from bombus.bpf import cgroup, tracing
from bombus.bpf import program as programs
from bombus.bpf.program import Program
from bombus.btf.parse import Btf
from bombus.btf.types import DeclTag, Kind, Struct
from bombus.compiler.build import build_file, build_source
from bombus.compiler.importing import import_source
from bombus.errors import DialectError, KernelError
from bombus.kernel.api import Kernel
from bombus.loader.load import load
from bombus.object.read import read_object
from bombus.spec.sections import SECTIONS, resolve

FOLDER = Path(__file__).parent.parent.parent / "examples" / "bpf"
TOP = """
from __future__ import annotations
from bombus import bpf
from bombus.bpf import Arguments, KernelEnum, Pointer, Ref, Struct, array, Array, bits, helpers, map, s32, s64, tp_btf
from bombus.bpf import u8, u16, u32, u64, xdp
LICENSE = bpf.license("GPL")
res = map.array(u32, u64, max_entries=8)
class Head(Struct):
    a: u8
    b: u8
class task_struct(Struct, core=True):
    pid: s32
    tgid: s32
    flags: u32
    in_execve: u32 = bits(1)
    comm: Array[u8] = array(16)
"""
PACKETS = [bytes(range(64)), b"\xff" * 64, bytes(64), bytes(range(100, 164)), bytes([7, 9]) * 32]


def both(source: str, linux: Kernel) -> list[int]:
    """Verdicts and counts, the same in plain Python and on Linux."""
    module = import_source(TOP + source, "<kernel words>")
    expected = plain(module, module.p, PACKETS)
    seen = compiled(module, module.p, PACKETS, linux)
    assert seen.verdicts == expected.verdicts
    assert seen.maps == expected.maps
    return expected.verdicts


def test_throw_ends_the_program(linux_kernel: Kernel) -> None:
    verdicts = both("""
def deep(x: u32) -> u32:
    if x > 200:
        bpf.throw(7)
    return x + 1
@bpf.noinline
def deeper(x: u32) -> u32:
    if x == 100:
        bpf.throw(u64(9))
    return x + 1
@xdp
def p(ctx: xdp.Context) -> xdp.Action:
    head = ctx.parse(Head)
    if head is None:
        return xdp.DROP
    res.update(0, u64(deep(u32(head.a)) + deeper(u32(head.a))))
    if head.b == 1:
        bpf.throw()
    return xdp.PASS
""", linux_kernel)  # fmt: skip
    assert verdicts == [0, 7, 2, 9, 2]


def test_assert_tells_what_is_there(linux_kernel: Kernel) -> None:
    verdicts = both("""
@xdp
def p(ctx: xdp.Context) -> xdp.Action:
    head = ctx.parse(Head)
    assert head is not None, "a packet"
    assert head.a < 256 - 0 or True
    res.update(0, u64(head.a))
    return xdp.TX
""".replace("    assert head.a < 256 - 0 or True\n", ""), linux_kernel)  # fmt: skip
    assert verdicts == [3] * 5


def test_assert_ends_the_program(linux_kernel: Kernel) -> None:
    source = TOP + """
@xdp
def p(ctx: xdp.Context) -> xdp.Action:
    head = ctx.parse(Head)
    assert head is not None
    assert head.a != 255, "an odd one"
    return xdp.PASS
"""
    module = import_source(source, "<assert>")
    with pytest.raises(AssertionError, match="an odd one"):
        plain(module, module.p, PACKETS)
    assert compiled(module, module.p, PACKETS, linux_kernel).verdicts == [2, 0, 2, 2, 2]


def test_iterated_loops(linux_kernel: Kernel) -> None:
    verdicts = both("""
def inner(n: u8) -> u64:
    for i in bpf.iterate(range(n)):
        if i * i > 1000:
            return u64(i)
    else:
        return u64(1000)
    return u64(2000)
@xdp
def p(ctx: xdp.Context) -> xdp.Action:
    head = ctx.parse(Head)
    if head is None:
        return xdp.DROP
    total = u64(0)
    for i in bpf.iterate(range(100_000)):
        total += u64(i)
        if total > 1 << 20:
            break
        if i % 3 == 0:
            continue
        total += 1
    else:
        total += 1000
    res.update(0, total)
    count = u64(0)
    for j in bpf.iterate(range(head.a, head.b)):
        for k in bpf.iterate(range(-3, 3)):
            if j == 8:
                res.update(1, count)
                return xdp.TX
            count += u64(k * k)
    res.update(2, count + inner(head.a))
    return xdp.PASS
""", linux_kernel)  # fmt: skip
    assert verdicts == [2, 2, 2, 2, 3]


def test_a_loop_that_verifiers_know_to_have_no_round(linux_kernel: Kernel) -> None:
    """Linux refuses programs whose bpf_loop it finds to call nothing: 'No program to jit', EFAULT."""
    source = TOP + """
class Work(Struct):
    sum: u64
def each(index: u32, work: Work) -> s64:
    work.sum += u64(index) + 1
    return s64(0)
@bpf.noinline
def other(work: Work) -> u64:
    return work.sum * 2
@xdp
def p(ctx: xdp.Context) -> xdp.Action:
    work = Work()
    first = other(work)
    none = bpf.local(u32(0))                         # LLVM does not know what read_once reads, verifiers do
    some = bpf.local(u32(3))
    made = helpers.loop(bpf.read_once(none), each, work, 0) * 100
    made += helpers.loop(bpf.read_once(some), each, work, 0) * 10
    made += helpers.loop(bpf.read_once(none), each, work, 0)
    return xdp.Action(u32(made) + u32(work.sum) + u32(first))
"""
    alone = source.replace("bpf.read_once(some)", "bpf.read_once(none)")
    for text, verdict in ((source, 36), (alone, 0)):
        module = import_source(text, "<no round>")
        assert plain(module, module.p, PACKETS[:1]).verdicts == [verdict]
        assert compiled(module, module.p, PACKETS[:1], linux_kernel).verdicts == [verdict]


def test_sections(linux_kernel: Kernel) -> None:
    both("""
@xdp
def p(ctx: xdp.Context) -> xdp.Action:
    with bpf.rcu():
        if ctx.length == 3:
            return xdp.DROP
        with bpf.preempt_off():
            res.update(0, 5)
    return xdp.PASS
""", linux_kernel)  # fmt: skip


def run_walk(kernel: Kernel) -> Any:
    data = build_file(str(FOLDER / "kfunc_walk.py"))
    with load(read_object(data), kernel) as loaded:
        out = loaded.programs["walk"].test_run(ctx=(10_000).to_bytes(8, "little") + bytes(16))
        return out.ctx


def test_tasks_are_walked(linux_kernel: Kernel) -> None:
    context = run_walk(linux_kernel)
    tasks, areas = (int.from_bytes(context[at : at + 8], "little") for at in (8, 16))
    there = sum(path.name.isdigit() for path in Path("/proc").iterdir())
    assert abs(tasks - there) < 50
    assert areas > tasks


def test_facts_of_the_kernel(linux_kernel: Kernel) -> None:
    source = TOP + """
class nothing(Struct, core=True, name="no_such_struct"):
    a: u32
class part(Struct, core=True, name="task_struct___part"):
    pid: s32
    flags: u32
class other(Struct, core=True, name="task_struct___other"):
    pid: u64
class bpf_map_type(KernelEnum):
    BPF_MAP_TYPE_RINGBUF = 99
    BPF_MAP_TYPE_NOPE = 1000
@xdp
def p(ctx: xdp.Context) -> xdp.Action:
    res.update(0, u64(bpf.kernel_size(task_struct)))
    res.update(1, u64(bpf.kernel_size(task_struct, "comm")))
    res.update(2, u64(bpf.kernel_offset(task_struct, "tgid")))
    res.update(3, u64(bpf.kernel_matches(part)) * 2 + u64(bpf.kernel_matches(other)))
    res.update(4, u64(bpf.kernel_has(nothing)) * 2 + u64(bpf.kernel_has(part, "pid")))
    res.update(5, bpf.enum_value(bpf_map_type.BPF_MAP_TYPE_RINGBUF))
    res.update(6, u64(bpf.enum_has(bpf_map_type.BPF_MAP_TYPE_NOPE)) + bpf_map_type.BPF_MAP_TYPE_NOPE)
    return xdp.PASS
"""
    module = import_source(source, "<facts>")
    seen = compiled(module, module.p, [bytes(64)], linux_kernel)
    found = [int.from_bytes(seen.maps["res"][key.to_bytes(4, "little")], "little") for key in range(7)]
    vmlinux = Btf.parse(linux_kernel.vmlinux_btf())
    number = vmlinux.find("task_struct", Kind.STRUCT)
    assert number is not None
    task = vmlinux.type(number)
    assert isinstance(task, Struct)
    tgid = next(member for member in task.members if member.name == "tgid")
    assert found == [task.size, 16, tgid.offset // 8, 2, 1, 27, 1000]
    before = plain(module, module.p, [bytes(64)])
    there = [int.from_bytes(before.maps["res"][key.to_bytes(4, "little")], "little") for key in range(7)]
    assert there[1:3] == [16, 4]  # as declared


def test_bit_fields_of_the_kernel_load(linux_kernel: Kernel) -> None:
    for place, argument in (("tp_btf", "task"), ("raw_tracepoint", "task")):
        source = TOP + f"""
@bpf.{place}("sched_switch")
def p(preempt: bool, {argument}: task_struct) -> int:
    res.update(0, u64({argument}.in_execve))
    return 0
"""
        with load(read_object(build_source(source, f"{place}.py")), linux_kernel):
            pass


def test_struct_ops_are_described() -> None:
    obj = read_object(build_file(str(FOLDER / "tcp_careful.py")))
    (spec,) = [one for one in obj.maps if one.name == "careful"]
    assert spec.flags & 1 << 13  # BPF_F_LINK
    assert dict(spec.values) == {0: "careful_init", 8: "careful_ssthresh", 16: "careful_undo", 24: "careful_avoid"}
    assert spec.data is not None
    assert spec.data[32:48] == b"bombus_careful\0\0"
    kinds = {program.name: program.prog_type for program in obj.programs}
    assert set(kinds.values()) == {"BPF_PROG_TYPE_STRUCT_OPS"}
    assert obj.btf is not None
    number = obj.btf.find("tcp_congestion_ops", Kind.STRUCT)
    assert number is not None
    struct = obj.btf.type(number)
    assert isinstance(struct, Struct)
    assert [member.name for member in struct.members] == ["init", "ssthresh", "undo_cwnd", "cong_avoid", "name"]


GLOBALS = TOP + """
@bpf.global_function
def add(a: Ref[u64], b: Head, c: Ref[u64] | None) -> u64:
    if c is None:
        return a.value + u64(b.a)
    return a.value + u64(b.a) + c.value
@bpf.global_function
def pid(task: task_struct) -> s32:
    return task.pid
@bpf.global_function
def maybe(task: task_struct | None) -> s32:
    if task is None:
        return s32(0)
    return task.pid
@bpf.global_function
def out(ctx: Arguments, value: u64) -> s32:
    return s32(res.update(0, value + ctx.registers[0]))
@tp_btf("sched_switch")
def p(ctx: Arguments, preempt: bool, prev: task_struct, next: task_struct) -> int:
    one = bpf.local(u64(5))
    head = Head()
    res.update(0, add(one, head, one) + add(one, head, None))
    res.update(1, u64(pid(prev)) + u64(maybe(None)) + u64(maybe(next)))
    out(ctx, u64(4))
    return 0
"""


def test_global_functions_say_what_they_take(linux_kernel: Kernel) -> None:
    obj = read_object(build_source(GLOBALS, "globals.py"))
    assert obj.btf is not None
    tags = []
    for number in range(1, len(obj.btf)):
        tag = obj.btf.type(number)
        if isinstance(tag, DeclTag):
            tags.append((obj.btf.type(tag.type).name, tag.component, tag.name))
    assert sorted(tags) == [
        ("add", 0, "arg:nonnull"), ("add", 1, "arg:nonnull"), ("maybe", 0, "arg:nullable"), ("maybe", 0, "arg:trusted"),
        ("out", 0, "arg:ctx"), ("pid", 0, "arg:trusted"),
    ]  # fmt: skip
    with load(obj, linux_kernel) as loaded:
        assert set(loaded.programs) == {"p"}


def decorators() -> dict[str, str]:
    """Sections that the decorators make, by their names."""
    found: dict[str, str] = {}
    for module in (programs, cgroup, tracing):
        for name, value in vars(module).items():
            if not isinstance(value, type) or value.__module__ != module.__name__:
                continue
            if issubclass(value, Program) and value.SECTION and name not in ("Operation",):
                found[f"{module.__name__}.{name}"] = value.SECTION
            elif getattr(value, "PREFIX", ""):
                found[f"{module.__name__}.{name}"] = f"{value.PREFIX}/x"
    return found


def test_every_kind_has_a_decorator() -> None:
    made = decorators()
    matches = {name: resolve(section) for name, section in made.items()}
    assert all(matches.values()), [name for name, match in matches.items() if match is None]
    covered = {match.section.base for match in matches.values() if match is not None} | {"struct_ops", "struct_ops.s"}
    sleepable = {f"{prefix}.s" for prefix in covered}
    same = {  # other names of what has a decorator
        "tp", "raw_tp", "raw_tp.w", "tc/ingress", "tc/egress", "classifier", "cgroup/sock", "sk_skb",
    }  # fmt: skip
    rest = {row.base for row in SECTIONS} - covered - sleepable - same
    assert rest == {
        "uprobe.multi.s", "uretprobe.multi.s", "uprobe.session.s", "xdp.frags/devmap", "xdp.frags/cpumap",
    } - sleepable  # fmt: skip


@pytest.mark.parametrize("section", ["fentry", "fexit", "fmod_ret", "lsm", "iterator", "uprobe", "uretprobe", "usdt"])
def test_sleepable_places(section: str) -> None:
    decorate = getattr(bpf, section)
    match = resolve(decorate("x", sleepable=True)(test_sleepable_places).section)
    assert match is not None
    assert match.section.sleepable
    plain_one = resolve(decorate("x")(test_sleepable_places).section)
    assert plain_one is not None
    assert not plain_one.section.sleepable


def test_arguments_run_in_plain_python() -> None:
    module = import_source(TOP + """
@tp_btf("sched_switch")
def p(preempt: bool, task: task_struct) -> int:
    res.update(0, u64(task.pid) + u64(preempt))
    return 0
@bpf.kretprobe("do_unlinkat")
def q(result: s64) -> int:
    return 1 if result < 0 else 0
""", "<arguments>")  # fmt: skip
    task = module.task_struct(pid=bpf.s32(41))
    assert module.p.run(ctx=(True, task)).verdict == 0
    assert module.q.run(ctx=(bpf.s64(-2),)).verdict == 1


def test_no_kernel_words_in_native_code() -> None:
    from bombus.compiler.host import native

    with pytest.raises(DialectError, match="can_loop is an instruction of BPF"):
        native(loops)
    with pytest.raises(DialectError, match="bpf_throw is a function of the kernel"):
        native(throws)
    with pytest.raises(DialectError, match="native code has no assertions at run time"):
        native(asserts)


def loops(a: bpf.u32) -> bpf.u32:
    while bpf.can_loop():
        a += 1
    return a


def throws(a: bpf.u32) -> bpf.u32:
    if a > 3:
        bpf.throw(1)
    return a


def asserts(a: bpf.u32) -> bpf.u32:
    assert a != 3
    return a


def test_probes_load_where_the_kernel_has_them(linux_kernel: Kernel) -> None:
    source = TOP + """
class filename(Struct, core=True):
    uptr: Pointer[bpf.Opaque]
@bpf.kprobe("do_unlinkat")
def p(ctx: bpf.contexts.PtRegs, folder: s32, name: filename) -> int:
    res.update(0, u64(folder) + u64(name.uptr is None) + ctx.ip)
    return 0
@bpf.uretprobe("/bin/sh:main")
def q(result: s64) -> int:
    res.update(0, u64(result))
    return 0
"""
    try:
        with load(read_object(build_source(source, "probes.py")), linux_kernel):
            pass
    except KernelError as error:
        if error.log:
            raise
        pytest.skip(f"this kernel refuses the program's kind: {error}")


KINDS = Path(__file__).parent / "data" / "kinds.py"


def test_every_context(linux_kernel: Kernel) -> None:
    """Programs of each kind, with what their contexts have: sockets, flow keys, option values."""
    obj = read_object(build_file(str(KINDS)))
    refused = []
    for program in obj.programs:
        try:
            with load(obj, linux_kernel, programs=[program.name]):
                pass
        except KernelError as error:
            assert not error.log, (program.section, error)  # a verifier's no would be ours
            refused.append(program.section)
    assert len(obj.programs) > 25
    assert refused in ([], ["lirc_mode2"])  # not every kernel has it


def test_the_kinds_under_mypy() -> None:
    api = pytest.importorskip("mypy.api")
    out, err, code = api.run(["--strict", "--no-error-summary", str(KINDS)])
    assert (out, err, code) == ("", "", 0)


RING = TOP + """
ring = map.user_ringbuf(max_entries=4096)
class Count(Struct):
    sum: u64
def got(record: bpf.Dynptr, count: Count) -> s64:
    head = Head()
    if helpers.dynptr_read(head, 2, record, 0, 0) == 0:
        count.sum += u64(head.a)
    return s64(0)
@bpf.syscall
def p(ctx: Head) -> int:
    count = Count()
    drained = helpers.user_ringbuf_drain(ring, got, count, 0)
    res.update(0, count.sum + u64(drained))
    return 0
"""


def test_user_ring_buffers_are_drained(linux_kernel: Kernel) -> None:
    with load(read_object(build_source(RING, "ring.py")), linux_kernel) as loaded:
        loaded.programs["p"].test_run(ctx=bytes(2))


def test_dynptrs_of_packets(linux_kernel: Kernel) -> None:
    data = build_file(str(FOLDER / "kfunc_work.py"))
    with load(read_object(data), linux_kernel, programs=["look"]) as loaded:
        packet = bytes(12) + b"\x08\x00" + bytes(50)
        assert loaded.programs["look"].test_run(packet).retval == 1
        assert loaded.maps["bytes_seen"][0] == 64
        assert loaded.programs["look"].test_run(bytes(64)).retval == 2


def test_work_is_done(linux_kernel: Kernel) -> None:
    import time

    data = build_file(str(FOLDER / "kfunc_work.py"))
    with load(read_object(data), linux_kernel, programs=["start"]) as loaded:
        loaded.programs["start"].test_run(bytes(64))
        for _ in range(100):
            raw = loaded.maps["elements"].raw.lookup(bytes(4))
            if raw[16:24] == (1).to_bytes(8, "little"):
                return
            time.sleep(0.02)
    pytest.fail("the callback of the work queue did not run")


def test_kernel_functions_from_btf(linux_kernel: Kernel, tmp_path: Path) -> None:
    from bombus.compiler.importing import import_file
    from bombus.compiler.kernelstructs import kernel_module
    from bombus.spec.kfuncs import KFUNC

    vmlinux = Btf.parse(linux_kernel.vmlinux_btf())
    names = [name for name in KFUNC if vmlinux.find(name, Kind.FUNC) is not None]
    text = kernel_module(vmlinux, ["task_struct"], functions=names)
    path = tmp_path / "functions.py"
    path.write_text(text)
    module = import_file(str(path))
    assert sum(hasattr(module, name) for name in names) > 0.9 * len(names)
    assert "def bpf_task_from_pid(pid: s32) -> task_struct | None: ..." in text
    assert "def bpf_task_release(p: task_struct) -> None: ..." in text
    assert "def bpf_wq_init(wq: bpf_wq, p__map: map.Map, flags: u32) -> s32:" in text
    assert ": u32 = bits(1)" in text


def test_lists_in_arenas(linux_kernel: Kernel) -> None:
    """The program of the example in plain Python and on Linux, and the list as user space sees it."""
    from bombus.bpf.machine import use
    from bombus.compiler.build import build_module
    from bombus.compiler.importing import import_file
    from bombus.plain import PlainMachine

    module = import_file(str(FOLDER / "arena_list.py"))
    values = [50, 3, 99, 7, 3, 1000, 0, 64]
    places, sums = [], []
    with use(PlainMachine()):
        for value in values:
            request = module.Request(value=bpf.u64(value))
            assert module.insert.run(ctx=request).verdict == 0
            places.append(int(request.place))
        request = module.Request()
        module.total.run(ctx=request)
        sums.append(int(request.sum))
    with load(read_object(build_module(module)), linux_kernel) as loaded:
        seen = []
        for value in values:
            out = loaded.programs["insert"].test_run(ctx=value.to_bytes(8, "little") + bytes(16))
            assert out.retval == 0
            seen.append(int.from_bytes(out.ctx[8:16], "little"))
        sums.append(int.from_bytes(loaded.programs["total"].test_run(ctx=bytes(24)).ctx[16:24], "little"))
        memory = bytes(loaded.arenas["heap"])
    assert seen == places == [0, 0, 2, 1, 0, 5, 0, 5]
    assert sums[0] == sums[1]
    assert sorted(int.from_bytes(memory[at + 8 : at + 16], "little") for at in range(0, 8 * 24, 24)) == sorted(values)


def test_a_congestion_control_carries_a_connection(linux_kernel: Kernel) -> None:
    """The example as struct_ops: registered, chosen by one socket of this test, gone afterwards."""
    import socket
    import threading

    congestion = getattr(socket, "TCP_CONGESTION", 13)
    with load(read_object(build_file(str(FOLDER / "tcp_careful.py"))), linux_kernel) as loaded:
        link = loaded.struct_ops["careful"].attach()
        try:
            with socket.socket() as server, socket.socket() as client:
                server.bind(("127.0.0.1", 0))
                server.listen()
                client.setsockopt(socket.IPPROTO_TCP, congestion, b"bombus_careful")
                client.connect(server.getsockname())
                taken, _address = server.accept()
                received = bytearray()

                def receive() -> None:
                    while part := taken.recv(1 << 16):
                        received.extend(part)

                reader = threading.Thread(target=receive)
                reader.start()
                client.sendall(bytes(1 << 20))
                client.shutdown(socket.SHUT_WR)
                reader.join()
                taken.close()
            assert len(received) == 1 << 20
            assert loaded.maps[".bss"].raw.lookup(bytes(4))[:8] == (1).to_bytes(8, "little")
        finally:
            link.close()
    assert "bombus_careful" not in Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text()
