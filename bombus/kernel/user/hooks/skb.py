"""Socket buffers: the packet behind a `__sk_buff`, with its header offsets and offload state.

Sources: Linux 6.12 net/core/filter.c (bpf_skb_*, bpf_convert_ctx_access), net/core/skbuff.c (skb_vlan_push,
skb_vlan_pop), net/ethernet/eth.c (eth_type_trans), include/linux/skbuff.h.
"""

from __future__ import annotations

import errno
import struct
from typing import Final

from bombus.kernel.user.hooks.window import Window, buffer
from bombus.vm.memory import Memory, Region

ETH_HLEN: Final = 14
ETH_P_IP: Final = 0x0800
ETH_P_IPV6: Final = 0x86DD
ETH_P_8021Q: Final = 0x8100
ETH_P_8021AD: Final = 0x88A8
ETH_P_802_3: Final = 0x0001
ETH_P_802_2: Final = 0x0004

CTX_SIZE: Final = 192  # sizeof(struct __sk_buff); behind it lie the words of `vm.env.Env.packet_words`
WORDS_SIZE: Final = 32
SKB_MAX_ALLOC: Final = 16384 - 320  # SKB_MAX_ORDER(0, 2): four pages less the shared info, x86-64

HEADROOM: Final = 1024
_ROOM: Final = 8192

# Members of struct __sk_buff that the packet decides; the others live in the context itself.
_LEN, _PKT_TYPE, _PROTOCOL = 0, 4, 16
_VLAN_PRESENT, _IFINDEX, _HASH, _DATA, _META = 20, 40, 68, 76, 140
_SK = 168

CHECKSUM_NONE, CHECKSUM_UNNECESSARY, CHECKSUM_COMPLETE, CHECKSUM_PARTIAL = range(4)
PACKET_HOST, PACKET_BROADCAST, PACKET_MULTICAST, PACKET_OTHERHOST = range(4)


class Skb:
    """A linear packet. `data`, `end`, `mac`, `network`, `transport` are offsets into `buffer`.

    direct: data/data_end of the context are kept up to date (programs with direct packet access).
    meta: bytes of XDP's metadata in front of the packet.
    protocol: host order. vlan: (protocol, tci) of the accelerated tag or None. csum: u32 with CHECKSUM_COMPLETE.
    """

    __slots__ = (
        "buffer", "csum", "csum_level", "ctx", "data", "direct", "encapsulation", "end", "gso", "hash", "ifindex",
        "ip_summed", "mac", "mac_len", "memory", "meta", "network", "pkt_type", "protocol", "socket", "transport",
        "tunnel", "vlan", "window", "words",
    )  # fmt: skip

    kind = "skb"

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.buffer: Region = buffer(memory, _ROOM)
        self.window = Window(memory)
        self.ctx: Region = memory.allocate(CTX_SIZE, name="__sk_buff", kind="ctx", behind=WORDS_SIZE)
        self.words = memoryview(self.ctx.keep)[CTX_SIZE : CTX_SIZE + WORDS_SIZE].cast("Q")  # type: ignore[arg-type]
        self.socket: Region | None = None
        self.reset(b"", direct=True)

    def reset(self, data: bytes | memoryview, *, direct: bool, meta: bytes = b"") -> None:
        """Become a fresh packet with these bytes and a zeroed context; meta: what XDP left in front of it."""
        if HEADROOM + len(data) > self.buffer.size:
            self._move(HEADROOM + len(data) + _ROOM, HEADROOM)
        self.buffer.view[:HEADROOM] = bytes(HEADROOM - len(meta)) + meta
        self.meta = len(meta)
        self.data = HEADROOM
        self.end = HEADROOM + len(data)
        self.buffer.view[self.data : self.end] = data
        self.mac = self.network = self.data
        self.transport: int | None = None
        self.mac_len = 0
        self.protocol = 0
        self.pkt_type = PACKET_HOST
        self.ip_summed = CHECKSUM_NONE
        self.csum = 0
        self.csum_level = 0
        self.hash = 0
        self.vlan: tuple[int, int] | None = None
        self.ifindex = 1
        self.encapsulation = False
        self.gso = False
        self.tunnel: object = None
        self.direct = direct
        self.ctx.view[:] = bytes(CTX_SIZE)

    def clone(self) -> Skb:
        """A copy of packet and context with memory of its own."""
        twin = Skb(self.memory)
        twin.reset(self.output(), direct=self.direct)
        shift = twin.data - self.data
        twin.mac, twin.network = self.mac + shift, self.network + shift
        for name in ("mac_len", "protocol", "pkt_type", "ip_summed", "csum", "csum_level", "hash", "vlan", "ifindex",
                     "encapsulation", "gso", "tunnel"):  # fmt: skip
            setattr(twin, name, getattr(self, name))
        twin.ctx.view[:] = self.ctx.view
        twin.sync()
        return twin

    # Bytes

    @property
    def length(self) -> int:
        return self.end - self.data

    def output(self) -> bytes:
        return bytes(self.buffer.view[self.data : self.end])

    def close(self) -> None:
        """Give packet and context back."""
        self.window.close()
        self.memory.remove(self.ctx)

    def sync(self) -> None:
        """Write what the packet decides into the program's context, and let the program see just the packet."""
        self.window.show(self.buffer, self.data - self.meta, self.end)
        view = self.ctx.view
        tag = self.vlan
        struct.pack_into("<II", view, _LEN, self.end - self.data, self.pkt_type)
        struct.pack_into(
            "<IIII", view, _PROTOCOL, _swap(self.protocol), int(tag is not None), tag[1] if tag else 0,
            _swap(tag[0]) if tag else 0,
        )
        struct.pack_into("<I", view, _IFINDEX, self.ifindex)
        struct.pack_into("<I", view, _HASH, self.hash)
        start = self.buffer.start + self.data
        if self.direct:
            struct.pack_into("<II", view, _DATA, start, self.buffer.start + self.end)
            struct.pack_into("<I", view, _META, start - self.meta)
        else:
            struct.pack_into("<II", view, _DATA, start, 0)
        words, first = self.words, self.buffer.start
        words[0], words[1], words[2], words[3] = start, first + self.end, first + self.mac, first + self.network
        struct.pack_into("<Q", view, _SK, self.socket.start if self.socket is not None else 0)

    def ensure(self, head: int, tail: int = 0) -> None:
        """Make room in front of and behind the packet."""
        if self.data < head or self.end + tail > self.buffer.size:
            self._move(self.length + head + tail + _ROOM, head + HEADROOM)

    def _move(self, size: int, at: int) -> None:
        old, start, end = self.buffer, getattr(self, "data", HEADROOM), getattr(self, "end", HEADROOM)
        new = buffer(self.memory, size)
        new.view[at : at + end - start] = old.view[start:end]
        self.buffer = new
        shift = at - start
        self.meta = 0  # Linux 6.12 net/core/skbuff.c: pskb_expand_head
        self.data, self.end = at, at + end - start
        if hasattr(self, "mac"):
            self.mac += shift
            self.network += shift
            if self.transport is not None:
                self.transport += shift

    def push(self, count: int) -> None:
        """Take `count` bytes (any content) in front."""
        self.ensure(count)
        self.data -= count

    # What receiving does

    def eth_type_trans(self, address: bytes) -> None:
        """Pull the Ethernet header: protocol and packet type come from it."""
        view = self.buffer.view
        self.mac = self.data
        target = bytes(view[self.data : self.data + 6])
        self.data += ETH_HLEN
        if target != address:
            if target[0] & 1:
                self.pkt_type = PACKET_BROADCAST if target == b"\xff" * 6 else PACKET_MULTICAST
            else:
                self.pkt_type = PACKET_OTHERHOST
        number = int.from_bytes(view[self.mac + 12 : self.mac + 14], "big")
        if number >= 1536:
            self.protocol = number
        elif self.length >= 2 and bytes(view[self.data : self.data + 2]) == b"\xff\xff":
            self.protocol = ETH_P_802_3
        else:
            self.protocol = ETH_P_802_2
        self.network = self.data

    def load_absolute(self, offset: int, size: int) -> int | None:
        """BPF_LD_ABS: big-endian number, None outside. SKF_LL_OFF and SKF_NET_OFF are -0x200000 and -0x100000."""
        if offset >= 0:
            at = self.data + offset
        elif offset >= -0x100000:
            at = self.network + offset + 0x100000
        elif offset >= -0x200000:
            at = self.mac + offset + 0x200000
        else:
            return None
        low = self.data if offset >= 0 else 0
        if at < low or at + size > self.end:
            return None
        return int.from_bytes(self.buffer.view[at : at + size], "big")

    # Changes in size

    def net_push(self, off: int, count: int) -> None:
        """Open `count` zero bytes at `off`; mac and network header stay at the front."""
        same = self.transport is not None and self.transport == self.network
        self.push(count)
        view = self.buffer.view
        view[self.data : self.data + off] = bytes(view[self.data + count : self.data + count + off])
        view[self.data + off : self.data + off + count] = bytes(count)
        self.mac -= count
        self.network -= count
        if same:
            self.transport = self.network

    def net_pop(self, off: int, count: int) -> int:
        same = self.transport is not None and self.transport == self.network
        if off + count > self.length:
            return -errno.ENOMEM
        view = self.buffer.view
        head = bytes(view[self.data : self.data + off])
        self.data += count
        view[self.data : self.data + off] = head
        self.mac += count
        self.network += count
        if same:
            self.transport = self.network
        return 0

    def change_tail(self, length: int) -> int:
        """bpf_skb_change_tail without its flags."""
        least = max(self.network - self.data, 0)
        if self.transport is not None and self.transport > self.data:
            least = self.transport - self.data
        if length > SKB_MAX_ALLOC or length < least:
            return -errno.EINVAL
        if self.encapsulation:
            return -524
        grow = length - self.length
        if grow > 0:
            self.ensure(0, grow)
            self.buffer.view[self.end : self.end + grow] = bytes(grow)
        self.end = self.data + length
        if self.ip_summed == CHECKSUM_COMPLETE and grow:
            self.ip_summed = CHECKSUM_NONE
        return 0

    def change_head(self, count: int) -> int:
        if self.length + count > SKB_MAX_ALLOC and not self.gso:
            return -errno.EINVAL
        self.push(count)
        self.buffer.view[self.data : self.data + count] = bytes(count)
        self.mac = self.data
        self.mac_len = self.network - self.mac
        return 0

    def reset_checksum_unnecessary(self) -> None:
        if self.ip_summed == CHECKSUM_UNNECESSARY:
            self.ip_summed = CHECKSUM_NONE
            self.csum_level = 0


def _swap(number: int) -> int:
    """A 16-bit number in the other byte order."""
    return (number & 0xFF) << 8 | number >> 8
