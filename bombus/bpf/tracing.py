"""Programs at places in the kernel and in user programs: `@tp_btf("sched_switch")`, `@fentry("do_unlinkat")`.

Where the arguments have types, a function names them; a first parameter of a context class gets the context as well:

    @tp_btf("sched_switch")
    def switched(ctx: Arguments, preempt: bool, previous: task_struct, next: task_struct) -> int: ...

A single parameter of a Struct class that is no kernel struct is the context itself, with its members.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar, overload

from bombus.bpf.context import Context
from bombus.bpf.contexts import BpfPerfEventData
from bombus.bpf.ints import u64
from bombus.bpf.program import Program
from bombus.bpf.struct import Array, array
from bombus.errors import UsageError

R = TypeVar("R")


class Arguments(Context, name="bpf_arguments"):
    """The context of programs with typed arguments: one register for each, then the result where there is one."""

    registers: Array[u64] = array(12)


class perf_event(Program[BpfPerfEventData, R]):
    """Runs when a performance counter overflows."""

    SECTION = "perf_event"


class Placed(Program[Any, R]):
    """A program that was given a place."""

    def __init__(self, function: Callable[..., R], section: str) -> None:
        super().__init__(function)
        self.section = section


class _Place:
    """A decorator that wants to know where the program goes."""

    PREFIX: ClassVar[str] = ""

    def __init__(self, target: str) -> None:
        if not isinstance(target, str) or not target:
            raise UsageError(f'a program of this kind has a place; say which: @{type(self).__name__}("...")')
        self.name = f"{self.PREFIX}/{target}"

    def __call__(self, function: Callable[..., R]) -> Program[Any, R]:
        return Placed(function, self.name)


class _Sleepable(_Place):
    """sleepable: the program may call helpers that sleep."""

    def __init__(self, target: str, *, sleepable: bool = False) -> None:
        super().__init__(target)
        if sleepable:
            self.name = f"{self.PREFIX}.s/{target}"


class tracepoint(_Place):
    """Runs at a tracepoint: `@tracepoint("syscalls/sys_enter_openat")`. The context is its record, a Struct."""

    PREFIX = "tracepoint"

    def __init__(self, target: str) -> None:
        super().__init__(target)
        if target.count("/") != 1 or not all(target.split("/")):
            raise UsageError(
                f'a tracepoint is named by its category, too, not {target!r}; write @tracepoint("sched/sched_switch")'
            )


class raw_tracepoint(_Place):
    """Runs at a tracepoint with its raw arguments: `@raw_tracepoint("sched_switch")`."""

    PREFIX = "raw_tracepoint"

    def __init__(self, target: str) -> None:
        super().__init__(target)
        if "/" in target:
            raise UsageError(f'a raw tracepoint has no category; write @raw_tracepoint("{target.rpartition("/")[2]}")')


class raw_tracepoint_writable(_Place):
    """As raw_tracepoint; may write to the first argument."""

    PREFIX = "raw_tracepoint.w"


class tp_btf(_Place):
    """Runs at a tracepoint; arguments are known by BTF."""

    PREFIX = "tp_btf"


class kprobe(_Place):
    """Runs where a kernel function begins: `@kprobe("do_unlinkat")`. Arguments are those of the function."""

    PREFIX = "kprobe"


class kretprobe(_Place):
    """Runs where a kernel function returns. The argument is what it returns."""

    PREFIX = "kretprobe"


class kprobe_multi(_Place):
    """Runs where the functions begin that a pattern names: `@kprobe_multi("tcp_*")`."""

    PREFIX = "kprobe.multi"


class kretprobe_multi(_Place):
    """Runs where the functions return that a pattern names."""

    PREFIX = "kretprobe.multi"


class kprobe_session(_Place):
    """Runs where the functions begin that a pattern names, and, when it returned 0, where they return."""

    PREFIX = "kprobe.session"


class ksyscall(_Place):
    """Runs where a system call begins: `@ksyscall("openat")`. The context is PtRegs."""

    PREFIX = "ksyscall"


class kretsyscall(_Place):
    """Runs where a system call returns. The argument is its result."""

    PREFIX = "kretsyscall"


class uprobe(_Sleepable):
    """Runs in a user program: `@uprobe("/bin/bash:readline")`. Arguments are those of the function."""

    PREFIX = "uprobe"


class uretprobe(_Sleepable):
    """Runs where a function of a user program returns. The argument is what it returns."""

    PREFIX = "uretprobe"


class uprobe_multi(_Place):
    """Runs where functions of a user program begin: `@uprobe_multi("/bin/bash:read*")`."""

    PREFIX = "uprobe.multi"


class uretprobe_multi(_Place):
    """Runs where functions of a user program return."""

    PREFIX = "uretprobe.multi"


class uprobe_session(_Place):
    """Runs where functions of a user program begin, and, when it returned 0, where they return."""

    PREFIX = "uprobe.session"


class usdt(_Sleepable):
    """Runs at a static probe of a user program: `@usdt("/usr/bin/python3:python:gc__start")`. The context is PtRegs."""

    PREFIX = "usdt"


class fentry(_Sleepable):
    """Runs where a kernel function begins; arguments are known by BTF."""

    PREFIX = "fentry"


class fexit(_Sleepable):
    """Runs where a kernel function returns; arguments, then the result, are known by BTF."""

    PREFIX = "fexit"


class fmod_ret(_Sleepable):
    """Runs before a kernel function and may answer in its place."""

    PREFIX = "fmod_ret"


class lsm(_Sleepable):
    """Runs at a security hook: `@lsm("file_open")`."""

    PREFIX = "lsm"


class lsm_cgroup(_Place):
    """Runs at a security hook for the processes of a cgroup."""

    PREFIX = "lsm_cgroup"


class iterator(_Sleepable):
    """Runs for every object of a kind: `@iterator("task")`. The context is a Struct as bpf_iter__task."""

    PREFIX = "iter"


class freplace(_Place):
    """Replaces a global function of a loaded program, with the same parameters."""

    PREFIX = "freplace"


class Operation(Program[Any, R], Generic[R]):
    """A function for a struct of operations (`StructOps`)."""

    SECTION = "struct_ops"

    def __init__(self, function: Callable[..., R], *, sleepable: bool = False) -> None:
        super().__init__(function)
        self.section = f"struct_ops{'.s' * sleepable}/{function.__name__}"


@overload
def struct_ops(function: Callable[..., R]) -> Operation[R]: ...
@overload
def struct_ops(*, sleepable: bool) -> Callable[[Callable[..., R]], Operation[R]]: ...
def struct_ops(function: Any = None, *, sleepable: bool = False) -> Any:
    """A function that the kernel calls as a member of a struct of operations; arguments are known by BTF."""
    if function is None:
        return lambda inner: Operation(inner, sleepable=sleepable)
    return Operation(function)
