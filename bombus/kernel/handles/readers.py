"""Several readers of events at once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from bombus.errors import UsageError
from bombus.kernel.handles.reader import Reader, wait_readable


class Readers:
    """Ring and perf buffers of one kernel, waited for together; events come as (name, event).

    `close` (and the end of a `with`) closes all.
    """

    def __init__(self, readers: Mapping[str, Reader]) -> None:
        if not readers:
            raise UsageError("no reader to wait for")
        self.readers = dict(readers)
        kernels = {id(reader.kernel): reader.kernel for reader in self.readers.values()}
        if len(kernels) > 1:
            raise UsageError("readers of two kernels cannot wait together")
        self.kernel = next(iter(kernels.values()))

    def fds(self) -> list[int]:
        return [fd for reader in self.readers.values() for fd in reader.fds()]

    def wait(self, timeout: float | None = None) -> bool:
        """Whether something is to be read, after at most `timeout` seconds (None: wait for ever)."""
        return bool(self.kernel.wait(self.fds(), timeout))

    def records(self, limit: int | None = None) -> list[tuple[str, Any]]:
        """Events that are there now, at most `limit` of each reader."""
        return [(name, event) for name, reader in self.readers.items() for event in reader.records(limit)]

    def poll(self, timeout: float | None = None, limit: int | None = None) -> list[tuple[str, Any]]:
        """Wait for events; empty after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            found = self.records(limit)
            left = None if end is None else end - time.monotonic()
            if found or (left is not None and left <= 0):
                return found
            self.wait(left)

    def consume(self, callback: Callable[[str, Any], object], timeout: float | None = 0) -> int:
        """As `poll`, but call callback(name, event). Returns how many there were."""
        found = self.poll(timeout)
        for name, event in found:
            callback(name, event)
        return len(found)

    def events(self, timeout: float | None = 0) -> Iterator[tuple[str, Any]]:
        """Events until none came for `timeout` seconds (0: those that are there now; None: for ever)."""
        while found := self.poll(timeout):
            yield from found

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return self.events(None)

    async def __aiter__(self) -> AsyncIterator[tuple[str, Any]]:
        import asyncio

        while True:
            found = self.records()
            for pair in found:
                yield pair
            await (asyncio.sleep(0) if found else wait_readable(self.kernel, self.fds()))

    def close(self) -> None:
        for reader in self.readers.values():
            reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
