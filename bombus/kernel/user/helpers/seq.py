"""Output of iterators: bpf_seq_write, bpf_seq_printf. Linux 6.12 kernel/trace/bpf_trace.c, fs/seq_file.c."""

from __future__ import annotations

import errno

from bombus.errors import VmFault
from bombus.kernel.user.helpers.printing import arguments, format_text
from bombus.kernel.user.helpers.registry import helper
from bombus.kernel.user.progenv import ProgEnv
from bombus.kernel.user.seqfile import SeqFile


def _file(env: ProgEnv, address: int) -> SeqFile:
    found = env.contexts.get(address)
    if not isinstance(found, SeqFile):
        raise VmFault("helper", f"{address:#x} is not the seq_file of a running iterator")
    return found


@helper("seq_write")
def seq_write(env: ProgEnv, file: int, data: int, size: int) -> int:
    size &= 0xFFFF_FFFF
    out = _file(env, file)
    return 0 if out.write(env.memory.read(data, size) if size else b"") else -errno.EOVERFLOW


@helper("seq_printf")
def seq_printf(env: ProgEnv, file: int, form: int, size: int, args: int, length: int) -> int:
    numbers = arguments(env, args, length)
    if isinstance(numbers, int):
        return numbers
    out = _file(env, file)
    text = format_text(env, env.memory.read(form, size & 0xFFFF_FFFF), numbers, out.room)
    if isinstance(text, int):
        return text
    return 0 if out.write(text) else -errno.EOVERFLOW
