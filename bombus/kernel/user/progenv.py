"""A loaded program's surroundings: what its engine asks for while it runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from bombus.errors import VmFault
from bombus.isa import opcodes as op
from bombus.kernel.user.maps.fdarray import ProgArrayMap
from bombus.kernel.user.world import world_of
from bombus.kernel.user.world.world import SystemRandom
from bombus.spec.verdicts import PACKET_TYPES
from bombus.vm.env import ArrayPlace, Compiled, HelperFn, MapCode

if TYPE_CHECKING:
    from bombus.isa.facts import Facts
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.maps.base import Map
    from bombus.kernel.user.prog import Prog
    from bombus.vm.jumps import JumpTable

_NONE: Final[frozenset[int]] = frozenset()
_MAIN: Final = frozenset({0})


class ProgEnv:
    """The `vm.env.Env` of one program, and what helper bodies get as their first argument."""

    __slots__ = ("contexts", "kernel", "memory", "prog", "world")

    def __init__(self, kernel: UserKernel, prog: Prog) -> None:
        self.kernel = kernel
        self.memory = kernel.memory
        self.prog = prog
        self.world = world_of(kernel)
        self.contexts = self.world.contexts

    # For engines

    @property
    def facts(self) -> Facts | None:
        return self.prog.facts

    @property
    def whole_context(self) -> bool:
        return self.prog.acts_as.name in PACKET_TYPES

    @property
    def packet_words(self) -> int:
        from bombus.kernel.user.hooks.skb import CTX_SIZE
        from bombus.kernel.user.hooks.skbrun import KINDS

        return CTX_SIZE if self.prog.acts_as.name in KINDS else 0

    @property
    def ordinary(self) -> bool:
        return self.world.clock.fixed is None and type(self.world.random) is SystemRandom

    @property
    def label(self) -> str:
        name = self.prog.name.decode()
        return f"bpf_prog_{self.prog.tag.hex()}{'_' * bool(name)}{name}"

    @property
    def called(self) -> frozenset[int]:
        # An extension is called with the arguments of what it replaces.
        return _MAIN if self.prog.type.name == "BPF_PROG_TYPE_EXT" else _NONE

    @property
    def cpu(self) -> int:
        return self.world.cpu

    def array(self, map_id: int) -> ArrayPlace | None:
        item = next((one for one in self.prog.maps if one.id == map_id), None)
        return None if item is None else item.place()

    def map_code(self, map_id: int) -> MapCode | None:
        item = next((one for one in self.prog.maps if one.id == map_id), None)
        return None if item is None else item.code()

    def helper_code(self) -> MapCode | None:
        if self.kernel.maps == "python":
            return None
        from bombus.kernel.user.maps.mapcode import helper_code
        from bombus.runtime.maps.kinds import OF_DYNPTRS

        version = self.kernel.version
        code = helper_code({"version": version[0] << 8 | version[1], "words": self.packet_words})
        if code is not None and self._has_other_dynptrs():
            code = replace(code, calls={n: call for n, call in code.calls.items() if n not in OF_DYNPTRS})
        return code

    def _has_other_dynptrs(self) -> bool:
        """Those over packets are made by kernel functions, or by the program that an extension is part of."""
        return self.prog.type.name == "BPF_PROG_TYPE_EXT" or any(
            insn.opcode == op.CALL and insn.src == op.BPF_PSEUDO_KFUNC_CALL for insn in self.prog.insns
        )

    def inner_code(self, map_type: int) -> MapCode | None:
        if self.kernel.maps == "python":
            return None
        from bombus.kernel.user.maps.mapcode import problem

        return None if problem() else self.kernel.native_inner_maps().code(map_type)

    def jump_table(self, map_id: int = 0, *, handle: int = 0) -> JumpTable | None:
        item = next((one for one in self.prog.maps if one.id == map_id or one.handle == handle), None)
        return item.jump_table() if isinstance(item, ProgArrayMap) else None

    def helper(self, number: int) -> HelperFn:
        from bombus.kernel.user.helpers.registry import bind

        body = bind(number, self)
        if body is None:
            raise VmFault("helper", f"there is no helper {number} here")
        return body

    def kfunc(self, btf_id: int, module_fd_index: int) -> HelperFn:
        from bombus.kernel.user import kfuncs

        name = self.kernel.function_name(btf_id) if not module_fd_index else ""
        body = kfuncs.bind(name, self) if name else None
        if body is None:
            raise VmFault("helper", f"the user kernel has no kernel function {name or btf_id}")
        return body

    def tail_call(self, ctx: int, array: int, index: int) -> Compiled | None:
        item = self.map(array)
        if index >= item.max_entries:
            return None
        target: Any = item.target(index)  # type: ignore[attr-defined]
        return target.compiled if target is not None else None

    def load_packet(self, skb: int, offset: int, size: int) -> int | None:
        context = self.contexts.get(skb)
        return None if context is None else context.load_absolute(offset, size)

    def address_cast(self, value: int, to: int, from_: int) -> int:
        return value

    # For helpers

    def map(self, handle: int) -> Map:
        """The map behind a register. VmFault("helper") when there is none."""
        item = self.kernel.map_by_address(handle)
        if item is None:
            raise VmFault("helper", f"{handle:#x} is not a map")
        return item

    def context(self, address: int) -> Any:
        """The packet (or other object) whose context a program passes. VmFault("helper") when there is none."""
        try:
            return self.contexts[address]
        except KeyError:
            raise VmFault("helper", f"{address:#x} is not the context of a program") from None

    def call(self, function: int, *args: int) -> int:
        """Call a function of the program (a callback)."""
        return self.prog.compiled.call(function, args)
