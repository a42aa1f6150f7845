"""What an engine needs from the kernel around it, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from bombus.errors import VmFault
from bombus.isa.facts import Facts
from bombus.isa.insn import Insn
from bombus.vm.jumps import JumpTable
from bombus.vm.memory import Memory
from bombus.vm.run import Run

HelperFn = Callable[[int, int, int, int, int], int | None]
"""A bound helper: r1..r5 as unsigned 64-bit ints in, r0 as any int out (the engine masks it to 64 bits; None: 0).

A VmFault that it raises without `insn` leaves the engine with the index of the calling instruction.
"""


class ArrayPlace(NamedTuple):
    """Value i of CPU c lies at start + i * stride + c * cpu_stride (0: all CPUs share it); i is below entries."""

    start: int
    stride: int
    entries: int
    cpu_stride: int = 0


# A map is HANDLE_BASE + HANDLE_STRIDE * id to programs: no address, and it looks like one of the kernel's.
HANDLE_BASE = 0xFFFF_C900_0000_0000
HANDLE_STRIDE = 0x1000
HANDLES = 1 << 20  # ids that tables of native memory have room for

ASK = 0xFFFF_FFFF_FFFF_FFFF
"""What code that does not know says: ask the helper."""


@dataclass(frozen=True, slots=True, eq=False)
class MapCode:
    """A map's operations as LLVM IR, to be taken into the code of programs.

    address: of the map's memory, which `keep` owns. calls: helper -> function, and what it gets after that address: "1"
    to "5" for registers, "c" for the CPU, "y" for 1, "w" for whether the world is ordinary (where it is not, the
    function may answer ASK: then the helper is called); all u64. For helpers that walk over the map
    (`jit.walks`) only "o": keys are memory of the map, or "b": there are `begin` and
    `finish`, too. head, definitions, declarations: the text. digest: names it.
    by_handle: it serves all maps of a type; address is then that of a table, by id, of where their memory lies (0: the
    helper has to be called).
    """

    address: int
    calls: Mapping[int, tuple[str, str]]
    head: str
    definitions: str
    declarations: frozenset[str]
    digest: str
    keep: object
    by_handle: bool = False


class Compiled(Protocol):
    """A program ready to run on some engine. base: the address, for `call`, of the function at instruction 0; that of
    one at another instruction is eight times its index behind it."""

    @property
    def base(self) -> int: ...

    def prepare(self) -> None:
        """Do now what the first run would have to do before it starts (compiling, say)."""

    def run(self, ctx: int) -> int:
        """Run from instruction 0 with r1 = ctx; returns r0 as u64. Raises VmFault."""

    def call(self, address: int, args: Sequence[int]) -> int:
        """Call the subprogram whose BPF_PSEUDO_FUNC address is `address` (for callbacks); returns r0.

        Inside a run of this program it takes the next stack frame of that run, otherwise (timers) it is a
        run of its own. VmFault("call") for an address that is no function of this program.
        """

    def enter(self, ctx: int, run: Run) -> int:
        """Run from instruction 0 in the frame that `run` is in now: what a tail call does."""


class Env(Protocol):
    """One program's surroundings. Bound when the program is loaded, so calls need no look-up.

    `PlainEnv` is one to inherit from.
    """

    memory: Memory

    @property
    def facts(self) -> Facts | None:
        """What a verifier that accepted the program found: an engine may leave out checks of that. None: unverified."""

    @property
    def whole_context(self) -> bool:
        """Is the context there as far as a verifier lets programs read it?"""

    @property
    def packet_words(self) -> int:
        """Behind the context, at this offset, lie addresses of the packet as u64: of its first byte, its end, its link
        layer and its network header. 0: nothing does."""

    @property
    def ordinary(self) -> bool:
        """Are clocks the machine's, and random numbers any?"""

    @property
    def label(self) -> str:
        """What profilers call the program, as the kernel: bpf_prog_TAG_NAME."""

    @property
    def called(self) -> frozenset[int]:
        """Functions (indices of instructions) that helpers call though no instruction names their address."""

    @property
    def cpu(self) -> int:
        """The CPU that programs run on now."""

    def array(self, map_id: int) -> ArrayPlace | None:
        """Where the values of a map lie when it is an array whose look-ups are arithmetic and nothing else."""

    def map_code(self, map_id: int) -> MapCode | None:
        """The operations of a map as code; None where only helpers do them."""

    def helper_code(self) -> MapCode | None:
        """Helpers as code that take no map; None where there is none."""

    def inner_code(self, map_type: int) -> MapCode | None:
        """The operations of maps of a type (its number) that maps of maps hold; None where only helpers do them."""

    def jump_table(self, map_id: int = 0, *, handle: int = 0) -> JumpTable | None:
        """The table beside an array of programs, by its id or as programs name it; None where there is none."""

    def helper(self, number: int) -> HelperFn:
        """The body of a helper, bound to this program. Asked once per call site, when compiling.

        Raises VmFault for one that does not exist: the engine raises it when (and only when) the call is
        reached. Any other exception leaves `Engine.compile`. Never asked for 12, tail_call.
        """

    def kfunc(self, btf_id: int, module_fd_index: int) -> HelperFn:
        """The body of a kfunc, bound to this program. Raises as `helper`."""

    def tail_call(self, ctx: int, array: int, index: int) -> Compiled | None:
        """The program that bpf_tail_call jumps to, or None to fall through (empty slot, out of range).

        `index` is unsigned 32 bits. The engine counts the calls.
        """

    def load_packet(self, skb: int, offset: int, size: int) -> int | None:
        """BPF_LD_ABS and BPF_LD_IND: `size` bytes (1, 2, 4) of the packet as a big-endian number.

        `skb` is r6, `offset` is signed, below 0 in the SKF_LL_OFF/SKF_NET_OFF windows. None where the
        packet does not hold the bytes: the program then returns 0.
        """

    def address_cast(self, value: int, to: int, from_: int) -> int:
        """addr_space_cast of a u64 between spaces 0 (kernel) and 1 (arena); returns a u64."""


class Engine(Protocol):
    name: str

    def compile(self, insns: Sequence[Insn], env: Env, base: int | None = None) -> Compiled:
        """Make insns runnable. base: `Compiled.base` of another form of the program, to be that of this one too.

        The 64-bit immediates of ld_imm64 are already what the register gets, whatever
        their `src` says, except for BPF_PSEUDO_FUNC: there the function starts `imm` slots after the next
        one, and the engine makes up an address for it, which `Compiled.call` knows.

        Any instructions are taken: what has no meaning is a VmFault when it is reached.
        """


class PlainEnv:
    """Surroundings that offer memory and a table of helpers, nothing else. Base class for richer ones."""

    __slots__ = ("helpers", "kfuncs", "memory")

    facts: Facts | None = None
    whole_context = False
    packet_words = 0
    ordinary = True
    called: frozenset[int] = frozenset()
    cpu = 0
    label = "bpf_prog"

    def __init__(self, memory: Memory | None = None, helpers: dict[int, HelperFn] | None = None) -> None:
        self.memory = memory or Memory()
        self.helpers: dict[int, HelperFn] = helpers or {}
        self.kfuncs: dict[tuple[int, int], HelperFn] = {}

    def array(self, map_id: int) -> ArrayPlace | None:
        return None

    def map_code(self, map_id: int) -> MapCode | None:
        return None

    def helper_code(self) -> MapCode | None:
        return None

    def inner_code(self, map_type: int) -> MapCode | None:
        return None

    def jump_table(self, map_id: int = 0, *, handle: int = 0) -> JumpTable | None:
        return None

    def helper(self, number: int) -> HelperFn:
        try:
            return self.helpers[number]
        except KeyError:
            raise VmFault("helper", f"there is no helper {number} here") from None

    def kfunc(self, btf_id: int, module_fd_index: int) -> HelperFn:
        try:
            return self.kfuncs[btf_id, module_fd_index]
        except KeyError:
            raise VmFault("helper", f"there is no kernel function {btf_id} here") from None

    def tail_call(self, ctx: int, array: int, index: int) -> Compiled | None:
        return None

    def load_packet(self, skb: int, offset: int, size: int) -> int | None:
        return None

    def address_cast(self, value: int, to: int, from_: int) -> int:
        """Arena pointers are real addresses here, so a cast changes nothing."""
        return value
