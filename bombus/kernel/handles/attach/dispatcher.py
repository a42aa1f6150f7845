"""Several XDP programs on one interface, beside libxdp: joining, leaving and listing its dispatcher.

Every change makes a new dispatcher with the programs that are to stay, pins all of it, and puts it in the place of the
old one by one message. Programs are taken along: they are attached to both for a moment. A process that is killed
on the way leaves the old dispatcher or the new one on the interface, complete and pinned; the pins of the other one are
marked, and go with the next change of that interface.

Facts: xdp-tools lib/libxdp/protocol.org; Linux 6.12 kernel/bpf/syscall.c (bpf_tracing_prog_attach): since 5.10 an
extension can be attached to more programs than the one that it was loaded for.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from bombus.btf.types import Func
from bombus.errors import KernelError, NeedsKernel, NotSupported, UsageError
from bombus.kernel.handles.attach import dispatchprog
from bombus.kernel.handles.attach.dispatchprog import Config, Slot
from bombus.kernel.handles.attach.net import XDP_MODES, XDP_UPDATE_IF_NOEXIST
from bombus.kernel.handles.attach.runconfig import bits, run_config
from bombus.kernel.handles.attach.tracing import function_id
from bombus.kernel.handles.attachment import Attachment
from bombus.kernel.handles.btf import Btf
from bombus.kernel.handles.info import ids
from bombus.kernel.handles.links import Link
from bombus.kernel.handles.programs import Program
from bombus.kernel.sites import NoWatch
from bombus.spec.linktypes import LINK_TYPE
from bombus.spec.sections import BPF_F_XDP_HAS_FRAGS
from bombus.spec.version import since
from bombus.spec.xdpdispatcher import NAME, SLOTS, VERSION, slot

if TYPE_CHECKING:
    from bombus.kernel.api import Kernel
    from bombus.kernel.sites import DispatcherPins, Sites, Watch

_EXT = "BPF_PROG_TYPE_EXT"
_XDP = "BPF_PROG_TYPE_XDP"
_TRACING = LINK_TYPE["BPF_LINK_TYPE_TRACING"].id
_TRIES = 10
_SINCE = since("5.10")
_ENOTSUPP = 524  # Linux include/linux/errno.h; not an errno of libc


class Member(NamedTuple):
    """A program of a dispatcher. make: loads it for a place (dispatcher, function), when it is not loaded yet."""

    name: str
    slot: Slot
    program: Program | None
    make: Callable[[Program, str], Program] | None = None

    @property
    def order(self) -> tuple[object, ...]:
        """Priority; then as libxdp decides: the name, those that are there, their tag and time of loading."""
        if self.program is None:
            return (self.slot.priority, self.name, 1)
        info = self.program.info()
        return (self.slot.priority, self.name, 0, bytes(info["tag"]), info["load_time"])


class Dispatcher(NamedTuple):
    """The one that an interface has."""

    program: Program
    mode: str
    members: list[Member]

    def close(self) -> None:
        self.program.close()
        for member in self.members:
            if member.program is not None:
                member.program.close()


Soon = Callable[["DispatcherPins", Sequence[tuple[Member, int]]], None]


class Changed(Exception):
    """Somebody else changed what the interface has meanwhile."""


def full_name(program: Program) -> str:
    """The name of a program's function, which the kernel cuts to 15 letters, from its BTF."""
    number, records = program.info()["btf_id"], program.func_info()
    if not number or len(records) < 8:
        return program.name
    with Btf.from_id(program.kernel, number) as handle:
        found = handle.parsed().type(int.from_bytes(records[4:8], "little"))
    return found.name if isinstance(found, Func) else program.name


def attached(kernel: Kernel, sites: Sites, ifindex: int) -> tuple[Program, str] | None:
    """The program that an interface's packets meet, and its mode. KernelError."""
    ids = sites.xdp_query(ifindex).ids
    for mode in ("native", "skb"):
        if mode in ids:
            return Program.from_id(kernel, ids[mode]), mode
    return None


def words_for(program: Program, ifindex: int) -> str:
    """What to say when a program is in the way; "" when it is no dispatcher."""
    config = dispatchprog.read_config(program)
    if config is None:
        return ""
    many = f"{len(config.slots)} programs" if len(config.slots) != 1 else "1 program"
    return f"interface {ifindex} has an XDP dispatcher (libxdp) with {many}: dispatcher=True joins it"


def current(kernel: Kernel, sites: Sites, pins: DispatcherPins, ifindex: int) -> Dispatcher | None:
    """The dispatcher of an interface with its programs; None when the interface has no program.

    KernelError(EBUSY) when it has a program that is no dispatcher; NotSupported for another version.
    """
    found = attached(kernel, sites, ifindex)
    if found is None:
        return None
    program, mode = found
    with ExitStack() as opened, ExitStack() as stack:
        opened.callback(program.close)
        config = dispatchprog.read_config(program)
        if config is None:
            raise KernelError(
                errno.EBUSY, "XDP dispatcher", f"interface {ifindex} has the XDP program {program.name!r} (id "
                f"{program.id}), which is no dispatcher", hint="detach it first",
            )  # fmt: skip
        if config.version != VERSION:
            raise NotSupported(f"version {config.version} of the XDP dispatcher", f"only {VERSION}; unload it first")
        path = pins.path(ifindex, program.id)
        members = []
        stack.enter_context(pins.lock())
        for number, place in enumerate(config.slots):
            try:
                member = Program.pinned(kernel, f"{path}/{slot(number)}-prog")
            except KernelError as error:
                text = f"the programs of the dispatcher of interface {ifindex} are not pinned in {path}"
                raise KernelError(error.errno or errno.ENOENT, "XDP dispatcher", text) from None
            opened.callback(member.close)
            members.append(Member(full_name(member), place, member))
        opened.pop_all()
    return Dispatcher(program, mode, members)


def mend(sites: Sites, pins: DispatcherPins, ifindex: int) -> None:
    """Take away what killed processes left half done on an interface."""
    marked = pins.marked(ifindex)
    if not marked:
        return
    there = set(sites.xdp_query(ifindex).ids.values())
    for number in marked:
        if number not in there:
            _unpin(pins, ifindex, number)
        pins.unmark(ifindex, number)


def _unpin(pins: DispatcherPins, ifindex: int, number: int) -> None:
    with pins.lock():
        pins.remove(ifindex, number)


def exchange(
    kernel: Kernel, sites: Sites, ifindex: int, mode: str,
    change: Callable[[list[Member]], list[Member] | None], soon: Soon | None = None,
) -> tuple[str, list[tuple[Member, int]]]:  # fmt: skip
    """Change the programs of an interface. change: from those there to those wanted; None leaves all as it is.
    soon: told what is about to be pinned.

    Returns the mode, and what is there now in its order, with the programs' ids.
    """
    with sites.dispatchers() as pins:
        for last in range(_TRIES, 0, -1):
            mend(sites, pins, ifindex)
            try:
                old = current(kernel, sites, pins, ifindex)
            except KernelError as error:
                if error.errno == errno.ENOENT and last > 1:
                    continue  # it went between two questions
                raise
            try:
                if old is not None and mode and old.mode != mode:
                    raise UsageError(f"the dispatcher of interface {ifindex} is attached in {old.mode} mode")
                wanted = change(old.members if old is not None else [])
                used = old.mode if old is not None else mode
                if wanted is None:
                    return used, [(one, one.program.id) for one in old.members if one.program] if old else []
                if not wanted:
                    if old is not None:
                        _remove(sites, pins, ifindex, old)
                    return used, []
                wanted = sorted(wanted, key=lambda member: member.order)
                numbers = _replace(kernel, sites, pins, ifindex, used, old, wanted, soon)
                return used, list(zip(wanted, numbers, strict=True))
            except Changed:
                continue
            finally:
                if old is not None:
                    old.close()
    raise KernelError(errno.EBUSY, "XDP dispatcher", f"interface {ifindex} is changed by others again and again")


def _set(sites: Sites, ifindex: int, mode: str, new: int, old: Program | None) -> None:
    """Put a program in the place of another one. Changed when another one is there."""
    flags = XDP_MODES[mode] | (XDP_UPDATE_IF_NOEXIST if old is None else 0)
    try:
        sites.xdp_set(ifindex, new, flags, old.fd if old is not None else None)
    except KernelError as error:
        number = old.id if old is not None else 0
        if error.errno in (errno.EEXIST, errno.EBUSY):
            there = sites.xdp_query(ifindex).ids.values()
            if number not in there if number else there:
                raise Changed from error
        raise


def _remove(sites: Sites, pins: DispatcherPins, ifindex: int, old: Dispatcher) -> None:
    number = old.program.id
    pins.mark(ifindex, number)
    try:
        _set(sites, ifindex, old.mode, -1, old.program)
    except BaseException:
        pins.unmark(ifindex, number)
        raise
    _unpin(pins, ifindex, number)
    pins.unmark(ifindex, number)


def _replace(
    kernel: Kernel, sites: Sites, pins: DispatcherPins, ifindex: int, mode: str, old: Dispatcher | None,
    wanted: Sequence[Member], soon: Soon | None,
) -> list[int]:  # fmt: skip
    with ExitStack() as stack:
        new = stack.enter_context(dispatchprog.load(kernel, Config(VERSION, tuple(one.slot for one in wanted))))
        pairs: list[tuple[Program, Link]] = []
        for number, member in enumerate(wanted):
            program, link = _place(new, slot(number), member)
            stack.callback(link.close)
            if member.program is None:
                stack.callback(program.close)
            pairs.append((program, link))
        found = [program.id for program, _ in pairs]
        mine = new.id
        if soon is not None:
            soon(pins, list(zip(wanted, found, strict=True)))
        pins.mark(ifindex, mine)
        try:
            with pins.lock():
                path = pins.make(ifindex, mine)
                for number, (program, link) in enumerate(pairs):
                    link.pin(f"{path}/{slot(number)}-link")
                    program.pin(f"{path}/{slot(number)}-prog")
            if old is not None:
                pins.mark(ifindex, old.program.id)
            _set(sites, ifindex, mode, new.fd, old.program if old is not None else None)
        except BaseException:
            if mine not in sites.xdp_query(ifindex).ids.values():
                _unpin(pins, ifindex, mine)
            pins.unmark(ifindex, mine)
            if old is not None:
                pins.unmark(ifindex, old.program.id)
            raise
        if old is not None:
            _unpin(pins, ifindex, old.program.id)
            pins.unmark(ifindex, old.program.id)
        pins.unmark(ifindex, mine)
    return found


def _place(dispatcher: Program, function: str, member: Member) -> tuple[Program, Link]:
    """Put a program in the place of a function of a dispatcher. NotSupported where the kernel refuses that."""
    made = None
    try:
        program = member.program
        if program is None:
            assert member.make is not None
            program = made = member.make(dispatcher, function)
        target = function_id(dispatcher, function)
        return program, Link.create(
            dispatcher.kernel, program, 0, target_fd=dispatcher.fd, tracing_target_btf_id=target
        )
    except KernelError as error:
        if made is not None:
            made.close()
        if not error.log and error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.EBUSY, _ENOTSUPP):
            raise NotSupported(
                "XDP dispatchers here", f"the kernel refuses to put a program in the place of a function: {error}"
            ) from error
        raise
    except BaseException:
        if made is not None:
            made.close()
        raise


def joining(program: Program, priority: int | None, chain: Sequence[str] | str | None) -> Member:
    """A program as a member to be. UsageError, NotSupported for programs that cannot be loaded again."""
    if program.type.name not in (_EXT, _XDP):
        raise UsageError(f"{program.type.short} programs do not attach to interfaces")
    if priority is not None and not 0 <= priority < 1 << 32:
        raise UsageError(f"priority {priority} is outside 0 to {(1 << 32) - 1}")
    origin, name = program.origin, full_name(program)
    said = run_config(origin.btf, name)
    place = Slot(
        said.priority if priority is None else priority, said.actions if chain is None else bits(chain),
        bool(origin.flags & BPF_F_XDP_HAS_FRAGS),
    )  # fmt: skip
    if program.type.name == _EXT:
        return Member(name, place, program)
    if origin.extension is None:
        raise NotSupported(
            f"{program.name or 'this program'} in an XDP dispatcher",
            "it must be loaded once more, as an extension: load its object with bombus.load",
        )
    return Member(name, place, None, origin.extension)


def leave(kernel: Kernel, sites: Sites, ifindex: int, number: int) -> bool:
    """Take the program with an id out of the dispatcher of an interface. False when it is not there."""
    found = False

    def without(there: list[Member]) -> list[Member] | None:
        nonlocal found
        left = [one for one in there if one.program is None or one.program.id != number]
        found = len(left) < len(there)
        return left if found else None

    exchange(kernel, sites, ifindex, "", without)
    return found


def attach(
    program: Program, ifindex: int, mode: str, priority: int | None, chain: Sequence[str] | str | None
) -> Attachment:
    """See `net.attach_xdp`."""
    kernel, place = program.kernel, joining(program, priority, chain)
    if kernel.name == "linux" and kernel.version < _SINCE:
        raise NeedsKernel(
            errno.EINVAL, "XDP dispatcher", feature="a program in the place of functions of several others",
            since=str(_SINCE), version=str(kernel.version),
        )  # fmt: skip

    def add(there: list[Member]) -> list[Member]:
        if len(there) >= SLOTS:
            raise UsageError(f"the dispatcher of interface {ifindex} has {SLOTS} programs, which is all it can have")
        return [*there, place]

    sites = kernel.sites.bound()
    watch: Watch = NoWatch()
    number = 0

    def soon(pins: DispatcherPins, there: Sequence[tuple[Member, int]]) -> None:
        """What is about to be pinned, and is to go when this process is killed."""
        nonlocal watch
        coming = [one for member, one in there if member is place]
        if number:
            watch.set(ids=[number, *coming])
            return
        watch.forget()  # of a try before
        watch = pins.watch(sites, ifindex=ifindex, ids=coming)

    try:
        used, there = exchange(kernel, sites, ifindex, mode, add, soon)
    except BaseException:
        watch.forget()
        sites.close()
        raise
    number = next(number for member, number in there if member is place)

    def change(new: Program, old: Program | None) -> int:
        nonlocal number, place
        if old is not None:
            raise NotSupported("exchanging a dispatcher's program only if it is a given one")
        place = fresh = joining(new, place.slot.priority, place.slot.words)

        def swap(there: list[Member]) -> list[Member]:
            left = [one for one in there if one.program is None or one.program.id != number]
            if len(left) == len(there):
                raise KernelError(errno.ENOENT, "XDP dispatcher", f"program {number} is there no more")
            return [*left, fresh]

        _, there = exchange(kernel, sites, ifindex, "", swap, soon)
        number = next(number for member, number in there if member is fresh)
        watch.set(ids=[number])
        return number

    def undo() -> None:
        try:
            leave(kernel, sites, ifindex, number)
        except KernelError as error:
            if error.errno != errno.ENODEV:  # the interface is gone
                raise
        finally:
            sites.close()

    facts = {
        "ifindex": ifindex, "mode": used, "prog_id": number, "name": place.name, "priority": place.slot.priority,
        "chain": place.slot.words,
    }  # fmt: skip
    return Attachment("xdp dispatcher", undo, facts=facts, change=change, watch=watch)


def members(program: Program) -> list[tuple[int, Slot]]:
    """Ids and settings of the programs of a loaded dispatcher, in their order; id 0 for one that is gone.

    They are found by their links, wherever those are pinned. [] for a program that is no dispatcher.
    """
    config = dispatchprog.read_config(program)
    if config is None:
        return []
    kernel, mine, found = program.kernel, program.id, {}
    with Btf.from_id(kernel, program.info()["btf_id"]) as handle:
        names = {number: kind.name for number, kind in handle.parsed().items() if isinstance(kind, Func)}
    for number in ids(kernel, "link"):
        try:
            with Link.from_id(kernel, number) as link:
                info = link.info()
        except KernelError:
            continue  # it went meanwhile
        if info["type"] == _TRACING and info["tracing_target_obj_id"] == mine:
            # A single program may have the place of the dispatcher itself.
            found[names.get(info["tracing_target_btf_id"], "").replace(NAME, slot(0))] = int(info["prog_id"])
    return [(found.get(slot(number), 0), place) for number, place in enumerate(config.slots)]
