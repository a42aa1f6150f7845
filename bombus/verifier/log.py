"""The log: a text that can be cut back, and how registers, states and source lines are written in it.

Formats: Linux 6.12 kernel/bpf/log.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bombus.bits import U32, U64, s64
from bombus.verifier import state as st
from bombus.verifier.bounds import S32_MAX, S32_MIN, S64_MAX, S64_MIN, Bounds
from bombus.verifier.regs import (
    ADD_CONST,
    BASE_MASK,
    CONST_PTR_TO_DYNPTR,
    CONST_PTR_TO_MAP,
    ID_BITS,
    NON_OWN_REF,
    NOT_INIT,
    PTR_TO_ARENA,
    PTR_TO_BTF_ID,
    PTR_TO_MAP_KEY,
    PTR_TO_MAP_VALUE,
    PTR_TO_MEM,
    PTR_TO_PACKET,
    PTR_TO_PACKET_META,
    PTR_TO_STACK,
    SCALAR_VALUE,
    UNINIT,
    Reg,
    type_name,
)

if TYPE_CHECKING:
    from bombus.verifier.env import Env
    from bombus.verifier.state import Frame

LEVEL1: Final = 1
LEVEL2: Final = 2
LEVELS: Final = 3
STATS: Final = 4

_ALIGNMENT: Final = 40
_MIN_ALIGNMENT: Final = 8
_MAP_POINTERS: Final = (CONST_PTR_TO_MAP, PTR_TO_MAP_KEY, PTR_TO_MAP_VALUE)


class Log:
    """Text being written. `position` counts all characters; `cut` goes back to an earlier one."""

    __slots__ = ("_pieces", "level", "peak", "position", "size", "start")

    def __init__(self, level: int, size: int = 0) -> None:
        self.level = level
        self._pieces: list[str] = []
        self.position = 0
        self.size = size  # of the buffer, with the zero byte at its end; 0: no limit
        self.start = 0  # what lies before it has rolled out of the buffer
        self.peak = 0

    def write(self, text: str) -> None:
        self._pieces.append(text)
        self.position += len(text)

    def cut(self, position: int) -> None:
        """Forget what was written after `position`."""
        self.settle()
        excess = self.position - position
        while excess > 0:
            last = self._pieces.pop()
            if len(last) > excess:
                self._pieces.append(last[:-excess])
            excess -= len(last)
        self.position = min(self.position, position)
        self.start = min(self.start, self.position)

    def settle(self) -> None:
        """Bring `peak` and `start` up to date."""
        if self.position > self.peak:
            self.peak = self.position
        if self.size and self.position + 1 - self.size > self.start:
            self.start = self.position + 1 - self.size

    def text(self) -> str:
        return "".join(self._pieces)


def unsigned(number: int) -> str:
    return str(number) if number <= 0xFFFF else hex(number)


def signed(number: int) -> str:
    """A number given as s64 or u64: small ones in decimal, others as u64 in hex."""
    value = s64(number)
    return str(value) if -0x8000 <= value <= 0x7FFF else hex(value & U64)


def tnum_text(value: int, mask: int) -> str:
    return unsigned(value) if mask == 0 else f"({value:#x}; {mask:#x})"


def bits_text(env: Env, bits: tuple[int, int]) -> str:
    """Known bits as a message of this kernel shows them."""
    value, mask = bits
    return tnum_text(value, mask) if env.rules.plain_constants else f"({value:#x}; {mask:#x})"


def _low(value: int) -> int:
    return value if -0x8000 <= value <= 0x7FFF else value & U32


def ranges(b: Bounds) -> list[str]:
    """The ranges that say something, equal ones joined: ["smin=0", "smax=umax=255"]."""
    umin, umax, smin, smax = b.r64
    umin32, umax32, smin32, smax32 = b.r32
    limits = [
        ("smin", smin, smin == S64_MIN),
        ("smax", smax, smax == S64_MAX),
        ("umin", umin, umin == 0),
        ("umax", umax, umax == U64),
        ("smin32", _low(smin32), smin32 == S32_MIN),
        ("smax32", _low(smax32), smax32 == S32_MAX),
        ("umin32", umin32, umin32 == 0),
        ("umax32", umax32, umax32 == U32),
    ]
    out: list[str] = []
    omitted = [omit for _name, _value, omit in limits]
    for at, (name, value, _omit) in enumerate(limits):
        if omitted[at]:
            continue
        is_signed = name[0] == "s"
        negative = is_signed and s64(value) < 0
        text = name + "="
        for other in range(at + 2, 8, 2):
            other_name, other_value, _ = limits[other]
            if omitted[other] or other_value & U64 != value & U64:
                continue
            if (other_name[0] == "s" and s64(other_value) < 0) != negative:
                continue
            omitted[other] = True
            text += other_name + "="
        out.append(text + (signed(value) if is_signed else unsigned(value & U64)))
    return out


def reg_text(reg: Reg, frame: int) -> str:
    """A register as logs show it; `frame` is the number of the frame that is printed."""
    type_ = reg.type
    bounds = reg.bounds
    value, mask = bounds.bits
    if type_ == SCALAR_VALUE:
        prefix = "P" if reg.precise else ""
        if mask == 0:
            return prefix + signed(value)
        text = prefix + "scalar"
    else:
        text = type_name(type_)
        if type_ == PTR_TO_ARENA:
            return text
        if type_ == PTR_TO_STACK:
            if reg.frame != frame:
                text += f"[{reg.frame}]"
            if mask == 0:
                return text + signed(value + reg.off)
    base = type_ & BASE_MASK
    if base == PTR_TO_BTF_ID and reg.btf is not None:
        text += reg.btf.type(reg.btf_id).name
    parts: list[str] = []
    if reg.id:
        link = f"{reg.off:+d}" if reg.id & ADD_CONST else ""
        parts.append(f"id={reg.id & ID_BITS}{link}")
    if reg.ref_id:
        parts.append(f"ref_obj_id={reg.ref_id}")
    if type_ & NON_OWN_REF:
        parts.append("non_own_ref")
    if base in _MAP_POINTERS and reg.map is not None:
        if reg.map.name:
            parts.append(f"map={reg.map.name}")
        parts.append(f"ks={reg.map.key_size},vs={reg.map.value_size}")
    if type_ != SCALAR_VALUE and reg.off:
        parts.append(f"off={signed(reg.off)}")
    if type_ in (PTR_TO_PACKET, PTR_TO_PACKET_META):
        parts.append(f"r={unsigned(reg.number & U64)}")
    if base == PTR_TO_MEM:
        parts.append(f"sz={unsigned(reg.number)}")
    if type_ == CONST_PTR_TO_DYNPTR and reg.dynptr is not None:
        parts.append(f"type={reg.dynptr.kind}")
    if mask == 0:
        if value:
            parts.append(f"imm={signed(value)}")
    else:
        parts += ranges(bounds)
        if mask != U64:
            parts.append(f"var_off={tnum_text(value, mask)}")
    return f"{text}({','.join(parts)})"


def _liveness(marks: int) -> str:
    if not marks:
        return ""
    return (
        "_"
        + ("r" if marks & st.LIVE_READ else "")
        + ("w" if marks & st.LIVE_WRITTEN else "")
        + ("D" if marks & st.LIVE_DONE else "")
    )


def iter_text(reg: Reg) -> str:
    from bombus.verifier.iterreg import IterReg

    assert isinstance(reg, IterReg)
    return f"iter_{reg.short}(ref_id={reg.ref_id},state={reg.state},depth={reg.depth})"


def frame_text(env: Env, frame: Frame, everything: bool, state: st.State | None = None) -> str:
    """The registers and stack slots of a frame (all, or those touched since last printed), without newline.

    state: the one that the frame belongs to, when that is not the current one.
    """
    marks = not env.rules.static_liveness
    number = frame.number
    parts: list[str] = [f" frame{number}:"] if number else []
    touched = env.touched_regs
    for at, reg in enumerate(frame.regs):
        if reg.type == NOT_INIT or not (everything or touched >> at & 1):
            continue
        live = _liveness(frame.live[at]) if marks else ""
        parts.append(f" R{at}{live}={reg_text(reg, number)}")
    touched = env.touched_slots
    at = 0
    while at < len(frame.stack):
        slot = frame.stack[at]
        if not (everything or touched >> at & 1) or not any(slot.kinds):
            at += 1
            continue
        kind = slot.kinds[7]
        name = f" fp{-8 * (at + 1)}"
        live = _liveness(frame.stack_live[at]) if marks else ""
        chars = "".join(st.SLOT_CHARS[k] for k in slot.kinds)
        if kind == st.SPILL:
            parts.append(f"{name}{live}={chars[: slot.kinds.index(st.SPILL)]}{reg_text(slot.reg, number)}")
        elif kind == st.DYNPTR:
            at += 1
            # A slot of another frame may be taken for one here; the kernel then reads what lies beyond the stack.
            beyond = at >= len(frame.stack)
            main = UNINIT if beyond else frame.stack[at].reg
            live = _liveness(frame.stack_live[at]) if marks and not beyond else ""
            inside = [f"id={main.id}"] if main.id else []
            if main.ref_id:
                inside.append(f"ref_id={main.ref_id}")
            if main.dynptr is not None and main.dynptr.first:
                # The kernel prints the flag "first slot" where the two share memory.
                inside.append("dynptr_id=1")
            kind_name = main.dynptr.kind if main.dynptr is not None else "<invalid>"
            parts.append(f" fp{-8 * (at + 1)}{live}=dynptr_{kind_name}({','.join(inside)})")
        elif kind == st.ITER:
            # Only the first slot has the reference; the others are not shown.
            if slot.reg.ref_id:
                parts.append(f"{name}{live}={iter_text(slot.reg)}")
        else:
            parts.append(f"{name}{live}={chars}")
        at += 1
    whole = state or env.state
    owner = whole.frames[-1] if env.rules.refs_in_state else frame
    refs = env.references(owner)
    if refs and refs[0].id:
        parts.append(" refs=" + ",".join(str(ref.id) for ref in refs if ref.id))
    if frame.in_callback:
        parts.append(" cb")
    if frame.in_async_callback:
        parts.append(" async_cb")
    return "".join(parts)


def print_frame(env: Env, frame: Frame, everything: bool) -> None:
    env.log.write(frame_text(env, frame, everything) + "\n")
    if not everything:
        env.touched_regs = 0
        env.touched_slots = 0


def print_touched(env: Env, frame: Frame) -> None:
    """What the last instruction changed: behind its line when nothing came between, else on a line of its own."""
    log = env.log
    if env.insn_line_end and env.insn_line_end == log.position:
        log.cut(log.position - 1)
        width = env.insn_line_width
        column = max(width + _MIN_ALIGNMENT // 2, _ALIGNMENT)
        column = (column + _MIN_ALIGNMENT - 1) & -_MIN_ALIGNMENT
        log.write(" " * (column - width - 1) + ";")
    else:
        log.write(f"{env.insn_idx}:")
    print_frame(env, frame, False)


def print_source(env: Env, insn: int, prefix: str) -> None:
    """The source line of an instruction, unless it is the one printed last."""
    if not env.log.level:
        return
    info = env.line_of(insn)
    last = env.last_line
    if info is None or info is last:
        return
    if env.rules.source_in_log:
        if last is not None and info.file_offset == last.file_offset and info.number == last.number:
            return
        name = info.file.rpartition("/")[2]
        env.log.write(f"{prefix}{info.line.lstrip()} @ {name}:{info.number}\n")
    else:
        env.log.write(f"{prefix}{info.line.lstrip()}\n")
    env.last_line = info
