"""Programs of generated skeletons: one class for each way in which a program can be run by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from bombus.errors import UsageError
from bombus.skeleton.values import S, Struct

if TYPE_CHECKING:
    import os

    from bombus.kernel.handles import Program as Handle
    from bombus.object.model import ProgramSpec
    from bombus.skeleton.core import Attached, Core

C = TypeVar("C", bound=Struct)


@dataclass(frozen=True, slots=True)
class Run(Generic[C]):
    """What a run left. retval: r0 as u32; data: the packet; ctx: the context, when one was given; duration: mean ns."""

    retval: int
    data: bytes
    ctx: C | None
    duration: int
    prog_type: str
    length: int

    @property
    def verdict(self) -> str:
        """The kernel's name of what retval means for a packet: "XDP_PASS", "TC_ACT_SHOT". UsageError for program
        types that judge no packets."""
        from bombus.spec.verdicts import PACKET_TYPES, verdict_of

        if self.prog_type not in PACKET_TYPES:
            raise UsageError(f"programs of type {self.prog_type} give no verdict on packets")
        return verdict_of(self.prog_type, self.retval, self.length).name


class Program:
    """One program. `handle` is the program of `bombus.kernel.handles`, after load."""

    def __init__(self, core: Core, name: str) -> None:
        self.name = name
        self._core = core
        core.add_program(self)

    @property
    def spec(self) -> ProgramSpec:
        return self._core.program_spec(self.name)

    @property
    def handle(self) -> Handle:
        return self._core.program(self.name)

    @property
    def autoload(self) -> bool:
        """Whether load() loads it; settable before that."""
        return self._core.autoload.get(self.name, self.spec.autoload)

    @autoload.setter
    def autoload(self, wanted: bool) -> None:
        self._core.before_load("autoload")
        self._core.autoload[self.name] = wanted

    @property
    def autoattach(self) -> bool:
        """Whether Skeleton.attach attaches it; settable."""
        return self._core.autoattach.get(self.name, True)

    @autoattach.setter
    def autoattach(self, wanted: bool) -> None:
        self._core.autoattach[self.name] = wanted

    def set_target(self, program: Handle | Program, function: str = "") -> None:
        """What a freplace, fentry or fexit program is for: a function of a loaded program, by default the one that its
        section names. Before load()."""
        self._core.before_load("the target")
        handle = program.handle if isinstance(program, Program) else program
        self._core.targets[self.name] = handle, function or self.spec.target

    def attach(self, *target: Any, **options: Any) -> Attached:
        """Attach it as its section says; `target` where the section does not: an interface, a cgroup, a socket, ...
        See `attach` of `handle`, which also has methods for each kind. The link is the caller's: store it in `links`,
        use it in `with`, or close it."""
        return self.handle.attach(*target, **options)

    def pin(self, path: str | os.PathLike[str]) -> None:
        self.handle.pin(path)

    def _run(
        self, kind: type[S], data: bytes | None, ctx: S | bytes | None, **more: Any
    ) -> Any:
        raw = None if ctx is None else bytes(ctx)
        result = self.handle.test_run(data, raw, **more)
        back = kind.from_bytes(result.ctx.ljust(kind.SIZE, b"\0")) if result.ctx else None
        return Run(result.retval, result.data, back, result.duration, self.spec.prog_type, len(data or b""))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class PacketProgram(Program, Generic[C]):
    """Runs on packets: xdp, tc, socket filters, cgroup_skb, lwt, flow dissectors."""

    def __init__(self, core: Core, name: str, context: type[C]) -> None:
        super().__init__(core, name)
        self._context = context

    def test_run(self, data: bytes, ctx: C | None = None, *, repeat: int = 0, flags: int = 0) -> Run[C]:
        """BPF_PROG_TEST_RUN on a packet. KernelError as the kernel says."""
        found: Run[C] = self._run(self._context, data, ctx, repeat=repeat, flags=flags)
        return found


class ContextProgram(Program, Generic[C]):
    """Runs on a context struct: syscall, sk_lookup and the like."""

    def __init__(self, core: Core, name: str, context: type[C]) -> None:
        super().__init__(core, name)
        self._context = context

    def test_run(self, ctx: C | None = None, *, flags: int = 0) -> Run[C]:
        """BPF_PROG_TEST_RUN on a context. Syscall programs write theirs; it comes back as `ctx` of the result."""
        found: Run[C] = self._run(self._context, None, ctx, flags=flags)
        return found


class TracingProgram(Program):
    """Runs on up to 12 arguments: raw tracepoints; fentry and the like take none in a test run."""

    def test_run(self, args: Sequence[int] = (), *, cpu: int | None = None) -> Run[Struct]:
        """BPF_PROG_TEST_RUN with arguments as 64-bit words. cpu: run it there (BPF_F_TEST_RUN_ON_CPU)."""
        raw = b"".join((arg & (1 << 64) - 1).to_bytes(8, "little") for arg in args)
        result = self.handle.test_run(
            None, raw or None, flags=0 if cpu is None else 1, cpu=cpu or 0,
        )  # fmt: skip
        return Run(result.retval, b"", None, result.duration, self.spec.prog_type, 0)
