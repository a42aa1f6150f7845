"""Direct runs of the program types, and what the kernel says of programs: the user kernel and Linux."""

from __future__ import annotations

import errno
import random
import struct
from collections.abc import Callable, Iterator

import pytest
from helper_cases import arp, ipv4, ipv6, linux, vlan
from helper_scenes import Case, Stage, main, map_, note, play, value_

from bombus.errors import KernelError, LoadError
from bombus.isa import build as b
from bombus.isa.insn import Insn
from bombus.kernel.api import Attr
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.kernel.user.kernel import UserKernel

pytestmark = pytest.mark.linux

ZERO = bytes(4)
ROUNDS = 25

# Members of __sk_buff: byte offsets of the u32 ones that each program type may read.
COMMON = (0, 4, 12, 16, 20, 24, 28, 32, 36, 40, 48, 52, 56, 60, 64, 68)
FIELDS = {
    "socket_filter": (*COMMON[:5], *COMMON[5:]), "sched_cls": (*COMMON, 8, 44, 72, 160, 164, 176),
    "sched_act": (*COMMON, 8, 44, 72, 160, 164, 176), "cgroup_skb": (*COMMON, 8, 164, 176),
    "lwt_in": (*COMMON, 8, 176), "lwt_out": (*COMMON, 8, 176), "lwt_xmit": (*COMMON, 8, 176),
    "lwt_seg6local": (*COMMON, 8, 176),
}  # fmt: skip
WRITES = {
    "socket_filter": (48, 64), "sched_cls": (8, 12, 32, 44, 48, 64, 72), "sched_act": (8, 12, 32, 44, 48),
    "cgroup_skb": (8, 32, 48), "lwt_in": (8, 32, 48), "lwt_out": (8, 32, 48), "lwt_xmit": (8, 32, 64),
    "lwt_seg6local": (48,),
}  # fmt: skip
PACKETS = (ipv4, ipv6, vlan, arp)


def skbs(rng: random.Random) -> Iterator[Case]:
    for kind in FIELDS:
        for _ in range(ROUNDS):
            yield f"skb {kind}", _skb(kind, random.Random(rng.random()))


def _skb(kind: str, rng: random.Random) -> Callable[[Stage], object]:
    body: list[Insn] = []
    for number, offset in enumerate(FIELDS[kind]):
        body += [b.ldx("u32", 1, 6, offset), *note(number, 1)]
    if kind in ("sched_cls", "sched_act", "cgroup_skb"):
        body += [b.ldx("u64", 1, 6, 152), *note(30, 1)]
    for offset in WRITES[kind]:
        # Linux keeps these in 16 bits; the user kernel has no rewriting of context accesses yet, so stay inside.
        bits = 8 if offset in (12, 44, 72) else rng.choice((8, 31))
        body += [b.mov(1, rng.getrandbits(bits)), b.stx("u32", 6, offset, b.R1)]
        body += [b.ldx("u32", 1, 6, offset), *note(32 + offset // 4, 1)]
    if kind == "socket_filter":
        body += [b.ld_abs("u16", rng.choice((0, 12, 60, -0x200000 + 12, -0x100000, 0x7FFFFF00))), *note(31)]
    result = rng.choice((0, 1)) if kind == "cgroup_skb" else rng.choice((0, 1, 2, 7, -1, 77))
    if kind in ("lwt_in", "lwt_out", "lwt_seg6local"):
        result = rng.choice((0, 2))
    ctx = bytearray(192)
    for offset in (8, 32, 48, 64, 164):
        if rng.random() < 0.7:
            struct.pack_into("<I", ctx, offset, rng.getrandbits(rng.choice((4, 16, 31))))
    if rng.random() < 0.3:
        struct.pack_into("<I", ctx, rng.choice((160, 176, 36, 40, 164, 0, 16, 72)), rng.choice((1, 0, 30, 70000)))
    if rng.random() < 0.5:
        struct.pack_into("<Q", ctx, rng.choice((152, 184)), rng.getrandbits(50))
    packet = rng.choice(PACKETS)(rng)
    given = bytes(ctx[: rng.choice((192, 192, 192, 160, 64))]) if rng.random() < 0.8 else None

    def scene(stage: Stage) -> object:
        report = stage.report()
        program = stage.load(main(body, result=result), kind=kind, maps=[report])
        return stage.run(program, packet, given), report[ZERO], stage.run(program, packet[:13])

    return scene


def flows(rng: random.Random) -> Iterator[Case]:
    for _ in range(4 * ROUNDS):
        yield "flow", _flow(random.Random(rng.random()))


def _flow(rng: random.Random) -> Callable[[Stage], object]:
    body: list[Insn] = [b.ldx("u64", 7, 6, 144)]
    for number, (kind, offset) in enumerate((("u16", 0), ("u16", 2), ("u16", 8), ("u32", 48))):
        body += [b.ldx(kind, 1, 7, offset), *note(number, 1)]
    body += [b.ldx("u32", 1, 6, 76), b.ldx("u32", 2, 6, 80), b.mov(3, b.R2), b.sub(3, b.R1), *note(5, 3)]
    body += [b.add(1, 4), b.jmp(">", 1, b.R2, 2), b.ldx("u32", 3, 1, -4), *note(6, 3)]
    for _ in range(rng.randrange(5)):
        kind, offset = rng.choice((("u16", 0), ("u16", 2), ("u16", 2), ("u8", 4), ("u8", 6), ("u16", 8), ("u8", 9),
                                   ("u32", 12), ("u32", 16), ("u16", 10), ("u32", 48)))  # fmt: skip
        if kind == "u8":
            offset = rng.choice((4, 5, 6, 7))
        body.append(b.st(kind, 7, offset, rng.choice((0, 1, 14, 20, 34, 74, 1000, 0xFFFF if kind != "u8" else 255))))
    ctx = bytearray(56)
    struct.pack_into("<I", ctx, 48, rng.choice((0, 1, 2, 4, 7, 8)))
    if rng.random() < 0.2:
        ctx[rng.randrange(56)] = 1
    packet = rng.choice(PACKETS)(rng)[: rng.choice((200, 200, 14, 13, 20))]
    given = bytes(ctx[: rng.choice((56, 56, 52, 20))]) if rng.random() < 0.7 else None
    result = rng.choice((0, 2, 129, 1))

    def scene(stage: Stage) -> object:
        report = stage.report()
        program = stage.load(main(body, result=result), kind="flow_dissector", maps=[report])
        return stage.run(program, packet, given), report[ZERO], stage.run(program, packet, repeat=3)

    return scene


def lookups(rng: random.Random) -> Iterator[Case]:
    for _ in range(4 * ROUNDS):
        yield "sk_lookup", _lookup(random.Random(rng.random()))


def _lookup(rng: random.Random) -> Callable[[Stage], object]:
    reads = [("u32", at) for at in (8, 12, 16, 20, 24, 28, 32, 40, 44, 48, 52, 56, 60, 64)] + [("u16", 36)]
    body: list[Insn] = []
    for number, (kind, offset) in enumerate(reads):
        body += [b.ldx(kind, 1, 6, offset), *note(number, 1)]
    ctx = bytearray(72)
    struct.pack_into("<II", ctx, 8, rng.choice((2, 10, 2, 10, 1, 0x10002)), rng.choice((6, 17, 6, 17, 1, 0)))
    ctx[16:60] = rng.randbytes(44)
    struct.pack_into("<HH", ctx, 36, rng.getrandbits(16), rng.choice((0, 0, 0, 1)))
    struct.pack_into("<I", ctx, 60, rng.choice((80, 65535, 65535, 443, 65536)))
    if rng.random() < 0.2:
        ctx[rng.choice((0, 7, 64, 68, 71))] = 1
    given = bytes(ctx[: rng.choice((72, 72, 72, 72, 64, 60, 16))]) if rng.random() < 0.9 else None
    data = rng.choice((None, None, None, bytes(20)))
    result = rng.choice((0, 1))
    repeat = rng.choice((0, 1, 3))

    def scene(stage: Stage) -> object:
        report = stage.report()
        program = stage.load(
            main(body, result=result), kind="sk_lookup", maps=[report], expected_attach_type=36
        )
        return stage.run(program, data, given, repeat=repeat), report[ZERO]

    return scene


def raws(rng: random.Random) -> Iterator[Case]:
    for kind in ("raw_tracepoint", "raw_tracepoint_writable"):
        for size in (0, 8, 16, 24, 96, 104):
            for flags, cpu in ((0, 0), (1, 0), (1, 999), (0, 1), (2, 0)):
                for wanted in (at for at in (0, 8, 16) if at <= size):
                    name = f"raw {kind} {size} {flags} {cpu} {wanted}"
                    yield name, _raw(kind, rng.randbytes(size), flags, cpu, wanted)
        yield f"{kind} with repeat", _raw(kind, bytes(16), 0, 0, 0, repeat=2)
        yield f"{kind} with data", _raw(kind, bytes(16), 0, 0, 0, data=bytes(14))


def _raw(kind: str, ctx: bytes, flags: int, cpu: int, wanted: int, *, data: bytes | None = None,
         **more: int) -> Callable[[Stage], object]:  # fmt: skip
    body: list[Insn] = []
    for offset in range(0, wanted, 8):
        body += [b.ldx("u64", 1, 6, offset), *note(offset // 8, 1)]

    def scene(stage: Stage) -> object:
        report = stage.report()
        program = stage.load(main(body, b.ldx("u32", 0, 9, 0), result=None), kind=kind, maps=[report])
        return stage.run(program, data, ctx or None, flags=flags, cpu=cpu, **more), report[ZERO]

    return scene


def syscalls(rng: random.Random) -> Iterator[Case]:
    for size in (0, 8, 16, 100, 4000, 65535, 65536):
        for wanted in (at for at in (0, 8, 16) if at <= size):
            yield f"syscall {size} {wanted}", _syscall(rng.randbytes(size), wanted)
    for name in ("repeat", "flags", "batch_size", "cpu"):
        yield f"syscall with {name}", _syscall(bytes(16), 8, **{name: 1})


def _syscall(ctx: bytes, wanted: int, **more: int) -> Callable[[Stage], object]:
    body: list[Insn] = []
    for offset in range(0, wanted, 8):
        body += [b.ldx("u64", 1, 6, offset), *note(offset // 8, 1), b.add(1, 3), b.stx("u64", 6, offset, b.R1)]

    def scene(stage: Stage) -> object:
        report = stage.report()
        program = stage.load(main(body, result=-5), kind="syscall", maps=[report], flags=1 << 4)
        return stage.run(program, None, ctx or None, **more), report[ZERO]

    return scene


def infos(rng: random.Random) -> Iterator[Case]:
    for kind in ("socket_filter", "sched_cls", "xdp", "kprobe", "raw_tracepoint", "cgroup_skb", "cgroup_sock"):
        for maps in (0, 1, 3):
            for license in ("GPL", "BSD"):
                yield f"info {kind} {maps} {license}", _info(kind, maps, license)


def _info(kind: str, maps: int, license: str) -> Callable[[Stage], object]:
    def scene(stage: Stage) -> object:
        made = [stage.map("array", 4, 8) for _ in range(maps)]
        body: list[Insn] = []
        for number in range(maps):
            body += [*value_(3, number, 4), *map_(2, number)]
        program = stage.load([*body, b.mov(0, 1), b.mov(0, 0), b.exit_()], kind=kind, maps=made, name="a.name_1",
                             license=license)  # type: ignore[arg-type]  # fmt: skip
        info = program.info()
        names = ("type", "tag", "name", "gpl_compatible", "created_by_uid", "nr_map_ids", "ifindex", "netns_dev",
                 "netns_ino", "run_cnt", "run_time_ns", "recursion_misses", "xlated_prog_len", "nr_func_info",
                 "nr_line_info", "attach_btf_obj_id", "attach_btf_id")  # fmt: skip
        same_maps = [number in [item.info().id for item in made] for number in program.map_ids()]
        # Addresses of maps are not shown: what is in the slots is compared without them.
        code = [(i.opcode, i.dst, i.src, i.off) for i in program.instructions()]
        return [info[name] for name in names], same_maps, code, info.btf_id != 0, info.id == program.id

    return scene


def statistics(rng: random.Random) -> Iterator[Case]:
    for repeat in (0, 1, 5):
        for kind in ("sched_cls", "xdp"):
            yield f"stats {repeat} {kind}", _statistics(kind, repeat)


def _statistics(kind: str, repeat: int) -> Callable[[Stage], object]:
    def scene(stage: Stage) -> object:
        program = stage.load([b.mov(0, 1), b.exit_()], kind=kind)
        stage.run(program, repeat=repeat)
        before = program.info().run_cnt
        fd = stage.kernel.bpf(Attr("BPF_ENABLE_STATS", type=0))
        stage.run(program, repeat=repeat)
        stage.kernel.close(fd)
        after = program.info()
        return before, after.run_cnt, after.run_time_ns > 0

    return scene


def refused(rng: random.Random) -> Iterator[Case]:
    """Program types without direct runs, and attrs that none takes."""
    for kind in ("kprobe", "tracepoint", "perf_event", "cgroup_sock", "cgroup_device", "sock_ops", "sk_skb", "sk_msg",
                 "cgroup_sysctl", "cgroup_sockopt", "sk_reuseport"):  # fmt: skip
        yield f"no run of {kind}", _refused(kind)
    for fields in ({"cpu": 1}, {"batch_size": 1}, {"flags": 1}, {"flags": 2}, {"flags": 4}, {"flags": 8},
                   {"flags": 2, "batch_size": 257}, {"data_out": 10}, {"data_out": 0}, {"ctx_out": 0}):  # fmt: skip
        for kind in ("xdp", "sched_cls", "socket_filter", "cgroup_skb", "lwt_in", "flow_dissector", "sk_lookup"):
            if not (kind == "xdp" and fields == {"flags": 2}):
                yield f"{kind} {fields}", _refused(kind, **fields)


def _refused(kind: str, **fields: int) -> Callable[[Stage], object]:
    def scene(stage: Stage) -> object:
        attach = {"sk_lookup": 36, "cgroup_sockopt": 21, "cgroup_sysctl": 18}.get(kind, 0)
        try:
            program = stage.load([b.mov(0, 0), b.exit_()], kind=kind, expected_attach_type=attach)
        except LoadError as error:
            return "load", error.errno
        return stage.run(program, ipv4(random.Random(3)), bytes(24) if "ctx_out" in fields else None, **fields)

    return scene


def loads(rng: random.Random) -> Iterator[Case]:
    """Attributes of BPF_PROG_LOAD that are wrong."""
    good: dict[str, int | bytes] = {"prog_type": 3, "license": b"GPL\0", "insn_cnt": 2}
    changes: tuple[dict[str, int | bytes], ...] = (
        {"insn_cnt": 0}, {"insn_cnt": 1 << 20 | 1}, {"prog_type": 999}, {"prog_flags": 1 << 9}, {"prog_flags": 1 << 3},
        {"expected_attach_type": 5}, {"attach_btf_id": 1}, {"attach_prog_fd": 1000}, {"prog_btf_fd": 1000},
        {"func_info_cnt": 1, "func_info_rec_size": 8, "prog_btf_fd": 1000},
        {"line_info_cnt": 1, "line_info_rec_size": 16, "prog_btf_fd": 1000}, {"log_level": 1},
        {"log_level": 8, "log_size": 500}, {"prog_name": b"a b"}, {"prog_name": b"x" * 16},
        {"prog_flags": 1 << 4}, {"prog_flags": 1 << 5}, {"core_relo_cnt": 1}, {"fd_array": 8},
    )  # fmt: skip
    for change in changes:
        yield f"load {change}", _loads({**good, **change})


def _loads(fields: dict[str, int | bytes]) -> Callable[[Stage], object]:
    def scene(stage: Stage) -> object:
        insns = struct.pack("<QQ", 0xB7, 0x95)
        try:
            stage.kernel.close(stage.kernel.bpf(Attr("BPF_PROG_LOAD", insns=insns, **fields)))
        except KernelError as error:
            return error.errno or errno.EIO
        return 0

    return scene


FAMILIES: dict[str, Callable[[random.Random], Iterator[Case]]] = {
    f.__name__: f for f in (skbs, flows, lookups, raws, syscalls, infos, statistics, refused, loads)
}


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_to_linux(family: str) -> None:
    from test_helper_scenes import shown

    real = linux()
    if real is None:
        pytest.skip("bpf(2) is refused here")
    ours = UserKernel(real.version, cpus=real.possible_cpus, engine="reference")
    wrong = []
    count = 0
    for name, scene in FAMILIES[family](random.Random(5)):
        count += 1
        expected, got = play(real, scene), play(ours, scene)
        if expected != got:
            wrong.append(f"{name}\n  Linux {shown(expected)}\n  user  {shown(got)}")
    assert not wrong, f"{len(wrong)} of {count}:\n" + "\n".join(wrong[:5])
    assert count >= 3


_DIRECT = """
r2 = *(u32 *)(r1 + 76)
r3 = *(u32 *)(r1 + 80)
r0 = 0
r4 = r2
r4 += {end}
if r4 > r3 goto +2
r0 = *(u8 *)(r2 + {at})
r0 &= 1
exit
"""


@pytest.mark.linux
@pytest.mark.parametrize("attach", [0, 1])
def test_cgroup_programs_see_the_packet(linux_kernel: LinuxKernel, attach: int) -> None:
    """BPF_PROG_TEST_RUN gives them data pointers since 6.18; at the hook they always had them."""
    from bombus.asm import assemble
    from bombus.kernel.handles import Program
    from bombus.kernel.user.run import run_packet

    frame = bytes(12) + b"\x08\x00" + bytes(range(0x45, 0x45 + 60))
    for at in (0, 1, 13, 20, 59, 60):
        code = assemble(_DIRECT.format(at=at, end=at + 1)).insns
        found = {}
        for kernel in (linux_kernel, UserKernel("6.18"), UserKernel("6.12")):
            with Program.load(kernel, "cgroup_skb", code, attach_type=attach) as program:
                found[f"{kernel.name} {kernel.version}"[:9]] = program.test_run(frame).retval
                if kernel.name == "user":
                    assert run_packet(kernel, program.fd, frame).verdict == (at < 60 and (0x45 + at) & 1)
        if linux_kernel.version >= (6, 18):
            assert found["user 6.18"] == found[f"linux {linux_kernel.version}"[:9]]
        assert found["user 6.12"] == 0
