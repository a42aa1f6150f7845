"""Random map operations on the running Linux and on the user kernel: same errno, same bytes, same contents.

    fuzz/fuzz_maps_linux.py [--ops N] [--seed S] [TYPE ...]      types as bpftool names them; all by default

One session makes a map with random attributes (some of them wrong), does random operations on it and compares
every result, and at its end the whole contents. Iteration order of hash tables is compared as a set; see
docs/differences-maps.md. The process binds itself to CPU 0, so that the LRU lists of both kernels see one CPU.
"""

from __future__ import annotations

import argparse
import os
import random
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bombus.errors import KernelError, NotSupported
from bombus.kernel.api import Attr
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.kernel.user.kernel import UserKernel
from bombus.spec.maptypes import FLAG, MAP_TYPE, MapType

Outcome = tuple[int, tuple[bytes, ...]]
"""(errno or 0, what was written back)."""

UNORDERED = frozenset(
    ["hash", "percpu_hash", "lru_hash", "lru_percpu_hash", "hash_of_maps", "devmap_hash", "sockhash"]
)
_FLAG_BITS = [f.value for f in FLAG.values() if f.where == "map"]
_SIZES = (0, 1, 3, 4, 5, 8, 16, 255, 513, 4096, 32768, 32769, 4 << 20, 1 << 31, 0xFFFFFFFF)
_NO_FD = 0x7FFFFFF0  # open on neither kernel
_OWNED = frozenset(["sk_storage", "inode_storage", "task_storage", "cgrp_storage"])
_HASHES = frozenset(["hash", "percpu_hash", "lru_hash", "lru_percpu_hash", "hash_of_maps", "sockhash", "devmap_hash"])


class Mismatch(Exception):
    """The kernels disagree; the text says on what."""


@dataclass
class Map:
    """One map on both kernels."""

    linux: int
    user: int
    key_size: int
    value_size: int  # as user space sees it
    entries: int
    flags: int
    keys: list[bytes] = field(default_factory=list)
    pushed: set[bytes] = field(default_factory=set)


class Pair:
    def __init__(self, kind: MapType, seed: int, maps: str = "") -> None:
        self.linux = LinuxKernel()
        version = self.linux.version
        self.user = UserKernel(f"{version.major}.{version.minor}", cpus=self.linux.possible_cpus, maps=maps)
        self.user.nr_cpus = int(self.linux.kconfig().get("CONFIG_NR_CPUS", "8192"))
        self.kind = kind
        self.random = random.Random(f"{seed} {kind.short}")
        self.ops = 0
        self.counts: Counter[str] = Counter()
        self.errors: Counter[int] = Counter()
        self.log: list[str] = []
        self.btf = {True: 0, False: 0}
        self.inner: list[tuple[int, int]] = []
        self.inner_ids: dict[bytes, tuple[bytes, bytes]] = {}
        self.load_btf()
        if kind.short in ("array_of_maps", "hash_of_maps"):
            self.make_inner()

    def load_btf(self) -> None:
        # 1 int, 2 struct pair of two, 3 struct bpf_spin_lock, 4 struct locked with one and an int, 5 u64, 6 timer
        strings = b"\0int\0pair\0a\0b\0bpf_spin_lock\0locked\0u64\0bpf_timer\0timed\0"
        at = {name: strings.index(b"\0" + name + b"\0") + 1 for name in strings.split(b"\0") if name}
        types = struct.pack("<IIII", at[b"int"], 1 << 24, 4, 1 << 24 | 32)
        types += struct.pack("<9I", at[b"pair"], 4 << 24 | 2, 8, at[b"a"], 1, 0, at[b"b"], 1, 32)
        types += struct.pack("<6I", at[b"bpf_spin_lock"], 4 << 24 | 1, 4, at[b"a"], 1, 0)
        types += struct.pack("<9I", at[b"locked"], 4 << 24 | 2, 8, at[b"a"], 3, 0, at[b"b"], 1, 32)
        types += struct.pack("<IIII", at[b"u64"], 1 << 24, 8, 64)
        types += struct.pack("<9I", at[b"bpf_timer"], 4 << 24 | 2, 16, at[b"a"], 5, 0, at[b"b"], 5, 64)
        types += struct.pack("<9I", at[b"timed"], 4 << 24 | 2, 24, at[b"a"], 5, 0, at[b"b"], 6, 64)
        data = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings)) + types + strings
        for linux in (True, False):
            kernel = self.linux if linux else self.user
            self.btf[linux] = kernel.bpf(Attr("BPF_BTF_LOAD", btf=data, btf_size=len(data)))

    def make_inner(self) -> None:
        """Three arrays alike, one different, one hash."""
        for kind, entries in ((2, 2), (2, 2), (2, 2), (2, 3), (1, 2)):
            fields = {"map_type": kind, "key_size": 4, "value_size": 8, "max_entries": entries}
            a, b = self.linux.bpf(Attr("BPF_MAP_CREATE", **fields)), self.user.bpf(Attr("BPF_MAP_CREATE", **fields))
            self.inner.append((a, b))

    # One operation on both kernels

    def run(self, linux: bool, command: str, outs: dict[str, int], fields: dict[str, Any]) -> Outcome:
        kernel = self.linux if linux else self.user
        buffers = {name: bytearray(b"\xa5" * size) for name, size in outs.items()}
        attr = Attr(command, **fields, **buffers)
        tail = fields.get("_tail")
        assert tail is None
        try:
            kernel.bpf(attr)
            number = 0
        except KernelError as error:
            number = error.errno or -1
        back = [bytes(b) for b in buffers.values()]
        if "count" in attr.command.by_name:
            back.append(attr.get("count").to_bytes(4, "little"))
        return number, tuple(back)

    def both(
        self, command: str, target: Map | None, outs: dict[str, int] | None = None,
        compare: bool = True, **fields: int | bytes | str | bytearray,
    ) -> tuple[Outcome, Outcome]:  # fmt: skip
        self.ops += 1
        self.counts[command] += 1
        results = []
        for linux in (True, False):
            mine: dict[str, Any] = dict(fields)
            if target is not None and "map_fd" not in mine:
                mine["map_fd"] = target.linux if linux else target.user
            if "value" in mine and self.inner and isinstance(mine["value"], bytes) and command.startswith("BPF_MAP_UP"):
                mine["value"] = self.inner_value(mine["value"], linux)
            results.append(self.run(linux, command, outs or {}, mine))
        a, b = results
        self.errors[a[0]] += 1
        text = f"{command} {fields} -> {a[0]}/{b[0]}"
        self.log.append(text)
        if compare:
            if a[0] != b[0]:
                self.fail(f"errno {a[0]} on Linux, {b[0]} on the user kernel")
            if self.inner and a[0] == 0 and command.startswith("BPF_MAP_LOOKUP"):
                return a, b  # ids differ
            if a[1] != b[1]:
                self.fail(f"bytes {[x.hex() for x in a[1]]} on Linux, {[x.hex() for x in b[1]]} on the user kernel")
        return a, b

    def inner_value(self, value: bytes, linux: bool) -> bytes:
        number = int.from_bytes(value[:4], "little")
        if number < len(self.inner):
            number = self.inner[number][0 if linux else 1]
        return number.to_bytes(4, "little")

    def fail(self, what: str) -> None:
        raise Mismatch(f"{self.kind.short}: {what}\n  " + "\n  ".join(self.log[-40:]))

    # Sessions

    def attributes(self) -> dict[str, int | bytes | str]:
        """Attributes that are right, or wrong in one or two places."""
        rng, kind = self.random, self.kind
        key = rng.choice((1, 2, 3, 4, 5, 8, 12, 16))
        value = rng.choice((1, 2, 4, 5, 7, 8, 9, 16, 24, 100))
        entries = rng.choice((1, 2, 3, 4, 5, 7, 8, 16, 20))
        if kind.key.only:
            key = rng.choice(kind.key.only)
        elif kind.short == "lpm_trie":
            key = rng.choice((5, 6, 8, 20, 260))
        if kind.value.only:
            value = rng.choice(kind.value.only)
        elif kind.short == "stack_trace":
            value = 8 * rng.randint(1, 127)
        if kind.needs_btf:
            value = 8
        if kind.entries.only:
            entries = rng.choice(kind.entries.only)
        elif kind.entries.power_of_two:
            entries = rng.choice((4096, 8192, 65536))
        fields: dict[str, int | bytes | str] = {
            "map_type": kind.id, "key_size": key, "value_size": value, "max_entries": entries,
            "map_flags": kind.flags_needed,
        }  # fmt: skip
        if rng.random() < 0.3:
            fields["map_flags"] = kind.flags_needed | rng.choice(_FLAG_BITS) & kind.flags
        if kind.needs_btf:
            fields |= {"btf_fd": -1, "btf_key_type_id": 1, "btf_value_type_id": 2}
        elif rng.random() < 0.2:
            self.give_types(fields)
        if self.inner:
            fields["inner_map_fd"] = 0
        if kind.short == "bloom_filter":
            fields["map_extra"] = rng.choice((0, 0, 1, 5, 15))
            fields["max_entries"] = rng.choice((100, 1000))
        if rng.random() < 0.3:
            for _ in range(rng.randint(1, 2)):
                self.spoil(fields)
        return fields

    def give_types(self, fields: dict[str, int | bytes | str]) -> None:
        """Key and value BTF, mostly of the right sizes."""
        rng = self.random
        sizes = {0: 0, 1: 4, 2: 8, 3: 4, 4: 8, 5: 8, 6: 16, 7: 24}
        key, value = rng.choice((0, 1, 1, 1, 2, 5)), rng.choice((1, 2, 4, 4, 4, 5, 7, 7))
        fields |= {"btf_fd": -1, "btf_key_type_id": key, "btf_value_type_id": value}
        if rng.random() < 0.9:
            if not self.kind.value.only:
                fields["value_size"] = sizes[value]
            if not self.kind.key.only and key:
                fields["key_size"] = sizes[key]

    def spoil(self, fields: dict[str, int | bytes | str]) -> None:
        rng = self.random
        what = rng.choice(
            ("key_size", "value_size", "max_entries", "map_flags", "map_flags", "map_flags", "numa_node", "map_name",
             "map_ifindex", "btf_key_type_id", "btf_value_type_id", "btf_vmlinux_value_type_id", "map_extra",
             "inner_map_fd", "value_type_btf_obj_fd", "map_token_fd", "btf_fd", "excl_prog_hash_size")
        )  # fmt: skip
        if what == "map_flags":
            fields[what] = rng.choice((0, rng.choice(_FLAG_BITS), int(fields[what]) | rng.choice(_FLAG_BITS), 1 << 25))
        elif what == "map_name":
            fields[what] = rng.choice(("ok", "a.b_c9", "bad name", "x-y", "fifteen_letters"))
        elif what in ("key_size", "value_size"):
            fields[what] = rng.choice(_SIZES)
        elif what == "map_ifindex":
            fields[what] = rng.choice((1, 0x7FFFFFF0))  # lo, and no device at all
        elif what == "max_entries":
            fields[what] = rng.choice((0, 1, 2, 3, 4095, 4096, 8191))
        elif what == "numa_node":
            fields["map_flags"] = int(fields["map_flags"]) | 4
            fields[what] = rng.choice((0, 1, 5, 0xFFFFFFFF))
        elif what == "map_extra":
            fields[what] = rng.choice((1, 5, 15, 16, 4096, 1 << 40))
        elif what.endswith("_fd"):
            fields[what] = _NO_FD
        else:
            fields[what] = rng.choice((1, 2, 0x7FFFFFF0))

    def create(self) -> Map | None:
        fields = self.attributes()
        # 0 is standard input on Linux and no descriptor at all on the user kernel.
        for name in ("btf_fd", "map_token_fd", "value_type_btf_obj_fd"):
            fields.setdefault(name, _NO_FD if name != "value_type_btf_obj_fd" else 0)
        if not int(fields["map_flags"]) & FLAG["BPF_F_TOKEN_FD"].value:
            fields["map_token_fd"] = 0
        self.log = []
        fds = []
        numbers = []
        for linux in (True, False):
            mine = dict(fields)
            if mine.get("btf_fd") == -1:
                mine["btf_fd"] = self.btf[linux]
            if self.inner and mine.get("inner_map_fd") == 0:
                mine["inner_map_fd"] = self.inner[0][0 if linux else 1]
            kernel = self.linux if linux else self.user
            try:
                fds.append(kernel.bpf(Attr("BPF_MAP_CREATE", **mine)))
                numbers.append(0)
            except KernelError as error:
                numbers.append(error.errno or -1)
            except NotSupported:
                numbers.append(numbers[0])  # struct_ops: attributes were right
        self.ops += 1
        self.counts["BPF_MAP_CREATE"] += 1
        self.errors[numbers[0]] += 1
        self.log.append(f"BPF_MAP_CREATE {fields} -> {numbers}")
        if numbers[0] != numbers[1]:
            for kernel, fd, number in ((self.linux, fds[:1], numbers[0]), (self.user, fds[-1:], numbers[1])):
                if number == 0:
                    kernel.close(fd[0])
            self.fail("creation differs")
        if len(fds) < 2:
            return None
        key, value = int(fields["key_size"]), int(fields["value_size"])
        if self.kind.per_cpu:
            value = (value + 7 & ~7) * self.linux.possible_cpus
        item = Map(fds[0], fds[1], key, value, int(fields["max_entries"]), int(fields["map_flags"]))
        item.keys = [self.key(item) for _ in range(self.random.randint(1, 2 * min(item.entries, 16) + 2))]
        return item

    def key(self, item: Map) -> bytes:
        rng = self.random
        if self.kind.short in ("lpm_trie",):
            bits = (item.key_size - 4) * 8
            length = rng.choice((0, 1, 3, 8, bits // 2, bits, bits, rng.randint(0, bits), bits + 1))
            data = bytes(rng.choice((0, 0x80, 0xC0, 0xFF)) for _ in range(item.key_size - 4))
            return length.to_bytes(4, "little") + data
        if self.kind.short in _OWNED:  # keys are descriptors
            return rng.choice((_NO_FD, _NO_FD + 1, 0xFFFFFFFF)).to_bytes(4, "little")
        if item.key_size == 4 and self.kind.short not in _HASHES:
            bound = item.entries + 2
            return rng.choice((rng.randrange(bound), rng.randrange(bound), 0xFFFFFFFF)).to_bytes(4, "little")
        return bytes(rng.choice((0, 1, 2, 255)) for _ in range(item.key_size))

    def value(self, item: Map) -> bytes:
        rng = self.random
        short = self.kind.short
        if self.inner:
            return rng.choice((0, 1, 2, 3, 4, 0x7FFFFFF0)).to_bytes(4, "little")
        if short in ("devmap", "devmap_hash"):
            program = rng.choice((0, 0, 0, -1, 0x7FFFFFF0)).to_bytes(4, "little", signed=True)
            return (rng.choice((0, 1, 1, 1, 0x7FFFFFF0)).to_bytes(4, "little") + program)[: item.value_size]
        if short == "cpumap":
            program = rng.choice((0, 0, -1, 0x7FFFFFF0)).to_bytes(4, "little", signed=True)
            return (rng.choice((0, 1, 16384, 16385)).to_bytes(4, "little") + program)[: item.value_size]
        if self.kind.value.only == (4,) or short in ("sockmap", "sockhash", "reuseport_sockarray"):
            return rng.choice((0x7FFFFFF0, 0xFFFFFFFF)).to_bytes(4, "little").ljust(item.value_size, b"\0")
        if short == "bloom_filter":
            return bytes((rng.randrange(256),)).ljust(item.value_size, b"\x07")
        return rng.randbytes(item.value_size)

    def step(self, item: Map) -> None:
        rng = self.random
        roll = rng.random()
        key: int | bytes = rng.choice(item.keys) if item.key_size else 0
        if roll < 0.02:
            key = rng.choice((0, 8, self.key(item) or 0))
        if not item.key_size and roll < 0.01:
            key = b"1234"
        flags = rng.choice((0, 0, 0, 0, 1, 2, rng.choice((3, 4, 5, 6, 7, 8, 1 << 32, 1 << 63))))
        what = rng.choice(_STEPS)
        what(self, item, key, flags)

    def lookup(self, item: Map, key: int | bytes, flags: int) -> None:
        flags = flags if self.random.random() < 0.1 else 0
        if self.kind.short == "bloom_filter":
            value = self.value(item)
            a, b = self.both("BPF_MAP_LOOKUP_ELEM", item, key=key, value=bytearray(value), flags=flags, compare=False)
            if value in item.pushed and a != b:
                self.fail(f"{a} on Linux, {b} on the user kernel for a member")
            if a != b:
                self.counts["false positives that only one kernel has"] += 1
            return
        self.both("BPF_MAP_LOOKUP_ELEM", item, {"value": item.value_size}, key=key, flags=flags)

    def update(self, item: Map, key: int | bytes, flags: int) -> None:
        value: int | bytes = self.value(item)
        if self.random.random() < 0.01:
            value = self.random.choice((0, 8))
        a, _ = self.both("BPF_MAP_UPDATE_ELEM", item, key=key, value=value, flags=flags)
        if a[0] == 0 and isinstance(value, bytes):
            item.pushed.add(value)

    def delete(self, item: Map, key: int | bytes, flags: int) -> None:
        self.both("BPF_MAP_DELETE_ELEM", item, key=key)

    def take(self, item: Map, key: int | bytes, flags: int) -> None:
        flags = flags if self.random.random() < 0.1 else 0
        self.both("BPF_MAP_LOOKUP_AND_DELETE_ELEM", item, {"value": item.value_size}, key=key, flags=flags)

    def next_key(self, item: Map, key: int | bytes, flags: int) -> None:
        if self.random.random() < 0.3:
            key = 0
        ordered = self.kind.short not in UNORDERED
        self.both("BPF_MAP_GET_NEXT_KEY", item, {"next_key": item.key_size}, ordered, key=key)

    def walk(self, item: Map, key: int | bytes, flags: int) -> None:
        if self.random.random() < 0.9:
            return
        self.ops += 1
        a, b = self.contents(item, True), self.contents(item, False)
        same = sorted(a) == sorted(b) if self.kind.short in UNORDERED else a == b
        if not same:
            self.fail(f"contents {a} on Linux, {b} on the user kernel")

    def contents(self, item: Map, linux: bool) -> list[tuple[bytes, Outcome]]:
        found: list[tuple[bytes, Outcome]] = []
        fd = item.linux if linux else item.user
        key: int | bytes = 0
        while len(found) < 100:
            number, (following,) = self.run(linux, "BPF_MAP_GET_NEXT_KEY", {"next_key": item.key_size},
                                            {"map_fd": fd, "key": key})  # fmt: skip
            if number or not item.key_size:
                found.append((b"end", (number, ())))
                break
            value = self.run(linux, "BPF_MAP_LOOKUP_ELEM", {"value": item.value_size}, {"map_fd": fd, "key": following})
            if self.inner and value[0] == 0:
                value = (0, (self.inner_number(value[1][0], linux),))
            found.append((following, value))
            key = following
        return found

    def inner_number(self, value: bytes, linux: bool) -> bytes:
        """Which inner map an id means, the same on both kernels."""
        from bombus.spec.infos import INFO

        kernel = self.linux if linux else self.user
        for at, pair in enumerate(self.inner):
            info = bytearray(INFO["bpf_map_info"].size)
            fd = pair[0 if linux else 1]
            kernel.bpf(Attr("BPF_OBJ_GET_INFO_BY_FD", bpf_fd=fd, info_len=len(info), info=info))
            if info[4:8] == value:
                return bytes((at,))
        return b"?"

    def info(self, item: Map, key: int | bytes, flags: int) -> None:
        if self.random.random() < 0.8:
            return
        self.ops += 1
        size = self.random.choice((0, 4, 40, 80, 88, 104, 112, 4096, 4097))
        results = []
        for linux in (True, False):
            kernel = self.linux if linux else self.user
            info = bytearray(size)
            attr = Attr("BPF_OBJ_GET_INFO_BY_FD", bpf_fd=item.linux if linux else item.user, info_len=size, info=info)
            try:
                kernel.bpf(attr)
                number = 0
            except KernelError as error:
                number = error.errno or -1
            info[4:8] = info[64:68] = b"\0\0\0\0"[: max(min(4, size - 4), 0)] if size < 8 else b"\0\0\0\0"
            results.append((number, attr.get("info_len"), bytes(info[:size])))
        self.log.append(f"INFO {size} -> {results}")
        if results[0] != results[1]:
            self.fail("info differs")

    def bad(self, item: Map, key: int | bytes, flags: int) -> None:
        """Bad descriptors and set bytes behind the last field."""
        rng = self.random
        if rng.random() < 0.7:
            return
        command = rng.choice(
            ("BPF_MAP_LOOKUP_ELEM", "BPF_MAP_UPDATE_ELEM", "BPF_MAP_DELETE_ELEM", "BPF_MAP_GET_NEXT_KEY",
             "BPF_MAP_LOOKUP_AND_DELETE_ELEM", "BPF_MAP_FREEZE", "BPF_MAP_LOOKUP_BATCH", "BPF_MAP_DELETE_BATCH")
        )  # fmt: skip
        if rng.random() < 0.5:
            self.both(command, None, map_fd=rng.choice((0x7FFFFFF0, 0xFFFFFFFF)))
            return
        self.ops += 1
        at = rng.choice((0, 1, 7, 40, 60, 100, 200))
        results = []
        for linux in (True, False):
            attr = Attr(command, map_fd=item.linux if linux else item.user)
            attr.raw += bytes(at) + b"\1"
            try:
                (self.linux if linux else self.user).bpf(attr)
                results.append(0)
            except KernelError as error:
                results.append(error.errno or -1)
        self.log.append(f"{command} tail {at} -> {results}")
        if results[0] != results[1]:
            self.fail("set bytes behind the last field")

    def update_batch(self, item: Map, key: int | bytes, flags: int) -> None:
        if self.inner or not item.key_size:
            return
        rng = self.random
        count = rng.randint(0, 5)
        keys = b"".join(rng.choice(item.keys) for _ in range(count))
        values = b"".join(self.value(item) for _ in range(count))
        self.both(
            "BPF_MAP_UPDATE_BATCH", item, keys=keys, values=values, count=count,
            elem_flags=rng.choice((0, 0, 0, 1, 4, 8)), flags=rng.choice((0, 0, 0, 0, 1)),
        )  # fmt: skip

    def delete_batch(self, item: Map, key: int | bytes, flags: int) -> None:
        rng = self.random
        if not item.key_size:
            return
        count = rng.randint(0, 5)
        keys = b"".join(rng.choice(item.keys) for _ in range(count))
        self.both("BPF_MAP_DELETE_BATCH", item, keys=keys, count=count, elem_flags=rng.choice((0, 0, 0, 4, 8)))

    def lookup_batch(self, item: Map, key: int | bytes, flags: int) -> None:
        """Everything in one call (how a smaller count is split is up to the hash function)."""
        rng = self.random
        delete = rng.random() < 0.3
        command = "BPF_MAP_LOOKUP_AND_DELETE_BATCH" if delete else "BPF_MAP_LOOKUP_BATCH"
        count = 64
        ordered = self.kind.short not in UNORDERED
        if ordered and rng.random() < 0.5:
            count = rng.randint(0, 10)
        outs = {"keys": count * item.key_size, "values": count * item.value_size}
        more: dict[str, bytearray] = {}
        if ordered:
            outs["out_batch"] = max(item.key_size, 4)
        else:
            more["out_batch"] = bytearray(64)
        a, b = self.both(
            command, item, outs, ordered and not self.inner, count=count,
            elem_flags=rng.choice((0, 0, 0, 0, 4, 8)), flags=rng.choice((0, 0, 0, 0, 1)),
            **more,
        )  # fmt: skip
        if ordered:
            return
        if a[0] != b[0]:
            self.fail(f"errno {a[0]} on Linux, {b[0]} on the user kernel")
        if a[1][2] != b[1][2]:
            self.fail(f"count {a[1][2]!r} on Linux, {b[1][2]!r} on the user kernel")
        number = int.from_bytes(a[1][2], "little") if a[0] in (0, 2) and count else 0
        if number > count or self.inner:
            return
        if _pairs(a[1], item, number) != _pairs(b[1], item, number):
            self.fail("contents of a batch")

    def freeze(self, item: Map, key: int | bytes, flags: int) -> None:
        if self.random.random() < 0.02:
            self.both("BPF_MAP_FREEZE", item)

    def session(self, steps: int) -> None:
        item = self.create()
        if item is None:
            return
        try:
            for _ in range(steps):
                self.step(item)
            self.random.random()
            a, b = self.contents(item, True), self.contents(item, False)
            same = sorted(a) == sorted(b) if self.kind.short in UNORDERED else a == b
            if not same:
                self.fail(f"contents at the end: {a} on Linux, {b} on the user kernel")
        finally:
            self.linux.close(item.linux)
            self.user.close(item.user)

    def close(self) -> None:
        """Raises Mismatch when the user kernel leaks descriptors, maps or memory."""
        for a, b in self.inner:
            self.linux.close(a)
            self.user.close(b)
        if self.btf[True]:
            self.linux.close(self.btf[True])
            self.user.close(self.btf[False])
        if len(self.user.fds) or len(self.user.ids["map"]) or self.user.memory.find(0, 0):
            self.fail("descriptors or maps were left")


def _pairs(outs: tuple[bytes, ...], item: Map, number: int) -> list[tuple[bytes, bytes]]:
    k, v = item.key_size, item.value_size
    return sorted((outs[0][i * k : i * k + k], outs[1][i * v : i * v + v]) for i in range(number))


_STEPS: list[Callable[[Pair, Map, int | bytes, int], None]] = [
    *[Pair.update] * 8, *[Pair.lookup] * 6, *[Pair.delete] * 3, *[Pair.take] * 2, *[Pair.next_key] * 2,
    Pair.walk, Pair.info, Pair.bad, Pair.update_batch, Pair.delete_batch, Pair.lookup_batch, Pair.freeze,
]  # fmt: skip


def fuzz(kind: str, ops: int, seed: int, steps: int = 150, maps: str = "") -> Pair:
    """Run sessions until `ops` operations were compared. Raises Mismatch."""
    os.sched_setaffinity(0, {0})
    pair = Pair(MAP_TYPE["BPF_MAP_TYPE_" + kind.upper()], seed, maps)
    while pair.ops < ops:
        pair.session(steps)
    pair.close()
    return pair


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ops", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--maps", default="", help="native or python bodies of the user kernel")
    parser.add_argument("types", nargs="*")
    options = parser.parse_args()
    failed = 0
    for kind in options.types or [m.short for m in dict.fromkeys(MAP_TYPE.values())]:
        start = time.monotonic()
        try:
            pair = fuzz(kind, options.ops, options.seed, maps=options.maps)
        except Mismatch as error:
            failed += 1
            print(f"DIFFERENT {error}", flush=True)
            continue
        seconds = time.monotonic() - start
        errors = " ".join(f"{n}:{c}" for n, c in sorted(pair.errors.items()))
        print(f"{kind:24} {pair.ops:8} operations {seconds:6.1f} s  results {errors}", flush=True)
        for name in pair.counts:
            if not name.startswith("BPF_"):
                print(f"{'':24} {pair.counts[name]} {name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
