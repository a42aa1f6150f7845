"""Compiled objects on disk, so that a program that was compiled once starts at once.

A file is named after all that its code depends on: instructions, facts, options, the CPU, the versions of LLVM and of
this package's own code. It holds a checksum: what is cut or changed is compiled anew. Files appear whole (written
aside, then renamed), so any number of processes may use the folder.

$BOMBUS_CACHE is the folder above (we use `native` in it), or "off"; without it, $XDG_CACHE_HOME/bombus/native or
~/.cache/bombus/native. A folder that others may write to is not used: code comes out of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from bombus.isa import opcodes as op
from bombus.isa.insn import Insn, encode, imm64
from bombus.jit.compile import llvmlite_folder
from bombus.jit.lower import Lowered, Options, is_address
from bombus.jit.target import Target

_MAGIC: Final = b"bombus jit 1\n"
_DIGEST: Final = 32
LIMIT: Final = 128 << 20  # bytes of all files; the oldest go first
_LOOK: Final = 64  # files between two looks at the whole size


def folder() -> Path | None:
    """Where objects are kept; None for nowhere."""
    given = os.environ.get("BOMBUS_CACHE", "")
    if given == "off":
        return None
    if given:
        return Path(given) / "native"
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "bombus" / "native"


@cache
def _versions() -> bytes:
    """This package's own code, LLVM, and the CPU with its features."""
    state = hashlib.sha256()
    here = Path(__file__).parent
    for path in (*sorted(here.glob("*.py")), here.parent / "isa" / "semantics.py"):
        state.update(path.read_bytes() if path.exists() else b"compiled")
    for version in sorted(Path(llvmlite_folder()).glob("llvmlite-*")):
        state.update(version.name.encode())
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
    by_index = (facts.access, facts.pointer, facts.depths, facts.loops, facts.steps, options.jumps)
    places = [(index, place[1:]) for index, place in sorted(options.arrays.items())]
    maps = [(index, code.digest) for index, code in sorted(options.maps.items())]
    flags = (options.checked, options.budget, options.plain, options.outside_stack, options.exported, options.main,
             options.packet)  # fmt: skip
    rest = sorted(facts.stack_arguments), *(sorted(each.items()) for each in by_index), places, maps
    state.update(repr((target, flags, level, rest)).encode())
    return state.hexdigest()


def text_key(text: str, target: Target) -> str:
    """The name of the object of a module that is text."""
    state = hashlib.sha256(_versions())
    state.update(repr(target).encode() + text.encode())
    return state.hexdigest()


def load(key: str, insns: Sequence[Insn], target: Target, options: Options) -> tuple[Lowered, bytes] | None:
    """The object of a key with what is known of it; None when there is none, or a broken one."""
    place = folder()
    if place is None or not _is_ours(place):
        return None
    try:
        data = (place / key).read_bytes()
    except OSError:
        return None
    head = len(_MAGIC) + _DIGEST
    payload = memoryview(data)[head:]
    if data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC) : head] != hashlib.sha256(payload).digest():
        return None
    about, _, object_ = bytes(payload).partition(b"\n")
    known = json.loads(about)
    out = Lowered(target, options)
    out.faults = [(kind, message) for kind, message in known["faults"]]
    out.helpers = known["helpers"]
    out.entries = known["entries"]
    out.needs = set(known["needs"])
    out.places = known["places"]
    out.immediates = [imm64(insns[at], insns[at + 1]) for at in out.places]
    return out, object_


def store(key: str, lowered: Lowered, object_: bytes) -> None:
    """Keep an object. Where that is impossible nothing happens."""
    place = folder()
    if place is None:
        return
    about = {
        "faults": lowered.faults, "helpers": lowered.helpers, "entries": lowered.entries,
        "needs": sorted(lowered.needs), "places": lowered.places,
    }  # fmt: skip
    payload = json.dumps(about).encode() + b"\n" + object_
    with contextlib.suppress(OSError):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_ours(place):
            return
        handle, aside = tempfile.mkstemp(dir=place, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_MAGIC + hashlib.sha256(payload).digest() + payload)
            os.replace(aside, place / key)
        except OSError:
            os.unlink(aside)
        if int(key[:8], 16) % _LOOK == 0:
            trim(place)


def trim(place: Path, limit: int = LIMIT) -> None:
    """Remove the oldest files until all together have at most `limit` bytes."""
    found = []
    with contextlib.suppress(OSError):
        for entry in os.scandir(place):
            about = entry.stat(follow_symlinks=False)
            found.append((about.st_mtime, about.st_size, entry.path))
    total = sum(size for _time, size, _path in found)
    for _time, size, path in sorted(found):
        if total <= limit:
            break
        with contextlib.suppress(OSError):
            os.unlink(path)
        total -= size


def _is_ours(place: Path) -> bool:
    try:
        about = place.stat()
    except OSError:
        return False
    return about.st_uid == os.geteuid() and not about.st_mode & 0o022
