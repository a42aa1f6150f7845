"""Programs of the dialect as plain Python, on the user kernel's maps and helper bodies.

`PlainMachine` is what `bombus.bpf` runs programs on: contexts and packets are those of the user kernel's hooks, helpers
are its bodies, maps its maps. Only the program itself is not BPF but the Python function, so breakpoints, coverage and
exceptions work in it.
"""

from __future__ import annotations

import errno
import inspect
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bombus.bits import U32, U64, ring_size
from bombus.bpf.contexts import Skb, XdpMd
from bombus.bpf.flow import Thrown, forget_budgets
from bombus.bpf.ints import Scalar
from bombus.bpf.machine import pointed
from bombus.bpf.maps import Map as Declared
from bombus.bpf.program import Program
from bombus.bpf.struct import Ref, Struct, view_as
from bombus.btf.build import Builder
from bombus.btf.types import INT_SIGNED, Int
from bombus.btf.types import Struct as BtfStruct
from bombus.errors import KernelError, NotSupported, UsageError, VmFault
from bombus.kernel.api import Attr
from bombus.kernel.handles import Map
from bombus.kernel.user import kfuncs
from bombus.kernel.user.helpers.registry import bind
from bombus.kernel.user.hooks import skbrun, xdprun
from bombus.kernel.user.hooks.xdp import ETH_HLEN, HEADROOM, PAGE, TAILROOM
from bombus.kernel.user.iterate import LINK_INFO, IterRun, target_of
from bombus.kernel.user.kernel import UserKernel
from bombus.kernel.user.maps.base import Map as KernelMap
from bombus.kernel.user.maps.storage import drop_test_run
from bombus.kernel.user.prog import Prog
from bombus.kernel.user.world import world_of
from bombus.kernel.user.world.objects import set_maker
from bombus.plain.structs import PlainStructs
from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.spec.helpers import HELPER_BY_ID, allowed
from bombus.spec.progtypes import PROG_TYPE
from bombus.spec.sections import resolve
from bombus.vm.run import Run

_TYPED: Final = frozenset(
    f"BPF_MAP_TYPE_{name}_STORAGE" for name in ("SK", "TASK", "INODE", "CGRP")
)
_CALLBACKS: Final = 0x7FFF_C0DE_0000_0000  # addresses that no memory has
_TAIL_CALLS: Final = 33
CHUNK: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Outcome:
    """verdict: what the program returned, as its own type; data: the packet afterwards (None without one)."""

    verdict: Any
    data: bytes | None


class _Left(Exception):
    """A tail call went to another program, which returned `value`."""

    def __init__(self, value: Any) -> None:
        self.value = value


class _Callbacks:
    """What helper bodies know as the running program: calls of its functions go to Python."""

    base = 0

    def __init__(self, machine: PlainMachine) -> None:
        self._machine = machine

    def run(self, ctx: int) -> int:
        raise NotSupported("running a plain Python program through an engine")

    def enter(self, ctx: int, run: Run) -> int:
        raise NotSupported("running a plain Python program through an engine")

    def prepare(self) -> None:
        pass

    def call(self, address: int, args: Sequence[int]) -> int:
        return self._machine.call_back(address, args)


class PlainMachine:
    """One user kernel for programs in plain Python. kernel: an own one (Linux 6.12, 4 CPUs) unless given."""

    def __init__(self, kernel: UserKernel | None = None) -> None:
        self.kernel = kernel or UserKernel(version="6.12", cpus=4)
        self.memory = self.kernel.memory
        self.kept: dict[int, Any] = {}
        self.cpus = self.kernel.possible_cpus
        self._maps: dict[Declared, Map] = {}
        self._programs: dict[str, Prog] = {}
        self._running: list[Prog] = []
        self._functions: list[Callable[..., Any]] = []
        self._slots: dict[tuple[Declared, int], Program[Any, Any]] = {}
        self._tail_calls = 0
        self._kernel_maps: list[KernelMap] = []  # as every program sees them
        self._structs = PlainStructs(self.memory)
        set_maker(self.kernel, self._structs.make)

    # Maps

    def map(self, declared: Declared) -> Map:
        """The map of a declaration, made when first asked for."""
        known = self._maps.get(declared)
        if known is None:
            known = self._maps[declared] = self._make(declared)
        return known

    def _make(self, declared: Declared) -> Map:
        from bombus.bpf.layout import size_of

        sizes = [size_of(kind) if kind is not None else 0 for kind in (declared.key, declared.value)]
        entries = declared.max_entries
        if not entries and declared.MAP_TYPE == "BPF_MAP_TYPE_PERF_EVENT_ARRAY":
            entries = self.kernel.possible_cpus
        if entries and declared.MAP_TYPE in ("BPF_MAP_TYPE_RINGBUF", "BPF_MAP_TYPE_USER_RINGBUF"):
            entries = ring_size(entries)
        more: dict[str, Any] = {"map_extra": declared.extra} if declared.extra else {}
        key, value = sizes
        if declared.inner is not None:
            more["inner"] = self.map(declared.inner)
        if declared.MAP_TYPE in _TYPED:
            more |= {"btf_fd": self._types(key, value), "btf_key_type_id": 1, "btf_value_type_id": 2}
        made = Map.create(self.kernel, declared.MAP_TYPE, key, value, entries, flags=declared.flags, **more)
        self._kernel_maps.append(self.kernel.map_by_fd("a helper", made.fd))
        return made

    def _types(self, key: int, value: int) -> int:
        """A descriptor of BTF with an integer and a struct of these sizes: some maps want types."""
        builder = Builder()
        builder.add(Int("key", key, INT_SIGNED))
        builder.add(BtfStruct("value", value, ()))
        data = builder.to_bytes()
        return self.kernel.bpf(Attr("BPF_BTF_LOAD", btf=data, btf_size=len(data)))

    def contents(self, declared: Declared) -> list[tuple[Any, Any]]:
        """Keys and values as the program declares them: ints, or structs. A value for each CPU is a list."""
        handle = self.map(declared)
        found = []
        for key in handle.raw:
            data = handle.raw.lookup(key)
            if handle.type.per_cpu:
                slots = range(0, len(data), handle.raw.slot)
                value: Any = [_typed(declared.value, data[at : at + handle.value_size]) for at in slots]
            else:
                value = _typed(declared.value, data)
            found.append((_typed(declared.key, key), value))
        return found

    def handle(self, item: Any) -> int:
        if item._register:
            return int(item._register)
        return self.kernel.map_by_fd("a helper", self.map(item).fd).handle

    def link(self, array: Declared, index: int, program: Program[Any, Any]) -> None:
        """Put a program into a slot of a program array."""
        self._slots[array, index] = program

    # Helpers

    def call(self, number: int, args: list[int]) -> int:
        if not self._running:
            raise UsageError("helpers run inside of a program: call program.run(...)")
        prog = self._running[-1]
        row = HELPER_BY_ID[number]
        if not allowed(row.name, prog.type.id, prog.expected_attach_type):
            raise UsageError(f"{prog.type.short} programs may not call {row.name}")
        body = bind(number, prog.env)
        if body is None:
            raise NotSupported(f"helper {row.name}", "the user kernel has no body for it")
        padded = [*map(self._structs.known, args), 0, 0, 0, 0, 0]
        return (body(*padded[:5]) or 0) & U64

    def kernel_struct(self, kind: type[Struct], address: int) -> Struct | None:
        return self._structs.view(kind, address)

    def call_kernel(self, name: str, args: list[int]) -> int:
        if not self._running:
            raise UsageError("functions of the kernel run inside of a program: call program.run(...)")
        body = kfuncs.bind(name, self._running[-1].env)
        if body is None:
            raise NotSupported(f"kernel function {name}", "the user kernel, where plain Python runs, does not have it")
        padded = [*map(self._structs.known, args), 0, 0, 0, 0, 0]
        return (body(*padded[:5]) or 0) & U64

    def function(self, body: Callable[..., Any]) -> int:
        if body not in self._functions:
            self._functions.append(body)
        return _CALLBACKS + self._functions.index(body)

    def call_back(self, address: int, args: Sequence[int]) -> int:
        index = address - _CALLBACKS
        if not 0 <= index < len(self._functions):
            raise VmFault("call", f"{address:#x} is no function of this program")
        body = self._functions[index]
        kinds = typing.get_type_hints(inspect.unwrap(body))
        names = list(inspect.signature(body).parameters)
        values = [_value(kinds[name], arg) for name, arg in zip(names, args, strict=False)]
        result = body(*values)
        return 0 if result is None else int(result) & U64

    def tail_call(self, ctx: Any, array: Any, index: int) -> None:
        target = self._slots.get((array, index & U32))
        if target is None or index >= array.max_entries or self._tail_calls >= _TAIL_CALLS:
            return
        self._tail_calls += 1
        raise _Left(self._enter(target, ctx))

    # Running

    def run(self, program: Any, data: bytes | None, ctx: Any) -> Outcome:
        """Run a program on a packet (XDP and skb types) or on a context struct (others).

        KernelError for packets that a test run would not take, VmFault for what the verifier would have refused,
        and whatever the program itself raises.
        """
        kind = self._prog(program)
        self._tail_calls = 0
        try:
            return self._run(program, kind, data, ctx)
        finally:
            drop_test_run(kind)

    def _run(self, program: Program[Any, Any], kind: Prog, data: bytes | None, ctx: Any) -> Outcome:
        if data is None:
            if ctx is None:
                raise UsageError(f"{program.__name__} runs on a packet or on a context: run(data) or run(ctx=...)")
            return Outcome(self._enter(program, ctx), None)
        if kind.type.short == "xdp":
            return self._run_xdp(program, data)
        if kind.type.name in skbrun.KINDS:
            return self._run_skb(program, kind, data)
        raise UsageError(f"{kind.type.short} programs do not run on packets; give ctx=...")

    def iterate(self, program: Any) -> bytes:
        """Run an iterator program over what its section names, here the tasks of the kernel's world; what it wrote."""
        kind = next(iter(typing.get_type_hints(inspect.unwrap(program.function)).values()))
        prog = self._prog(program)
        name = program.section.partition("/")[2]
        if prog.expected_attach_type != ATTACH_TYPE["BPF_TRACE_ITER"].id:
            raise UsageError(f"{program.__name__} is no iterator program")

        def run(ctx: int) -> int:
            return int(self._enter(program, pointed(kind, ctx)))

        opened = IterRun(self.kernel, target_of(name), bytes(LINK_INFO), run)
        out = bytearray()
        try:
            while chunk := _read(opened):
                out += chunk
        finally:
            opened.put()
        return bytes(out)

    def _prog(self, program: Program[Any, Any]) -> Prog:
        known = self._programs.get(program.section)
        if known is None:
            match = resolve(program.section)
            if match is None:
                raise UsageError(f"there is no kind of program for section {program.section!r}")
            known = self._programs[program.section] = Prog(self.kernel, PROG_TYPE[match.section.prog_type])
            attach = match.section.attach_type
            known.expected_attach_type = ATTACH_TYPE[attach].id if attach else 0
            known.gpl = True
            known.compiled = _Callbacks(self)
            known.maps = self._kernel_maps
        return known

    def _enter(self, program: Program[Any, Any], ctx: Any) -> Any:
        self._running.append(self._prog(program))
        try:
            return program.function(*ctx) if isinstance(ctx, tuple) else program.function(ctx)
        except _Left as left:
            return left.value
        except Thrown as thrown:
            return thrown.value
        finally:
            self._running.pop()
            if not self._running:
                forget_budgets()

    def _run_xdp(self, program: Program[Any, Any], data: bytes) -> Outcome:
        if len(data) < ETH_HLEN:
            raise UsageError(f"a frame has at least {ETH_HLEN} bytes, not {len(data)}")
        world = world_of(self.kernel)
        buff = xdprun.borrow(self.kernel, world)
        try:
            buff.fill(data, HEADROOM, min(len(data), PAGE - HEADROOM - TAILROOM), 0)
            verdict = self._enter(program, XdpMd._at(buff.ctx.view, buff.ctx.start))
            return Outcome(verdict, bytes(buff.frame.view[buff.data : buff.end]) + b"".join(buff.frags))
        finally:
            xdprun.give_back(world, buff)

    def _run_skb(self, program: Program[Any, Any], kind: Prog, data: bytes) -> Outcome:
        if not ETH_HLEN <= len(data) <= skbrun.MAX_DATA:
            raise UsageError(f"a packet has {ETH_HLEN} to {skbrun.MAX_DATA} bytes, not {len(data)}")
        world = world_of(self.kernel)
        skb = skbrun.borrow(self.kernel, world)
        try:
            layer2 = skbrun.prepare(skb, kind, data, world, 1)
            skb.sync()
            verdict = self._enter(program, Skb._at(skb.ctx.view, skb.ctx.start))
            return Outcome(verdict, skbrun.finish_packet(skb, layer2))
        finally:
            skbrun.give_back(world, skb)


def _typed(kind: Any, data: bytes) -> Any:
    """Bytes of a map as a value of a type: an int, or a struct with memory of its own."""
    if isinstance(kind, type) and issubclass(kind, Scalar):
        return int(kind.from_bytes(data))
    return view_as(kind, memoryview(bytearray(data)), 0)


def _read(opened: IterRun) -> bytes:
    """The next bytes of an iterator, however often its program asks for another try."""
    while True:
        try:
            return opened.read(CHUNK)
        except KernelError as error:
            if error.errno != errno.EAGAIN:
                raise


def _value(kind: Any, raw: int) -> Any:
    """A register of a callback as its parameter's type."""
    if isinstance(kind, type) and issubclass(kind, Scalar):
        return kind._make(raw)
    if typing.get_origin(kind) is Ref:
        return pointed(typing.get_args(kind)[0], raw)
    if isinstance(kind, type) and issubclass(kind, Struct):
        return pointed(kind, raw)
    inside = [item for item in typing.get_args(kind) if item is not type(None)]
    if len(inside) == 1:
        return _value(inside[0], raw)
    raise UsageError(f"a callback's parameter is an integer or a reference, not {kind}")
