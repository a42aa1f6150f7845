"""What iterator programs write to: the buffer of one open iterator. Linux 6.12 fs/seq_file.c."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bombus.kernel.user.world.objects import KernelStruct

SIZE: Final = 8 * 4096  # bpf_seq_read: PAGE_SIZE << 3


class SeqFile:
    """`struct seq_file` as the program sees it, and the bytes behind it. count == SIZE: it has overflowed."""

    __slots__ = ("_struct", "count", "data")

    def __init__(self, struct: KernelStruct) -> None:
        self._struct = struct
        self.data = bytearray()
        self.count = 0
        struct.set("size", SIZE)

    @property
    def address(self) -> int:
        return self._struct.address

    @property
    def room(self) -> int:
        return SIZE - self.count

    @property
    def overflowed(self) -> bool:
        return self.count == SIZE

    def write(self, data: bytes) -> bool:
        """Append, all or nothing: what would fill the buffer to its end overflows it (seq_write)."""
        if self.count + len(data) >= SIZE:
            self.rewind(SIZE)
            return False
        self.data[self.count :] = data
        self.rewind(self.count + len(data))
        return True

    def rewind(self, count: int) -> None:
        """Go back to where the buffer had so many bytes."""
        self.count = count
        self._struct.set("count", count)

    def take(self, size: int) -> bytes:
        """The first bytes, which are gone then."""
        out = bytes(self.data[: min(size, self.count)])
        del self.data[: len(out)]
        self.rewind(self.count - len(out))
        return out

    def close(self) -> None:
        self._struct.close()
