"""How the log writes one instruction."""

from __future__ import annotations

from collections.abc import Sequence

from bombus.asm.kernel import KernelStyle
from bombus.asm.names import NameHooks
from bombus.isa.insn import Insn
from bombus.verifier.env import Env


def _helper(number: int) -> str | None:
    return "bpf_unspec" if number == 0 else None


def _kfunc(env: Env, number: int, place: int) -> str | None:
    if number == 0 and not place:
        return ""  # the name of the type void
    found = env.kfuncs.get((number, place))
    return found.name if found is not None else None


_NAMES = NameHooks(helper=_helper)


def insn_text(env: Env, index: int) -> str:
    """The instruction at `index`, without its number and without newline. Each is written once and kept."""
    text = env.texts.get(index)
    if text is None:
        style = env.style
        if style is None:
            style = env.style = KernelStyle(env.program.version, leak=env.leaks_allowed)
        names = _NAMES
        if env.program.vmlinux is not None:
            names = NameHooks(helper=_helper, kfunc=lambda number, place: _kfunc(env, number, place))
        text = env.texts[index] = style.format(env.insns, index, names)
    return text


def plain_text(insns: Sequence[Insn], index: int) -> str:
    """The same without a verification."""
    return KernelStyle().format(insns, index, _NAMES)
