"""The part of a packet's buffer that programs may touch."""

from __future__ import annotations

from bombus.vm.memory import Memory, Region


class Window:
    """A live region over bytes `low` to `high` of a buffer that is itself not live."""

    __slots__ = ("_high", "_low", "_memory", "_of", "region")

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._of: Region | None = None
        self._low = self._high = 0
        self.region: Region | None = None

    def show(self, buffer: Region, low: int, high: int) -> None:
        """Let the window be bytes [low, high) of `buffer`. Engines look regions up anew only when it moved."""
        if low == self._low and high == self._high and buffer is self._of:
            return
        memory = self._memory
        region = self.region
        if region is not None and low == self._low and buffer is self._of:  # the usual: a packet of another length
            self._high = high
            region.size = high - low
            region.view = buffer.view[low:high]
            memory.changed()
            return
        if region is not None:
            memory.remove(region)
        self._of, self._low, self._high = buffer, low, high
        start = buffer.start + low
        self.region = Region(start, high - low, buffer.view[low:high], "the packet", "packet", keep=buffer)
        memory.add(self.region)

    def close(self) -> None:
        """Nothing of the buffer is live any more."""
        if self.region is not None:
            self._memory.remove(self.region)
        self.region = self._of = None


def buffer(memory: Memory, size: int) -> Region:
    """Zeroed bytes below 4 GiB that no program can reach but through a window."""
    made = memory.allocate(size, name="the packet", kind="packet", low=True)
    memory.remove(made)
    return made
