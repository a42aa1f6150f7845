"""What readers of events share: typed decoding, waiting, iteration, callbacks, asyncio.

Readers work on memory that `Kernel.mmap` maps, so they are the same on both kernels. Positions are u64 that the other
side reads meanwhile; they are loaded and stored as one machine word (memoryview of format "Q"). CPUs that order memory
weakly would need barriers that Python has none of; between a load of the position and one of the data lie thousands
of instructions and a lock (the GIL's), which is a barrier in practice.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

from bombus.errors import UsageError

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np

    from bombus.btf.columns import Columns
    from bombus.btf.layouts import Layout
    from bombus.btf.records import Decoder, SizedDecoder
    from bombus.kernel.handles.maps import Map

_USER_SLICE = 0.05  # seconds that a waiting thread of asyncio sleeps on the user kernel, which has no descriptors


class Reader:
    """Base of `RingBuffer` and `PerfBuffer`.

    layout: the type of the events (`bombus.btf.data.layout_of`); None leaves them bytes. Events that are shorter than
    the type come as bytes.
    """

    def __init__(self, item: Map, layout: Layout | None) -> None:
        self.map = item
        self.kernel = item.kernel
        self._closed = False
        self._pid = os.getpid()
        self._columns: Columns | None = None
        self.layout = layout

    @property
    def layout(self) -> Layout | None:
        """The type of the events; it may be set at any time."""
        return self._layout

    @layout.setter
    def layout(self, layout: Layout | None) -> None:
        self._layout = layout
        self._columns = None
        self._decode: Decoder | None = None
        self._sized: SizedDecoder | None = None
        if layout is not None:
            from bombus.btf.records import decoder, sized_decoder

            self._decode = decoder(layout)
            self._sized = sized_decoder(layout)

    # What a kind of reader implements

    def fds(self) -> list[int]:
        """Descriptors that become readable when there are events."""
        raise NotImplementedError

    def read(self, limit: int | None = None) -> list[bytes]:
        """Events that are there now as bytes, oldest first (of each CPU), at most `limit`."""
        raise NotImplementedError

    def records(self, limit: int | None = None) -> list[Any]:
        """As `read`, but typed."""
        return [self.event(data) for data in self.read(limit)]

    def array(self, limit: int | None = None) -> np.ndarray[Any, Any]:
        """Events that are there now as a numpy structured array, without a Python object for each.

        UsageError without a type. Events that are shorter than the type are left out and counted in `short`.
        """
        raise NotImplementedError

    # Typed data

    def event(self, data: bytes) -> Any:
        """One event as its type says; bytes as they are without a type, or when they are too short for it."""
        if self._decode is None or self._layout is None or len(data) < self._layout.size:
            return data
        return self._decode(data, 0) if self._sized is None else self._sized(data, 0, len(data))

    def columns(self) -> Columns:
        """How events become arrays. UsageError without a type, NotSupported for types that numpy has not."""
        if self._columns is None:
            if self._layout is None:
                raise UsageError("arrays of events need the type of the events")
            from bombus.btf.columns import Columns

            self._columns = Columns(self._layout)
        return self._columns

    # Waiting

    def wait(self, timeout: float | None = None) -> bool:
        """Whether something is to be read, after at most `timeout` seconds (None: wait for ever)."""
        self._check()
        return bool(self.kernel.wait(self.fds(), timeout))

    def _until(self, read: Callable[[], Any], timeout: float | None) -> Any:
        """What `read` gives once it is not empty; empty after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            found = read()
            if len(found):
                return found
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return found
            self.wait(left)

    def poll(self, timeout: float | None = None, limit: int | None = None) -> list[Any]:
        """Wait for events and return them, typed when the reader has a type; empty after `timeout` seconds."""
        found: list[Any] = self._until(lambda: self.records(limit), timeout)
        return found

    def consume(self, callback: Callable[[Any], object], timeout: float | None = 0, limit: int | None = None) -> int:
        """As `poll`, but call `callback` with each event. Returns how many there were.

        An exception of the callback comes through; the events that were read with that one are gone.
        """
        found = self.poll(timeout, limit)
        for event in found:
            callback(event)
        return len(found)

    def events(self, timeout: float | None = 0) -> Iterator[Any]:
        """Typed events until none came for `timeout` seconds (0: those that are there now; None: for ever)."""
        while found := self.poll(timeout):
            yield from found

    def arrays(self, timeout: float | None = None, limit: int | None = None) -> Iterator[np.ndarray[Any, Any]]:
        """`array`s until no event came for `timeout` seconds."""
        while len(found := self._until(lambda: self.array(limit), timeout)):
            yield found

    def __iter__(self) -> Iterator[Any]:
        """Typed events for ever, waiting when there are none."""
        return self.events(None)

    async def wait_async(self) -> None:
        """Return when something is to be read."""
        self._check()
        await wait_readable(self.kernel, self.fds())

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Typed events for ever; other tasks run while there are none."""
        import asyncio  # late: it takes longer to import than everything else here

        while True:
            found = self.records()
            for event in found:
                yield event
            # A flood of events must not starve other tasks.
            await (asyncio.sleep(0) if found else self.wait_async())

    # Lifetime

    def _check(self) -> None:
        if self._closed:
            raise UsageError("this reader is closed")
        if self._pid != os.getpid():
            raise UsageError(f"this reader belongs to process {self._pid}: two processes cannot both consume events")

    def close(self) -> None:
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def wait_readable(kernel: Any, fds: list[int]) -> None:
    """Return when one of a kernel's descriptors is readable."""
    import asyncio

    loop = asyncio.get_running_loop()
    if kernel.name != "linux":
        while not await loop.run_in_executor(None, kernel.wait, fds, _USER_SLICE):
            pass
        return
    future: asyncio.Future[None] = loop.create_future()

    def ready() -> None:
        if not future.done():
            future.set_result(None)

    # Descriptors of our own: asyncio has one callback for each number, and others may watch the same map.
    own: list[int] = []
    try:
        for fd in fds:
            own.append(os.dup(fd))
            loop.add_reader(own[-1], ready)
        await future
    finally:
        for fd in own:
            loop.remove_reader(fd)
            os.close(fd)


def check_type(item: Map, name: str) -> None:
    """UsageError when a map is of another type."""
    if item.type.name != name:
        raise UsageError(f"a {item.type.short} map; this needs a {name.removeprefix('BPF_MAP_TYPE_').lower()}")
