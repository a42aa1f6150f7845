"""Many runs of a program in one native call: packets of a list, packets of a pcap file's bytes, contexts.

Only what needs nothing from Python between two runs: native code, XDP and skb programs (or contexts of any type), no
helper that is given the context. Everything else runs one by one, with the same results.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from bombus.bits import U64
from bombus.errors import NotSupported, UsageError
from bombus.isa import opcodes as op
from bombus.isa.facts import CTX
from bombus.kernel.user.hooks.skb import CTX_SIZE, WORDS_SIZE
from bombus.kernel.user.hooks.skbrun import KINDS, MAX_DATA, give_back, prepare
from bombus.kernel.user.hooks.skbrun import borrow as borrow_skb
from bombus.kernel.user.hooks.xdp import ETH_HLEN, HEADROOM, PAGE, TAILROOM
from bombus.kernel.user.run import packet_runner_of
from bombus.kernel.user.world import world_of

if TYPE_CHECKING:
    from bombus.isa.insn import Insn
    from bombus.jit.engine import NativeProgram
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog
    from bombus.vm.memory import Region

LONGEST: Final = PAGE - HEADROOM - TAILROOM  # bytes of a frame that fit its first page
CHUNK: Final = 1 << 20  # bytes of packets in memory at a time: they stay in the CPU's cache
_MD_SIZE: Final = 24
_LOADS: Final = (op.BPF_LD | op.BPF_ABS, op.BPF_LD | op.BPF_IND)


def native_program(prog: Prog) -> NativeProgram | None:
    """The program's native code, compiled now if need be; None when its engine has none."""
    compiled: Any = prog.compiled
    if hasattr(compiled, "compile"):  # tiered: many runs are worth the wait
        compiled.prepare()
        if not compiled.ready:
            compiled.compile()
        compiled = compiled.native_form()
    if not hasattr(compiled, "batch"):
        return None
    compiled.prepare()
    found: NativeProgram | None = compiled if compiled.is_native else None
    return found


def runs_alone(prog: Prog) -> bool:
    """Does the program need nothing of its packet beyond the bytes and what the loop puts into the context: no helper
    of Python's that is given the context, no kernel object out of it (`sk`, `flow_keys`)?"""
    facts = prog.facts
    codes: frozenset[int] = getattr(native_program(prog), "inlined", frozenset())
    is_xdp = prog.type.short == "xdp"
    for index, insn in enumerate(prog.insns):
        cls = insn.opcode & 7
        if not is_xdp and (
            facts is None
            or (facts.access.get(index, 0) & CTX and insn.opcode & 0x18 == op.BPF_DW and cls == op.BPF_LDX)
        ):
            return False
        if insn.opcode != op.CALL or insn.src == op.BPF_PSEUDO_CALL:
            continue
        if index in codes:
            continue
        from bombus.spec.helpers import HELPER_BY_ID  # many rows: not for programs without calls

        row = HELPER_BY_ID.get(insn.imm) if not insn.src else None
        if row is None or "ARG_PTR_TO_CTX" in row.args or row.name == "get_local_storage":  # one for each run
            return False
    return True


def batch_kind(prog: Prog) -> str | None:
    """What the loops for packets of this program are called after; None where there are none."""
    if prog.type.short == "xdp":
        return "xdp"
    return "skb" if prog.type.name in KINDS else None


def address_of(view: memoryview) -> int:
    """Where the bytes of writable memory lie."""
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


class Frames:
    """Room for packets below 4 GiB, and a context. Close it.

    tally, records: the loops of `jit.batch` for the program; members: what they are told of it.
    """

    def __init__(self, kernel: UserKernel, prog: Prog, size: int, ifindex: int = 1) -> None:
        self._kernel = kernel
        kind = batch_kind(prog)
        assert kind is not None
        self.tally, self.records = f"{kind}_tally", f"{kind}_records"
        self.shortest, self.longest = ETH_HLEN, LONGEST if kind == "xdp" else MAX_DATA
        name, context = ("xdp_md", _MD_SIZE) if kind == "xdp" else ("__sk_buff", CTX_SIZE)
        self.ctx: Region = kernel.memory.allocate(context, name=name, kind="ctx", behind=WORDS_SIZE)
        self.room: Region = kernel.memory.allocate(size, name="the packets", kind="packet", low=True)
        self.members = {
            "ctx": self.ctx.start, "shortest": self.shortest, "longest": self.longest, "ifindex": ifindex,
        }  # fmt: skip
        if kind == "skb":
            self._skb(prog, ifindex)

    def _skb(self, prog: Prog, ifindex: int) -> None:
        """The context of a packet as `hooks.skbrun.prepare` leaves it, but for what each packet decides."""
        world = world_of(self._kernel)
        skb = borrow_skb(self._kernel, world)
        try:
            layer2 = prepare(skb, prog, bytes(60), world, ifindex, at_hook=True)
            skb.sync()
            self.template = ctypes.create_string_buffer(bytes(skb.ctx.view), CTX_SIZE + 8)
            direct = skb.direct
        finally:
            give_back(world, skb)
        self.members |= {
            "template": ctypes.addressof(self.template), "pull": 0 if layer2 else ETH_HLEN,
            "mac": int.from_bytes(world.devices[ifindex].address, "little"), "end_given": U64 if direct else 0,
        }  # fmt: skip

    @contextlib.contextmanager
    def region(self, kernel: UserKernel, start: int, view: memoryview) -> Iterator[Region]:
        """Other bytes as packets, for a while."""
        from bombus.vm.memory import Region

        region = Region(start, len(view), view, "the packets", "packet")
        kernel.memory.add(region)
        try:
            yield region
        finally:
            kernel.memory.remove(region)

    def close(self) -> None:
        self._kernel.memory.remove(self.ctx)
        self._kernel.memory.remove(self.room)

    def __enter__(self) -> Frames:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def run_packets(
    kernel: UserKernel, program: Prog | int, packets: Sequence[bytes], *, ifindex: int = 1, threads: int = 1
) -> array[int]:
    """Run an XDP or skb program over each packet; returns the verdicts (u32) in order.

    In native loops where that is possible (see above), in `threads` of them when no helper is Python's; each is a CPU
    of its own, so there are no more than the kernel has. Raises as `run.run_packet`, for the first packet that fails.
    """
    from bombus.kernel.user.prog import Prog

    if threads < 1:
        raise UsageError(f"threads={threads}: one is the least")
    prog = kernel.object("BPF_PROG_TEST_RUN", program, "prog") if isinstance(program, int) else program
    assert isinstance(prog, Prog)
    one = packet_runner_of(kernel, prog)
    native = native_program(prog) if batch_kind(prog) and runs_alone(prog) else None
    if native is None:
        return array("I", (one(data, ifindex)[0] for data in packets))
    out = array("I", bytes(4 * len(packets)))
    threads = 1 if native.calls_python else min(threads, kernel.possible_cpus)
    share = (len(packets) + threads - 1) // threads
    errors: list[BaseException] = []

    world = world_of(kernel)
    here = world.cpu
    one_at_a_time = threading.Lock()

    def alone(number: int, cpu: int) -> None:
        """A packet that no loop takes, on the CPU of its thread."""
        with one_at_a_time:
            world.cpu = cpu
            try:
                out[number] = one(packets[number], ifindex)[0]
            finally:
                world.cpu = here

    def work(number: int, first: int, end: int) -> None:
        cpu = (here + number) % kernel.possible_cpus
        try:
            _run_share(kernel, prog, native, packets, first, end, out, ifindex, cpu, alone)
        except BaseException as error:
            errors.append(error)

    starts = range(0, len(packets), max(share, 1))
    spans = [(number, first, min(first + share, len(packets))) for number, first in enumerate(starts)]
    workers = [threading.Thread(target=work, args=span) for span in spans[1:]]
    for worker in workers:
        worker.start()
    if spans:
        work(*spans[0])
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return out


def _run_share(
    kernel: UserKernel, prog: Prog, native: NativeProgram, packets: Sequence[bytes], first: int, end: int,
    out: array[int], ifindex: int, cpu: int, alone: Callable[[int, int], None],
) -> None:  # fmt: skip
    from bombus.jit.batch import Batch
    from bombus.jit.loops import ALL

    with Frames(kernel, prog, CHUNK, ifindex) as frames:
        while first < end:
            records = array("I")
            at, last = 0, first
            while last < end and at + len(packets[last]) <= CHUNK:
                records.append(at)
                records.append(len(packets[last]))
                at += len(packets[last])
                last += 1
            if last == first:
                alone(first, cpu)
                first += 1
                continue
            frames.room.view[:at] = b"".join(packets[first:last])
            batch = Batch(
                **frames.members,
                base=frames.room.start,
                records=records.buffer_info()[0],
                verdicts=out.buffer_info()[0] + 4 * first,
                count=last - first,
            )
            while native.batch(frames.records, batch, cpu) != ALL:
                number = batch["done"]
                alone(first + number, cpu)
                batch["done"] = number + 1
            first = last


def _wants_packet(insn: Insn) -> bool:
    from bombus.runtime.maps.kinds import OF_PACKETS

    return insn.opcode & 0xE7 in _LOADS or (insn.opcode == op.CALL and not insn.src and insn.imm in OF_PACKETS)


def run_contexts(
    kernel: UserKernel, program: Prog | int, contexts: bytearray | memoryview | array[int], stride: int
) -> array[int]:
    """Run a program over contexts that lie one after the other, `stride` bytes each (a numpy structured array, as a
    memoryview); returns each r0 as u64. The program sees and may change the contexts in place.

    UsageError for a read-only buffer or a size that is no multiple of the stride, NotSupported for programs that read a
    packet through their context.
    """
    from bombus.jit.batch import Batch
    from bombus.kernel.user.prog import Prog
    from bombus.vm.memory import Region

    prog = kernel.object("BPF_PROG_TEST_RUN", program, "prog") if isinstance(program, int) else program
    assert isinstance(prog, Prog)
    view = memoryview(contexts).cast("B")
    if view.readonly:
        raise UsageError("contexts must be writable memory")
    if stride < 1 or len(view) % stride:
        raise UsageError(f"{len(view)} bytes are no whole number of contexts of {stride}")
    if any(_wants_packet(insn) for insn in prog.insns):
        raise NotSupported(
            "contexts for a program that reads its packet (BPF_LD_ABS, BPF_LD_IND, bpf_skb_load_bytes)",
            "they have none: run_packets",
        )
    if prog.max_ctx_offset > stride:
        raise UsageError(f"the program reads {prog.max_ctx_offset} bytes of its context, which has {stride}")
    count = len(view) // stride
    out = array("Q", bytes(8 * count))
    if not count:
        return out
    start = address_of(view)
    region = Region(start, len(view), view, "the contexts", "ctx", stride=stride, limit=stride)
    kernel.memory.add(region)
    try:
        native = native_program(prog)
        if native is None:
            run = prog.compiled.run
            for number in range(count):
                out[number] = run(start + number * stride)
        else:
            native.batch("contexts", Batch(base=start, stride=stride, verdicts=out.buffer_info()[0], count=count))
    finally:
        kernel.memory.remove(region)
    return out
