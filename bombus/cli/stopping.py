"""Ctrl-C and SIGTERM as a wish to end, for commands that then print what they collected."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any


class Stop:
    def __init__(self) -> None:
        self.asked = False


@contextlib.contextmanager
def stopping() -> Iterator[Stop]:
    """Signals set `asked`; the second one interrupts."""
    stop = Stop()

    def ask(_number: int, _frame: Any) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
