"""Links of programs to functions of other programs. Linux 6.12 kernel/bpf/syscall.c: bpf_tracing_prog_attach."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from bombus.errors import KernelError
from bombus.kernel.user.prog import Prog
from bombus.kernel.user.progverify import functions_of, target_program, types_of
from bombus.kernel.user.userlink import UserLink
from bombus.kernel.user.watched import CALL, Watched
from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.verifier import OLDEST

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel

_FENTRY, _FEXIT = (ATTACH_TYPE[name].id for name in ("BPF_TRACE_FENTRY", "BPF_TRACE_FEXIT"))
_EXT: Final = "BPF_PROG_TYPE_EXT"


def create_link(kernel: UserKernel, prog: Prog, cookie: int, fd: int = 0, type_id: int = 0) -> UserLink:
    """Attach a program to the function that it was loaded for, or (an extension) to another one of that kind.

    fd, type_id: of link_create; 0: what the program was loaded for, which holds for its first link only.
    """
    extension = prog.type.name == _EXT
    if not extension and prog.expected_attach_type not in (_FENTRY, _FEXIT):
        raise KernelError(errno.EINVAL, CALL, "only fentry, fexit and extensions attach to programs")
    if bool(fd) != bool(type_id):
        raise KernelError(errno.EINVAL, CALL, "target_fd and target_btf_id go together")
    if fd and not extension:
        raise KernelError(errno.EINVAL, CALL, "only extensions attach to another target than that of their load")
    target = prog.target
    if fd:
        other = kernel.object(CALL, fd, "prog")
        assert isinstance(other, Prog)
        if other is not target or type_id != prog.attach_btf_id:
            _check_other(prog, other, type_id)
        target = other
    if target is None:
        raise KernelError(errno.EINVAL, CALL, "the program was attached before: say to what")
    type_id = type_id or prog.attach_btf_id
    watched = target.watched
    if watched is None:
        watched = target.watched = Watched(target)
    point = watched.check(type_id, extension=extension)
    if not extension:
        point.check(prog)
    attach_type = 0 if extension else prog.expected_attach_type
    facts = {"tracing_attach_type": attach_type, "tracing_target_obj_id": target.id, "tracing_target_btf_id": type_id}
    link = UserLink(kernel, "tracing", prog, facts)
    if extension:
        undo = watched.replace(point, prog)
    else:
        undo = watched.add(point, link, cookie, after=prog.expected_attach_type == _FEXIT)
    target.get()  # for the link

    def detach() -> None:
        undo()
        target.put()

    link.undo = detach
    prog.drop_target()
    return link


def _check_other(prog: Prog, other: Prog, type_id: int) -> None:
    """KernelError(EINVAL) for a target that is not of the kind that an extension was verified for."""
    from bombus.verifier.attach_prog import refusal
    from bombus.verifier.program import Function, Program

    if other.type is not prog.target_type or other.expected_attach_type != prog.target_attach_type:
        raise KernelError(errno.EINVAL, CALL, "the target is of another type than the first one")
    seen = Program(
        prog.insns, prog.type.id, max(prog.kernel.version, OLDEST), btf=types_of(prog.btf),
        func_info=functions_of(prog), attach_btf_id=type_id, attach_prog=True, target=target_program(other),
    )  # fmt: skip
    main = Function(*prog.functions[0]) if prog.functions else Function("", 0)  # type: ignore[arg-type]
    refused = refusal(seen, main)
    if refused is not None:
        number, message = refused
        raise KernelError(number, CALL, message)
