"""XDP: the frame that a program sees, and BPF_PROG_TEST_RUN's buffer layout.

Sources: Linux 6.12 include/net/xdp.h, net/core/filter.c (bpf_xdp_*), net/bpf/test_run.c (bpf_prog_test_run_xdp).
"""

from __future__ import annotations

import errno
import struct
from typing import Final

from bombus.kernel.user.hooks.window import Window, buffer
from bombus.vm.memory import Memory, Region

PAGE: Final = 4096
HEADROOM: Final = 256  # XDP_PACKET_HEADROOM
TAILROOM: Final = 320  # SKB_DATA_ALIGN(sizeof(struct skb_shared_info)), x86-64
FRAME_HEADER: Final = 40  # sizeof(struct xdp_frame), at the start of the headroom
MAX_FRAGS: Final = 17  # MAX_SKB_FRAGS
MAX_META: Final = 255
ETH_HLEN: Final = 14
_MD = struct.Struct("<IIIIII")  # struct xdp_md


class XdpBuff:
    """One frame. Offsets count from the start of its page, which is `frame`; `ctx` holds the program's xdp_md.

    frags: the frame's bytes beyond the linear part, in pages.
    """

    __slots__ = ("ctx", "data", "egress", "end", "frags", "frame", "ifindex", "meta", "queue", "window")

    kind = "xdp"

    def __init__(self, memory: Memory) -> None:
        self.frame: Region = buffer(memory, PAGE)
        self.window = Window(memory)
        self.ctx: Region = memory.allocate(_MD.size, name="xdp_md", kind="ctx")
        self.frags: list[bytearray] = []
        self.data = self.end = self.meta = HEADROOM
        self.ifindex = 1
        self.queue = self.egress = 0

    def fill(self, data: bytes | memoryview, headroom: int, linear: int, meta: int) -> int:
        """Take in the frame's bytes, the first `meta` of them metadata. Returns 0 or -ENOMEM (too many pages)."""
        view = self.frame.view
        view[:headroom] = bytes(headroom)
        self.meta = headroom
        self.data = headroom + meta
        self.end = headroom + linear
        view[headroom : self.end] = data[:linear]
        view[self.end :] = bytes(PAGE - self.end)
        rest = data[linear:]
        self.frags = [bytearray(rest[at : at + PAGE]) for at in range(0, len(rest), PAGE)]
        self.sync()
        return -errno.ENOMEM if len(self.frags) > MAX_FRAGS else 0

    def sync(self) -> None:
        """Write what the program sees of the offsets into its context; metadata and frame alone can be touched."""
        self.window.show(self.frame, self.meta, self.end)
        start = self.frame.start
        places = start + self.data, start + self.end, start + self.meta
        _MD.pack_into(self.ctx.view, 0, *places, self.ifindex, self.queue, self.egress)

    def output(self) -> bytes:
        """Metadata and frame as they are now."""
        return bytes(self.frame.view[self.meta : self.end]) + b"".join(self.frags)

    @property
    def length(self) -> int:
        """xdp_get_buff_len: bytes of the frame, fragments included."""
        return self.end - self.data + sum(map(len, self.frags))

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the frame across fragments; the caller checked the bounds."""
        linear = self.end - self.data
        if offset + size <= linear:
            at = self.data + offset
            return bytes(self.frame.view[at : at + size])
        whole = bytes(self.frame.view[self.data : self.end]) + b"".join(self.frags)
        return whole[offset : offset + size]

    def write(self, offset: int, data: bytes) -> None:
        linear = self.end - self.data
        start = 0
        if offset < linear:
            part = data[: linear - offset]
            at = self.data + offset
            self.frame.view[at : at + len(part)] = part
            data, offset = data[len(part) :], linear
        start = linear
        for frag in self.frags:
            if not data:
                return
            if offset < start + len(frag):
                part = data[: start + len(frag) - offset]
                frag[offset - start : offset - start + len(part)] = part
                data, offset = data[len(part) :], offset + len(part)
            start += len(frag)

    def reach(self, offset: int, size: int) -> int:
        """bpf_xdp_pointer's rules: 0 or a negative errno."""
        if offset > 0xFFFF or size > 0xFFFF:
            return -errno.EFAULT
        return -errno.EINVAL if offset + size > self.length else 0

    def adjust_head(self, delta: int) -> int:
        metalen = self.data - self.meta
        data = self.data + delta
        if data < FRAME_HEADER + metalen or data > self.end - ETH_HLEN:
            return -errno.EINVAL
        if metalen:
            view = self.frame.view
            view[self.meta + delta : data] = bytes(view[self.meta : self.data])
        self.meta += delta
        self.data = data
        self.sync()
        return 0

    def adjust_meta(self, delta: int) -> int:
        meta = self.meta + delta
        if meta < FRAME_HEADER or meta > self.data:
            return -errno.EINVAL
        if (self.data - meta) % 4 or self.data - meta > MAX_META:
            return -errno.EACCES
        self.meta = meta
        self.sync()
        return 0

    def adjust_tail(self, delta: int) -> int:
        if self.frags:
            return self._shrink_frags(-delta) if delta < 0 else self._grow_frags(delta)
        end = self.end + delta
        if end > PAGE - TAILROOM or end < self.data + ETH_HLEN:
            return -errno.EINVAL
        if delta > 0:
            self.frame.view[self.end : end] = bytes(delta)
        self.end = end
        self.sync()
        return 0

    def _grow_frags(self, delta: int) -> int:
        last = self.frags[-1]
        if delta > PAGE - len(last):
            return -errno.EINVAL
        last += bytes(delta)
        return 0

    def _shrink_frags(self, delta: int) -> int:
        if delta > self.length - ETH_HLEN:
            return -errno.EINVAL
        while self.frags and delta > 0:
            last = self.frags[-1]
            cut = min(delta, len(last))
            delta -= cut
            if cut < len(last):
                del last[-cut:]
                break
            self.frags.pop()
        if not self.frags:
            self.end -= delta
            self.sync()
        return 0

    def load_absolute(self, offset: int, size: int) -> int | None:
        """XDP programs have no BPF_LD_ABS."""
        return None
