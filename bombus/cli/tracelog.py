"""`bombus prog tracelog`: the kernel's trace pipe, or the streams of one program."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

from bombus.cli import live, output
from bombus.cli.words import Words
from bombus.errors import KernelError
from bombus.kernel.api import Attr

_STREAMS = {"stdout": 1, "stderr": 2}  # BPF_STDOUT, BPF_STDERR
_CHUNK = 1 << 14


def tracelog(words: Words) -> None:
    """[{stdout | stderr} PROG]: without words until a signal comes, as bpftool does."""
    if words:
        stream = words.expect(*_STREAMS)
        with live.item("prog", words) as item:
            words.end()
            data = _stream(item, _STREAMS[stream])
        if output.as_json():
            output.print_json(data.decode(errors="replace").splitlines(keepends=True))
        else:
            sys.stdout.write(data.decode(errors="replace"))
        return
    fd = _pipe()
    with until_signal(), os.fdopen(fd, "r", errors="replace") as pipe:
        _copy(pipe)


def _stream(item: live.Item, number: int) -> bytes:
    """All that a program wrote to a stream and nobody read. NeedsKernel before Linux 6.17."""
    data = b""
    while True:
        buffer = bytearray(_CHUNK)
        got = item.kernel.bpf(Attr("BPF_PROG_STREAM_READ_BY_FD", stream_buf=buffer, stream_buf_len=len(buffer),
                                   stream_id=number, prog_fd=item.fd))  # fmt: skip
        if not got:
            return data
        data += buffer[:got]


def _pipe() -> int:
    """The global trace pipe: where tracefs is mounted, else through a mount that only this process has."""
    from bombus.kernel.linux.tracefs import root

    folder = root()
    with contextlib.suppress(OSError):
        if (folder / "tracing_on").read_text().strip() == "0":
            output.note("tracing is off here (tracing_on is 0): nothing comes until somebody turns it on")
    return _open(str(folder / "trace_pipe"))


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(error.errno or 0, "open", f"{path}: only one reader may have it, and root") from None


@contextlib.contextmanager
def until_signal() -> Iterator[None]:
    """SIGHUP, SIGINT and SIGTERM end the work, not the process."""

    def stop(_number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _copy(pipe: Any) -> None:
    out = sys.stdout
    if not output.as_json():
        for line in pipe:
            out.write(line)
            out.flush()
        return
    out.write("[")
    first = True
    try:
        for line in pipe:
            out.write(("" if first else ",") + json.dumps(line))
            out.flush()
            first = False
    finally:
        out.write("]\n")
        out.flush()
