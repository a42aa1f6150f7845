"""A program of an object once more, as one that takes the place of another program's function."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bombus.errors import NotSupported
from bombus.kernel.handles import Program
from bombus.spec.sections import BPF_F_XDP_HAS_FRAGS

if TYPE_CHECKING:
    from bombus.loader.state import State
    from bombus.object.model import ProgramSpec


def load_extension(state: State, program: ProgramSpec, target: Program, function: str) -> Program:
    """Load a program with the maps that its object has, for the place of a function that takes and returns the same.

    NotSupported without BTF, by which the kernel compares the two, and for programs that are bound to an interface.
    LoadError.
    """
    from bombus.kernel.handles.attach.tracing import function_id
    from bombus.loader.passes import prog_name, put_together

    ready = put_together(state, program)
    if "func_info" not in ready.fields:
        raise NotSupported(f"{program.name!r} in the place of a function", "it has no BTF, or this kernel takes none")
    if "prog_ifindex" in ready.fields:
        raise NotSupported(f"{program.name!r} in the place of a function", "it is bound to an interface")
    fields = ready.fields | {"attach_prog_fd": target.fd, "attach_btf_id": function_id(target, function)}
    # Whether packets may come in parts is said by the program that is called, and so for all in it.
    return Program.load(
        state.kernel, "ext", ready.insns, license=state.obj.license, name=prog_name(program),
        flags=program.flags & ~BPF_F_XDP_HAS_FRAGS, **fields,
    )  # fmt: skip
