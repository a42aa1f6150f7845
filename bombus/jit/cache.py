"""Compiled objects on disk (`bombus.kept`), so that a program that was compiled once starts at once.

A file is named after all that its code depends on: instructions, facts, options, the CPU, the versions of LLVM and of
this package's own code.
"""

from __future__ import annotations

import contextlib
import hashlib
import marshal
import os
import sys
from collections.abc import Sequence
from functools import cache
from typing import Final

from bombus import kept
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn, encode, imm64
from bombus.jit.compile import llvmlite_folder
from bombus.jit.model import Lowered, Options, is_address
from bombus.jit.target import Target

_ROOM: Final = "native"
_MAGIC: Final = b"bombus jit 2\n"
trim = kept.trim


@cache
def _versions() -> bytes:
    """This package's own code, LLVM, Python (whose `marshal` is in the files), and the CPU with its features."""
    state = hashlib.sha256(kept.stamp("jit", "isa"))
    state.update(f"{sys.version_info} {marshal.version}".encode())
    for name in sorted(os.listdir(llvmlite_folder())):
        if name.startswith("llvmlite-"):
            state.update(name.encode())
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith(("model name", "flags", "Features", "cpu\t", "isa\t")):
                state.update(line.encode())
            if line == "\n":
                break
    return state.digest()


def key_of(insns: Sequence[Insn], target: Target, options: Options, level: int) -> str:
    """The name of a program's object. Addresses of this process do not count, only where they are used."""
    state = hashlib.sha256(_versions())
    numbers: dict[int, int] = {}
    plain = list(insns)
    for index, insn in enumerate(insns):
        if insn.opcode == op.LD_IMM64 and is_address(insn) and index + 1 < len(insns):
            number = numbers.setdefault(imm64(insn, insns[index + 1]), len(numbers))
            plain[index] = insn._replace(imm=number)
            plain[index + 1] = insns[index + 1]._replace(imm=0)
    state.update(encode(plain))
    facts = options.facts
    by_index = (facts.access, facts.pointer, facts.depths, facts.loops, facts.steps, options.jumps, options.objects)
    places = [(index, place[1:]) for index, place in sorted(options.arrays.items())]
    maps = [(index, code.digest) for index, code in sorted(options.maps.items())]
    flags = (options.checked, options.budget, options.plain, options.outside_stack, options.exported, options.main,
             options.packet, options.unwind)  # fmt: skip
    sets = (facts.stack_arguments, facts.stack_numbers, facts.probes)
    rest = *map(sorted, sets), *(sorted(each.items()) for each in by_index), places, maps
    state.update(repr((target, flags, level, rest)).encode())
    return state.hexdigest()


def text_key(text: str, target: Target) -> str:
    """The name of the object of a module that is text."""
    state = hashlib.sha256(_versions())
    state.update(repr(target).encode() + text.encode())
    return state.hexdigest()


def load(key: str, insns: Sequence[Insn], target: Target, options: Options) -> tuple[Lowered, bytes] | None:
    """The object of a key with what is known of it; None when there is none, or a broken one."""
    payload = kept.read(_ROOM, key, _MAGIC)
    if payload is None:
        return None
    faults, helpers, entries, needs, places, object_ = marshal.loads(payload)
    out = Lowered(target, options)
    out.faults = faults
    out.helpers = helpers
    out.entries = entries
    out.needs = set(needs)
    out.places = places
    out.immediates = [imm64(insns[at], insns[at + 1]) for at in places]
    return out, object_


def store(key: str, lowered: Lowered, object_: bytes) -> None:
    """Keep an object. Where that is impossible nothing happens."""
    about = (lowered.faults, lowered.helpers, lowered.entries, sorted(lowered.needs), lowered.places, object_)
    kept.write(_ROOM, key, _MAGIC, marshal.dumps(about))
