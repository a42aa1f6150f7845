"""Functions and tracepoints of the user kernel that programs are attached to: fentry, fexit, fmod_ret, LSM, raw_tp.

A function is called through `called`, a tracepoint is reached by `reached`: what is attached there runs then. Order
and skipping are those of Linux 6.12 kernel/bpf/trampoline.c (bpf_trampoline_get_progs: the newest first),
arch/x86/net/bpf_jit_comp.c (invoke_bpf_mod_ret: one that does not return 0 stands for the function),
kernel/tracepoint.c.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple
from weakref import WeakKeyDictionary

from bombus.bits import U32, U64
from bombus.btf.types import Func, FuncProto, Kind
from bombus.errors import KernelError
from bombus.kernel.user.hooks.testrun import whole
from bombus.kernel.user.world import world_of
from bombus.kernel.user.world.cgroups import run_programs

if TYPE_CHECKING:
    from bombus.kernel.api import Attr
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog
    from bombus.kernel.user.userlink import UserLink
    from bombus.kernel.user.world.cgroups import Cgroup

CALL: Final = "BPF_RAW_TRACEPOINT_OPEN"
MOST: Final = 38  # BPF_MAX_TRAMP_LINKS
# Which of the four lists of a function a program is on, by its attach type.
KINDS: Final = {
    "BPF_TRACE_FENTRY": "before", "BPF_TRACE_FEXIT": "after", "BPF_MODIFY_RETURN": "instead", "BPF_LSM_MAC": "instead",
}  # fmt: skip
# Functions that the user kernel calls: those that test runs call, and security hooks.
CALLED: Final = (
    *(f"bpf_fentry_test{number}" for number in range(1, 11)), "bpf_modify_return_test", "bpf_modify_return_test2",
    "bpf_lsm_bpf", "bpf_lsm_socket_create", "bpf_lsm_socket_post_create", "bpf_lsm_socket_bind",
    "bpf_lsm_socket_connect", "bpf_lsm_socket_listen", "bpf_lsm_socket_getsockname", "bpf_lsm_socket_getpeername",
    "bpf_lsm_socket_setsockopt", "bpf_lsm_socket_getsockopt",
)  # fmt: skip


class Attached(NamedTuple):
    """A program at a function; without a link what stands there for the programs of cgroups, which are under `key`."""

    link: UserLink | None
    cookie: int
    key: int = 0


class Hooks:
    """What is attached in one kernel. functions: by name and kind; points: tracepoints by name."""

    def __init__(self) -> None:
        self.functions: dict[tuple[str, str], list[Attached]] = {}
        self.points: dict[str, list[Attached]] = {}

    def add_function(self, name: str, kind: str, link: UserLink, cookie: int) -> None:
        """KernelError(EBUSY) for a program that is there already, E2BIG for too many."""
        here = self.functions.setdefault((name, kind), [])
        if any(one.link is not None and one.link.prog is link.prog for one in here):
            raise KernelError(errno.EBUSY, CALL, f"the program is attached to {name} already")
        if sum(len(found) for (other, _), found in self.functions.items() if other == name) >= MOST:
            raise KernelError(errno.E2BIG, CALL, f"{MOST} programs are attached to {name}")
        here.insert(0, Attached(link, cookie))
        link.undo = lambda: _remove(here, link)

    def add_cgroups(self, name: str, key: int, *, first: bool) -> None:
        """Programs of cgroups are attached to a security hook: all run where the first of them came to be."""
        here = self.functions.setdefault((name, "instead"), [])
        if first:
            here[:] = [Attached(None, 0, key), *(one for one in here if one.link is not None)]

    def add_point(self, name: str, link: UserLink, cookie: int) -> None:
        here = self.points.setdefault(name, [])
        here.append(Attached(link, cookie))
        link.undo = lambda: _remove(here, link)

    def watched(self, name: str) -> bool:
        """Whether a program is attached to a function."""
        return any(self.functions.get((name, kind)) for kind in ("before", "instead", "after"))


def _remove(here: list[Attached], link: UserLink) -> None:
    here[:] = [one for one in here if one.link is not link]


_HOOKS: WeakKeyDictionary[UserKernel, Hooks] = WeakKeyDictionary()


def hooks_of(kernel: UserKernel) -> Hooks:
    found = _HOOKS.get(kernel)
    if found is None:
        found = _HOOKS[kernel] = Hooks()
    return found


def called(
    kernel: UserKernel, name: str, args: Sequence[int], body: Callable[[], int], cgroup: Cgroup | None = None
) -> int:
    """Call a function of the kernel: its result, or that of the program which stands for it, as an s32.

    cgroup: whose programs run, of those of cgroups; the current task's by default.
    """
    hooks = hooks_of(kernel)
    if not hooks.watched(name):
        return body()
    words = [len(args), *(arg & U64 for arg in args), 0]
    # Before the arguments: their count, for bpf_get_func_arg; after them: the result.
    ctx = kernel.memory.allocate(8 * len(words), name=f"the arguments of {name}", kind="ctx")
    try:
        def run(kind: str, result: int) -> int | None:
            for one in hooks.functions.get((name, kind), ())[:]:
                words[-1] = result
                ctx.view[:] = struct.pack(f"<{len(words)}Q", *words)
                returned = run_attached(kernel, one, ctx.start + 8, cgroup)
                if kind == "instead" and returned:
                    return returned
            return None

        run("before", 0)
        instead = run("instead", 0)
        # What a program returns is all of r0; an int of the function leaves the upper half zero.
        result = body() & U32 if instead is None else instead
        run("after", result)
        return _s32(result)
    finally:
        kernel.memory.remove(ctx)


def run_attached(kernel: UserKernel, one: Attached, ctx: int, cgroup: Cgroup | None = None) -> int:
    """Run a program at its function. One that is running there already does not run (__bpf_prog_enter_recur): 0."""
    world = world_of(kernel)
    if one.link is None:
        group = cgroup or kernel.cgroups.numbered(world.task.cgroup_id)
        return run_programs(kernel, group.effective(one.key), ctx)
    prog: Prog = one.link.prog
    if prog.active:
        prog.misses += 1
        return 0
    before, world.cookie = world.cookie, one.cookie
    prog.active = True
    try:
        return whole(prog, ctx)[0]
    finally:
        prog.active = False
        world.cookie = before


def reached(kernel: UserKernel, name: str, args: Sequence[int]) -> int:
    """A tracepoint is reached: how many programs ran."""
    here = hooks_of(kernel).points.get(name, ())[:]
    if not here:
        return 0
    ctx = kernel.memory.allocate(8 * max(len(args), 1), name=f"the arguments of {name}", kind="ctx")
    try:
        for one in here:
            ctx.view[:] = struct.pack(f"<{len(args)}Q", *(arg & U64 for arg in args)).ljust(len(ctx.view), b"\0")
            run_attached(kernel, one, ctx.start)
    finally:
        kernel.memory.remove(ctx)
    return len(here)


def allowed(kernel: UserKernel, name: str, call: str, *args: int, cgroup: Cgroup | None = None) -> int:
    """Ask a security hook: KernelError with the errno that a program says; 0, or what a program of a cgroup says that
    is no errno."""
    hooks = hooks_of(kernel)
    if not hooks.watched(name):
        return 0
    types = kernel.types()
    assert types is not None  # the programs were loaded by numbers of it
    found = types.find(name, Kind.FUNC)
    function = types.type(found) if found is not None else None
    proto = types.type(function.type) if isinstance(function, Func) else None
    count = len(proto.params) if isinstance(proto, FuncProto) else len(args)
    answer = called(kernel, name, args[:count], lambda: 0, cgroup)
    if answer < 0:
        raise KernelError(-answer, call, f"a program at {name.removeprefix('bpf_')} forbids it")
    return answer


def check_bpf(kernel: UserKernel, attr: Attr) -> None:
    """The hook of every bpf(2) call: its number, attr, the size of that, and whether the kernel itself calls."""
    name = "bpf_lsm_bpf"
    if not hooks_of(kernel).watched(name):
        return
    copy = kernel.memory.allocate(len(attr.raw), name="union bpf_attr", kind="btf")
    try:
        copy.view[:] = attr.raw
        allowed(kernel, name, attr.command.name, attr.command.id, copy.start, len(attr.raw), 0)
    finally:
        kernel.memory.remove(copy)


def _s32(value: int) -> int:
    value &= 0xFFFF_FFFF
    return value - (1 << 32) if value >> 31 else value
