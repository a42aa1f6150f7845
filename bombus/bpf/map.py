"""Maps, declared at module level:

    packets = map.percpu_array(u32, u64, max_entries=256)

    slot = packets.lookup(key)      # a reference to the value, or None
    if slot is not None:
        slot.value += 1

A look-up of an integer value gives a `Ref`, of a struct a view of it. Keys and values are given as integers or structs
of the declared types. Operations return 0 or a negative errno, as the helpers do. Their
classes are in `bombus.bpf.maps`.
"""

from __future__ import annotations

from typing import Any, TypeVar, overload

from bombus.bpf.ints import Scalar, s32, u32, u64
from bombus.bpf.maps import ANY as ANY
from bombus.bpf.maps import EXIST as EXIST
from bombus.bpf.maps import FRAMES
from bombus.bpf.maps import NOEXIST as NOEXIST
from bombus.bpf.maps import (
    Arena as Arena,
)
from bombus.bpf.maps import (
    Array as Array,
)
from bombus.bpf.maps import (
    ArrayOfMaps as ArrayOfMaps,
)
from bombus.bpf.maps import (
    Bloom as Bloom,
)
from bombus.bpf.maps import (
    CgroupArray as CgroupArray,
)
from bombus.bpf.maps import (
    CgroupStorage as CgroupStorage,
)
from bombus.bpf.maps import (
    CpuMap as CpuMap,
)
from bombus.bpf.maps import (
    DevMap as DevMap,
)
from bombus.bpf.maps import (
    DevMapHash as DevMapHash,
)
from bombus.bpf.maps import (
    Fifo as Fifo,
)
from bombus.bpf.maps import (
    Hash as Hash,
)
from bombus.bpf.maps import (
    HashOfMaps as HashOfMaps,
)
from bombus.bpf.maps import (
    InodeStorage as InodeStorage,
)
from bombus.bpf.maps import (
    LocalStorage as LocalStorage,
)
from bombus.bpf.maps import (
    LpmTrie as LpmTrie,
)
from bombus.bpf.maps import (
    LruHash as LruHash,
)
from bombus.bpf.maps import (
    LruPercpuHash as LruPercpuHash,
)
from bombus.bpf.maps import Map as Map
from bombus.bpf.maps import (
    PercpuArray as PercpuArray,
)
from bombus.bpf.maps import (
    PercpuHash as PercpuHash,
)
from bombus.bpf.maps import (
    PercpuLocalStorage as PercpuLocalStorage,
)
from bombus.bpf.maps import (
    PerfEventArray as PerfEventArray,
)
from bombus.bpf.maps import (
    ProgArray as ProgArray,
)
from bombus.bpf.maps import (
    ReuseportArray as ReuseportArray,
)
from bombus.bpf.maps import (
    RingBuf as RingBuf,
)
from bombus.bpf.maps import (
    SkStorage as SkStorage,
)
from bombus.bpf.maps import (
    SockHash as SockHash,
)
from bombus.bpf.maps import (
    SockMap as SockMap,
)
from bombus.bpf.maps import (
    Stack as Stack,
)
from bombus.bpf.maps import (
    StackTrace as StackTrace,
)
from bombus.bpf.maps import (
    TaskStorage as TaskStorage,
)
from bombus.bpf.maps import (
    UserRingBuf as UserRingBuf,
)
from bombus.bpf.maps import (
    XskMap as XskMap,
)
from bombus.bpf.struct import Ref, Struct

K = TypeVar("K")
V = TypeVar("V")
M = TypeVar("M", bound=Map)
I = TypeVar("I", bound=Scalar)
S = TypeVar("S", bound=Struct)


@overload
def array(key: type[u32], value: type[S], *, max_entries: int, flags: int = ..., pinned: bool = ...) -> Array[S, S]: ...
@overload
def array(
    key: type[u32], value: type[I], *, max_entries: int, flags: int = ..., pinned: bool = ...
) -> Array[I, Ref[I]]: ...
def array(key: Any, value: Any, *, max_entries: int, flags: int = 0, pinned: bool = False) -> Any:
    """Values numbered from 0, all there from the start."""
    return Array(key, value, max_entries, flags, pinned=pinned)


@overload
def percpu_array(
    key: type[u32], value: type[S], *, max_entries: int, flags: int = ..., pinned: bool = ...
) -> PercpuArray[S, S]: ...
@overload
def percpu_array(
    key: type[u32], value: type[I], *, max_entries: int, flags: int = ..., pinned: bool = ...
) -> PercpuArray[I, Ref[I]]: ...
def percpu_array(key: Any, value: Any, *, max_entries: int, flags: int = 0, pinned: bool = False) -> Any:
    """An array with values of its own on each CPU."""
    return PercpuArray(key, value, max_entries, flags, pinned=pinned)


@overload
def hash(key: type[K], value: type[S], *, max_entries: int, flags: int = ..., pinned: bool = ...) -> Hash[K, S, S]: ...
@overload
def hash(
    key: type[K], value: type[I], *, max_entries: int, flags: int = ..., pinned: bool = ...
) -> Hash[K, I, Ref[I]]: ...
def hash(key: Any, value: Any, *, max_entries: int, flags: int = 0, pinned: bool = False) -> Any:
    """Values by key."""
    return Hash(key, value, max_entries, flags, pinned=pinned)


@overload
def percpu_hash(
    key: type[K], value: type[S], *, max_entries: int, flags: int = ..., pinned: bool = ...
) -> PercpuHash[K, S, S]: ...
@overload
def percpu_hash(
    key: type[K], value: type[I], *, max_entries: int, flags: int = ..., pinned: bool = ...
) -> PercpuHash[K, I, Ref[I]]: ...
def percpu_hash(key: Any, value: Any, *, max_entries: int, flags: int = 0, pinned: bool = False) -> Any:
    """A hash with values of its own on each CPU."""
    return PercpuHash(key, value, max_entries, flags, pinned=pinned)


@overload
def lru_hash(
    key: type[K], value: type[S], *, max_entries: int, flags: int = ..., pinned: bool = ...
) -> LruHash[K, S, S]: ...
@overload
def lru_hash(
    key: type[K], value: type[I], *, max_entries: int, flags: int = ..., pinned: bool = ...
) -> LruHash[K, I, Ref[I]]: ...
def lru_hash(key: Any, value: Any, *, max_entries: int, flags: int = 0, pinned: bool = False) -> Any:
    """A hash that forgets what was not used for long."""
    return LruHash(key, value, max_entries, flags, pinned=pinned)


@overload
def lru_percpu_hash(
    key: type[K], value: type[S], *, max_entries: int, flags: int = ..., pinned: bool = ...
) -> LruPercpuHash[K, S, S]: ...
@overload
def lru_percpu_hash(
    key: type[K], value: type[I], *, max_entries: int, flags: int = ..., pinned: bool = ...
) -> LruPercpuHash[K, I, Ref[I]]: ...
def lru_percpu_hash(key: Any, value: Any, *, max_entries: int, flags: int = 0, pinned: bool = False) -> Any:
    """An LRU hash with values of its own on each CPU."""
    return LruPercpuHash(key, value, max_entries, flags, pinned=pinned)


@overload
def lpm_trie(key: type[K], value: type[S], *, max_entries: int, pinned: bool = ...) -> LpmTrie[K, S, S]: ...
@overload
def lpm_trie(key: type[K], value: type[I], *, max_entries: int, pinned: bool = ...) -> LpmTrie[K, I, Ref[I]]: ...
def lpm_trie(key: Any, value: Any, *, max_entries: int, pinned: bool = False) -> Any:
    """Values by longest matching prefix; the key struct starts with the prefix length in bits, a u32."""
    return LpmTrie(key, value, max_entries, 1, pinned=pinned)  # BPF_F_NO_PREALLOC is demanded


def queue(value: type[V], *, max_entries: int, pinned: bool = False) -> Fifo[V]:
    """First in, first out."""
    return Fifo(None, value, max_entries, pinned=pinned)


def stack(value: type[V], *, max_entries: int, pinned: bool = False) -> Stack[V]:
    """Last in, first out."""
    return Stack(None, value, max_entries, pinned=pinned)


def bloom_filter(value: type[V], *, max_entries: int, hashes: int = 5, pinned: bool = False) -> Bloom[V]:
    """A set that may say yes wrongly, never no."""
    return Bloom(None, value, max_entries, pinned=pinned, extra=hashes)


def prog_array(*, max_entries: int, pinned: bool = False) -> ProgArray:
    """Programs for tail calls."""
    return ProgArray(u32, u32, max_entries, pinned=pinned)


def perf_event_array(*, max_entries: int = 0, pinned: bool = False) -> PerfEventArray:
    """Buffers to user space, one for each CPU; max_entries 0: as many as there are CPUs."""
    return PerfEventArray(u32, u32, max_entries, pinned=pinned)


def ringbuf(*, max_entries: int, pinned: bool = False) -> RingBuf:
    """One buffer to user space; max_entries is its size in bytes, a power of two and a multiple of the page size."""
    return RingBuf(max_entries, pinned=pinned)


def stack_trace(*, max_entries: int, pinned: bool = False) -> StackTrace:
    """Stacks of up to 127 return addresses."""
    return StackTrace(u32, FRAMES, max_entries, pinned=pinned)


def array_of_maps(inner: M, *, max_entries: int, pinned: bool = False) -> ArrayOfMaps[M]:
    """Maps numbered from 0."""
    return ArrayOfMaps(u32, inner, max_entries, pinned=pinned)


def hash_of_maps(key: type[K], inner: M, *, max_entries: int, pinned: bool = False) -> HashOfMaps[K, M]:
    """Maps by key."""
    return HashOfMaps(key, inner, max_entries, pinned=pinned)


@overload
def sk_storage(value: type[S]) -> SkStorage[S, S]: ...
@overload
def sk_storage(value: type[I]) -> SkStorage[I, Ref[I]]: ...
def sk_storage(value: Any) -> Any:
    """Values of sockets."""
    return SkStorage(s32, value, 0, 1)  # BPF_F_NO_PREALLOC is demanded, here and below


@overload
def inode_storage(value: type[S]) -> InodeStorage[S, S]: ...
@overload
def inode_storage(value: type[I]) -> InodeStorage[I, Ref[I]]: ...
def inode_storage(value: Any) -> Any:
    """Values of inodes."""
    return InodeStorage(s32, value, 0, 1)


@overload
def task_storage(value: type[S]) -> TaskStorage[S, S]: ...
@overload
def task_storage(value: type[I]) -> TaskStorage[I, Ref[I]]: ...
def task_storage(value: Any) -> Any:
    """Values of tasks."""
    return TaskStorage(s32, value, 0, 1)


@overload
def cgroup_storage(value: type[S]) -> CgroupStorage[S, S]: ...
@overload
def cgroup_storage(value: type[I]) -> CgroupStorage[I, Ref[I]]: ...
def cgroup_storage(value: Any) -> Any:
    """Values of cgroups."""
    return CgroupStorage(s32, value, 0, 1)


@overload
def cgroup_local_storage(value: type[S]) -> LocalStorage[S, S]: ...
@overload
def cgroup_local_storage(value: type[I]) -> LocalStorage[I, Ref[I]]: ...
def cgroup_local_storage(value: Any) -> Any:
    """The value of the cgroup that a program is attached to, for all kinds of its hooks."""
    return LocalStorage(u64, value, 0)


@overload
def percpu_cgroup_local_storage(value: type[S]) -> PercpuLocalStorage[S, S]: ...
@overload
def percpu_cgroup_local_storage(value: type[I]) -> PercpuLocalStorage[I, Ref[I]]: ...
def percpu_cgroup_local_storage(value: Any) -> Any:
    """As cgroup_local_storage, with values of its own on each CPU."""
    return PercpuLocalStorage(u64, value, 0)


def cgroup_array(*, max_entries: int, pinned: bool = False) -> CgroupArray:
    """Cgroups to ask about."""
    return CgroupArray(u32, u32, max_entries, pinned=pinned)


def sockmap(*, max_entries: int, pinned: bool = False) -> SockMap[u32]:
    """Sockets by number."""
    return SockMap(u32, u64, max_entries, pinned=pinned)


def sockhash(key: type[K], *, max_entries: int, pinned: bool = False) -> SockHash[K]:
    """Sockets by key."""
    return SockHash(key, u64, max_entries, pinned=pinned)


def reuseport_array(*, max_entries: int, pinned: bool = False) -> ReuseportArray[u32]:
    """Sockets of a reuseport group."""
    return ReuseportArray(u32, u64, max_entries, pinned=pinned)


def arena(*, pages: int, pinned: bool = False) -> Arena:
    """Up to so many pages of 4096 bytes, shared with user space."""
    return Arena(pages, pinned=pinned)


def user_ringbuf(*, max_entries: int, pinned: bool = False) -> UserRingBuf:
    """A buffer from user space."""
    return UserRingBuf(None, None, max_entries, pinned=pinned)


def devmap(*, max_entries: int, pinned: bool = False) -> DevMap[u32, u32]:
    """Devices to send packets to."""
    return DevMap(u32, u32, max_entries, pinned=pinned)


def devmap_hash(*, max_entries: int, pinned: bool = False) -> DevMapHash[u32, u32]:
    """Devices to send packets to, by any key."""
    return DevMapHash(u32, u32, max_entries, pinned=pinned)


def cpumap(*, max_entries: int, pinned: bool = False) -> CpuMap[u32, u32]:
    """CPUs to send packets to."""
    return CpuMap(u32, u32, max_entries, pinned=pinned)


def xskmap(*, max_entries: int, pinned: bool = False) -> XskMap[u32, u32]:
    """AF_XDP sockets to send packets to."""
    return XskMap(u32, u32, max_entries, pinned=pinned)
