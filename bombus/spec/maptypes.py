"""Map types, the rules of BPF_MAP_CREATE for each, and the map flags.

Sources: include/uapi/linux/bpf.h, the `*_alloc_check`/`*_alloc` functions of kernel/bpf/*.c, net/core/sock_map.c and
net/xdp/xskmap.c, and kernel/bpf/verifier.c check_map_func_compatibility, all of Linux 6.12.
"""

from __future__ import annotations

from typing import NamedTuple

from bombus.spec.version import KernelVersion, since

# Update flags (BPF_MAP_UPDATE_ELEM, bpf_map_update_elem); BPF_F_LOCK also for look-ups.
BPF_ANY = 0
BPF_NOEXIST = 1
BPF_EXIST = 2
BPF_F_LOCK = 4

# BPF_MAP_CREATE map_flags.
BPF_F_NO_PREALLOC = 1 << 0
BPF_F_NO_COMMON_LRU = 1 << 1
BPF_F_NUMA_NODE = 1 << 2
BPF_F_RDONLY = 1 << 3
BPF_F_WRONLY = 1 << 4
BPF_F_STACK_BUILD_ID = 1 << 5
BPF_F_ZERO_SEED = 1 << 6
BPF_F_RDONLY_PROG = 1 << 7
BPF_F_WRONLY_PROG = 1 << 8
BPF_F_CLONE = 1 << 9
BPF_F_MMAPABLE = 1 << 10
BPF_F_PRESERVE_ELEMS = 1 << 11
BPF_F_INNER_MAP = 1 << 12
BPF_F_LINK = 1 << 13
BPF_F_PATH_FD = 1 << 14
BPF_F_VTYPE_BTF_OBJ_FD = 1 << 15
BPF_F_TOKEN_FD = 1 << 16
BPF_F_SEGV_ON_FAULT = 1 << 17
BPF_F_NO_USER_CONV = 1 << 18

BPF_F_ACCESS_MASK = BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG

# Limits of an x86-64 kernel with 4 KiB pages.
PAGE_SIZE = 4096
KMALLOC_MAX_SIZE = 4 << 20  # include/linux/slab.h: one page of order MAX_PAGE_ORDER (10)
PCPU_MIN_UNIT_SIZE = 32 << 10  # include/linux/percpu.h
HTAB_ELEM_SIZE = 48  # sizeof(struct htab_elem), 6.1 to 6.18
PERF_MAX_STACK_DEPTH = 127  # default of sysctl kernel.perf_event_max_stack
BUILD_ID_RECORD_SIZE = 32  # sizeof(struct bpf_stack_build_id)
# include/linux/bpf_local_storage.h BPF_LOCAL_STORAGE_MAX_VALUE_SIZE: U16_MAX - sizeof(struct bpf_local_storage_elem)
LOCAL_STORAGE_MAX_VALUE_SIZE = 0xFFFF - 128
INT_MAX = 0x7FFF_FFFF
U32_MAX = 0xFFFF_FFFF


class Flag(NamedTuple):
    """One flag bit or enumerator of bpf(2). `where`: "map", "update", "prog", "attach", "run", "query",
    ..."""

    name: str
    value: int
    since: KernelVersion
    where: str
    doc: str


FLAGS: tuple[Flag, ...] = (
    Flag("BPF_ANY", 0, since("3.18"), "update", "Store whether the key exists or not."),
    Flag("BPF_NOEXIST", 1, since("3.18"), "update", "Store only when the key is new."),
    Flag("BPF_EXIST", 2, since("3.18"), "update", "Store only when the key is there already."),
    Flag("BPF_F_LOCK", 4, since("5.1"), "update", "Copy while holding the value's bpf_spin_lock."),
    Flag("BPF_F_NO_PREALLOC", 1 << 0, since("4.6"), "map", "Allocate elements when they are stored."),
    Flag("BPF_F_NO_COMMON_LRU", 1 << 1, since("4.10"), "map",
         "One LRU list per CPU instead of a common one."),
    Flag("BPF_F_NUMA_NODE", 1 << 2, since("4.14"), "map", "Take memory from the node named by numa_node."),
    Flag("BPF_F_RDONLY", 1 << 3, since("4.15"), "map", "User space may only read through this descriptor."),
    Flag("BPF_F_WRONLY", 1 << 4, since("4.15"), "map", "User space may only write through this descriptor."),
    Flag("BPF_F_STACK_BUILD_ID", 1 << 5, since("4.17"), "map",
         "Keep build id and offset of each stack frame."),
    Flag("BPF_F_ZERO_SEED", 1 << 6, since("5.0"), "map", "Hash with seed zero, for tests."),
    Flag("BPF_F_RDONLY_PROG", 1 << 7, since("5.2"), "map", "Programs may only read values."),
    Flag("BPF_F_WRONLY_PROG", 1 << 8, since("5.2"), "map", "Programs may only write values."),
    Flag("BPF_F_CLONE", 1 << 9, since("5.4"), "map", "Copy a listener's storage to the sockets it accepts."),
    Flag("BPF_F_MMAPABLE", 1 << 10, since("5.5"), "map", "Values can be mapped by mmap(2)."),
    Flag("BPF_F_PRESERVE_ELEMS", 1 << 11, since("5.10"), "map",
         "Keep perf events when their descriptor closes."),
    Flag("BPF_F_INNER_MAP", 1 << 12, since("5.10"), "map", "Inner arrays may differ in max_entries."),
    Flag("BPF_F_LINK", 1 << 13, since("6.4"), "map", "A link, not the map update, registers the struct_ops."),
    Flag("BPF_F_PATH_FD", 1 << 14, since("6.5"), "obj",
         "path_fd is the directory that a pin path starts from."),
    Flag("BPF_F_VTYPE_BTF_OBJ_FD", 1 << 15, since("6.9"), "map", "value_type_btf_obj_fd is given."),
    Flag("BPF_F_TOKEN_FD", 1 << 16, since("6.9"), "map", "A token descriptor is given."),
    Flag("BPF_F_SEGV_ON_FAULT", 1 << 17, since("6.9"), "map",
         "A missing arena page is a fault, not a new page."),
    Flag("BPF_F_NO_USER_CONV", 1 << 18, since("6.9"), "map", "Arena casts yield no user space pointers."),
    Flag("BPF_F_STRICT_ALIGNMENT", 1 << 0, since("4.12"), "prog",
         "Verify as if the CPU needed aligned access."),
    Flag("BPF_F_ANY_ALIGNMENT", 1 << 1, since("5.0"), "prog", "Verify without alignment rules."),
    Flag("BPF_F_TEST_RND_HI32", 1 << 2, since("5.3"), "prog", "Put noise in upper halves that nobody reads."),
    Flag("BPF_F_TEST_STATE_FREQ", 1 << 3, since("5.4"), "prog",
         "Make the verifier checkpoint often, for tests."),
    Flag("BPF_F_SLEEPABLE", 1 << 4, since("5.10"), "prog", "The program may sleep."),
    Flag("BPF_F_XDP_HAS_FRAGS", 1 << 5, since("5.18"), "prog",
         "The XDP program copes with packets in fragments."),
    Flag("BPF_F_XDP_DEV_BOUND_ONLY", 1 << 6, since("6.3"), "prog",
         "Bound to one device to use its metadata kfuncs."),
    Flag("BPF_F_TEST_REG_INVARIANTS", 1 << 7, since("6.8"), "prog",
         "Broken register bounds are an error, for tests."),
    Flag("BPF_F_ALLOW_OVERRIDE", 1 << 0, since("4.10"), "attach",
         "A sub-cgroup's program replaces this one."),
    Flag("BPF_F_ALLOW_MULTI", 1 << 1, since("4.15"), "attach", "Many programs run on one cgroup hook."),
    Flag("BPF_F_REPLACE", 1 << 2, since("5.6"), "attach", "Take the place of one attached program."),
    Flag("BPF_F_BEFORE", 1 << 3, since("6.6"), "attach", "Run before the named program or link."),
    Flag("BPF_F_AFTER", 1 << 4, since("6.6"), "attach", "Run after the named program or link."),
    Flag("BPF_F_ID", 1 << 5, since("6.6"), "attach", "The other program or link is named by id."),
    Flag("BPF_F_PREORDER", 1 << 6, since("6.15"), "attach", "Run before the programs of descendant cgroups."),
    Flag("BPF_F_QUERY_EFFECTIVE", 1 << 0, since("4.15"), "query", "List inherited programs too."),
    Flag("BPF_F_TEST_RUN_ON_CPU", 1 << 0, since("5.10"), "run", "Run on the CPU named by `cpu`."),
    Flag("BPF_F_TEST_XDP_LIVE_FRAMES", 1 << 1, since("5.18"), "run",
         "Send the frames on as their verdict says."),
    Flag("BPF_F_TEST_SKB_CHECKSUM_COMPLETE", 1 << 2, since("6.11"), "run",
         "Check the skb's checksum afterwards."),
    Flag("BPF_F_KPROBE_MULTI_RETURN", 1 << 0, since("5.18"), "kprobe_multi",
         "Probe returns instead of entries."),
    Flag("BPF_F_UPROBE_MULTI_RETURN", 1 << 0, since("6.6"), "uprobe_multi",
         "Probe returns instead of entries."),
    Flag("BPF_F_NETFILTER_IP_DEFRAG", 1 << 0, since("6.6"), "netfilter", "Put IP fragments together first."),
)
FLAG: dict[str, Flag] = {f.name: f for f in FLAGS}


class Size(NamedTuple):
    """A rule for key_size, value_size or max_entries: min <= n <= max,
    or n in `only` when that is not empty."""

    min: int = 0
    max: int = U32_MAX
    only: tuple[int, ...] = ()
    multiple: int = 1
    power_of_two: bool = False

    def allows(self, number: int) -> bool:
        if self.only:
            return number in self.only
        if not self.min <= number <= self.max or number % self.multiple:
            return False
        return not self.power_of_two or number & (number - 1) == 0


class MapType(NamedTuple):
    """One value of enum bpf_map_type.

    key, value, entries: rules of BPF_MAP_CREATE. flags: the map_flags it takes; flags_needed must be set.
    operations: what user space can do in 6.12 (`operations_at` for other kernels): lookup, update, delete, next_key,
    lookup_and_delete, lookup_batch, lookup_and_delete_batch, update_batch, delete_batch, mmap, poll.
    helpers: helpers that take such a map. When `helpers_only`, no other map helper does.
    per_cpu: the value has one copy per possible CPU, each rounded up to 8 bytes, in user space's view.
    cap: what unprivileged users miss to create one ("" none). sleepable: usable in sleepable programs (6.12).
    inner: may be the inner map of a map of maps. needs_btf: key and value type ids are compulsory.
    """

    name: str
    id: int
    since: KernelVersion
    key: Size
    value: Size
    entries: Size
    flags: int
    operations: frozenset[str]
    helpers: tuple[str, ...]
    doc: str
    helpers_only: bool = True
    flags_needed: int = 0
    per_cpu: bool = False
    cap: str = ""
    sleepable: bool = False
    inner: bool = True
    needs_btf: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def short(self) -> str:
        """bpftool's name: "hash", "percpu_array", ..."""
        return self.name.removeprefix("BPF_MAP_TYPE_").lower()

    def operations_at(self, version: KernelVersion) -> frozenset[str]:
        """What user space can do with such a map in kernels since 6.12."""
        more = LATER_OPERATIONS.get(self.name, {})
        return self.operations | {name for name, came in more.items() if came <= version}


# Operations that came after 6.12.
LATER_OPERATIONS: dict[str, dict[str, KernelVersion]] = {
    "BPF_MAP_TYPE_STACK_TRACE": {"lookup_and_delete": since("6.18")},
}

_ZERO = Size(only=(0,))
_FOUR = Size(only=(4,))
_SOME = Size(min=1)
_FD = Size(only=(4, 8))

_RW = ("lookup", "update", "delete", "next_key")
_BATCH = ("lookup_batch", "lookup_and_delete_batch", "update_batch", "delete_batch")
_HASH = frozenset((*_RW, "lookup_and_delete", *_BATCH))
_BASIC = frozenset(_RW)
_STORAGE = frozenset(("lookup", "update", "delete"))
_QUEUE = frozenset(("lookup", "update", "lookup_and_delete"))
_RING = frozenset(("mmap", "poll"))

_ELEM = ("map_lookup_elem", "map_update_elem", "map_delete_elem")
_EACH = (*_ELEM, "for_each_map_elem")
_PERCPU = (*_EACH, "map_lookup_percpu_elem")

_NUMA_ACCESS = BPF_F_NUMA_NODE | BPF_F_ACCESS_MASK
_HTAB = BPF_F_NO_PREALLOC | BPF_F_NUMA_NODE | BPF_F_ACCESS_MASK | BPF_F_ZERO_SEED
_HTAB_PERCPU = _HTAB & ~BPF_F_NUMA_NODE
_LRU = (_HTAB | BPF_F_NO_COMMON_LRU) & ~BPF_F_NO_PREALLOC
_FD_ARRAY = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY
_LOCAL = BPF_F_NO_PREALLOC | BPF_F_CLONE

_PERCPU_VALUE = Size(min=1, max=PCPU_MIN_UNIT_SIZE)
_HTAB_VALUE = Size(min=1, max=KMALLOC_MAX_SIZE - HTAB_ELEM_SIZE - 2)
_LOCAL_VALUE = Size(min=1, max=LOCAL_STORAGE_MAX_VALUE_SIZE)

MAP_TYPES: tuple[MapType, ...] = (
    MapType(
        "BPF_MAP_TYPE_HASH", 1, since("3.19"), _SOME, _HTAB_VALUE, _SOME, _HTAB, _HASH, _EACH,
        "Hash table; key and value of any size.", helpers_only=False, sleepable=True,
    ),
    MapType(
        "BPF_MAP_TYPE_ARRAY", 2, since("3.19"), _FOUR, Size(1, INT_MAX), _SOME,
        _NUMA_ACCESS | BPF_F_MMAPABLE | BPF_F_INNER_MAP,
        frozenset(("lookup", "update", "next_key", "lookup_batch", "update_batch", "mmap")), _EACH,
        "Array of zeroed values, indexed by a u32; elements cannot be removed.",
        helpers_only=False, sleepable=True,
    ),
    MapType(
        "BPF_MAP_TYPE_PROG_ARRAY", 3, since("4.2"), _FOUR, _FOUR, _SOME, _FD_ARRAY, _BASIC, ("tail_call",),
        "Array of programs for bpf_tail_call.", inner=False,
    ),
    MapType(
        "BPF_MAP_TYPE_PERF_EVENT_ARRAY", 4, since("4.3"), _FOUR, _FOUR, _SOME,
        _FD_ARRAY | BPF_F_PRESERVE_ELEMS, frozenset(("update", "delete", "next_key")),
        ("perf_event_read", "perf_event_output", "skb_output", "perf_event_read_value", "xdp_output"),
        "Array of perf events, usually one per CPU, to send records to or to read counters from.",
    ),
    MapType(
        "BPF_MAP_TYPE_PERCPU_HASH", 5, since("4.6"), _SOME, _PERCPU_VALUE, _SOME, _HTAB_PERCPU, _HASH,
        _PERCPU,
        "Hash table whose values have a copy per CPU.", helpers_only=False, per_cpu=True, sleepable=True,
    ),
    MapType(
        "BPF_MAP_TYPE_PERCPU_ARRAY", 6, since("4.6"), _FOUR, _PERCPU_VALUE, _SOME, BPF_F_ACCESS_MASK,
        frozenset(("lookup", "update", "next_key", "lookup_batch", "update_batch")), _PERCPU,
        "Array whose values have a copy per CPU.", helpers_only=False, per_cpu=True, sleepable=True,
    ),
    MapType(
        "BPF_MAP_TYPE_STACK_TRACE", 7, since("4.6"), _FOUR, Size(8, PERF_MAX_STACK_DEPTH * 8, multiple=8),
        Size(1, 1 << 31), BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_STACK_BUILD_ID,
        frozenset(("lookup", "delete", "next_key")), ("get_stackid",),
        "Call stacks that bpf_get_stackid stores, under an id made of their hash.", cap="CAP_BPF",
    ),
    MapType(
        "BPF_MAP_TYPE_CGROUP_ARRAY", 8, since("4.8"), _FOUR, _FOUR, _SOME, _FD_ARRAY,
        frozenset(("update", "delete", "next_key")), ("skb_under_cgroup", "current_task_under_cgroup"),
        "Array of cgroups to test membership in.",
    ),
    MapType(
        "BPF_MAP_TYPE_LRU_HASH", 9, since("4.10"), _SOME, _HTAB_VALUE, _SOME, _LRU, _HASH, _EACH,
        "Hash table that drops the least recently used elements when full.",
        helpers_only=False, cap="CAP_BPF", sleepable=True,
    ),
    MapType(
        "BPF_MAP_TYPE_LRU_PERCPU_HASH", 10, since("4.10"), _SOME, _PERCPU_VALUE, _SOME,
        _LRU & ~BPF_F_NUMA_NODE, _HASH, _PERCPU, "LRU hash table whose values have a copy per CPU.",
        helpers_only=False, per_cpu=True, cap="CAP_BPF", sleepable=True,
    ),
    MapType(
        "BPF_MAP_TYPE_LPM_TRIE", 11, since("4.11"), Size(5, 4 + 256),
        Size(1, KMALLOC_MAX_SIZE - 256 - 40), _SOME, BPF_F_NO_PREALLOC | _NUMA_ACCESS,
        frozenset((*_RW, "lookup_batch", "update_batch", "delete_batch")), _ELEM,
        "Longest prefix match; the key starts with a u32 prefix length in bits.",
        helpers_only=False, flags_needed=BPF_F_NO_PREALLOC, cap="CAP_BPF",
    ),
    MapType(
        "BPF_MAP_TYPE_ARRAY_OF_MAPS", 12, since("4.12"), _FOUR, _FOUR, _SOME, _FD_ARRAY,
        frozenset((*_RW, "lookup_batch", "update_batch")), ("map_lookup_elem",),
        "Array of maps that are all made alike.", sleepable=True, inner=False,
    ),
    MapType(
        "BPF_MAP_TYPE_HASH_OF_MAPS", 13, since("4.12"), _SOME, _FOUR, _SOME, _HTAB, frozenset((*_RW,
        *_BATCH)), ("map_lookup_elem",), "Hash table of maps that are all made alike.", sleepable=True,
        inner=False,
    ),
    MapType(
        "BPF_MAP_TYPE_DEVMAP", 14, since("4.14"), _FOUR, _FD, _SOME, _FD_ARRAY, _BASIC,
        ("redirect_map", "map_lookup_elem"), "Array of network devices to redirect XDP frames to.",
        cap="CAP_NET_ADMIN",
    ),
    MapType(
        "BPF_MAP_TYPE_SOCKMAP", 15, since("4.14"), _FOUR, _FD, Size(1, INT_MAX), _FD_ARRAY, _BASIC,
        ("sk_redirect_map", "sock_map_update", "msg_redirect_map", "sk_select_reuseport", *_ELEM),
        "Array of sockets to redirect data between.", cap="CAP_NET_ADMIN",
    ),
    MapType(  # at most CONFIG_NR_CPUS entries: E2BIG
        "BPF_MAP_TYPE_CPUMAP", 16, since("4.15"), _FOUR, _FD, _SOME, BPF_F_NUMA_NODE, _BASIC,
        ("redirect_map",),
        "Array of CPUs to redirect XDP frames to.", cap="CAP_BPF",
    ),
    MapType(
        "BPF_MAP_TYPE_XSKMAP", 17, since("4.18"), _FOUR, _FOUR, _SOME, _FD_ARRAY,
        frozenset(("update", "delete", "next_key")), ("redirect_map", "map_lookup_elem"),
        "Array of AF_XDP sockets to redirect XDP frames to.", cap="CAP_NET_ADMIN",
    ),
    MapType(
        "BPF_MAP_TYPE_SOCKHASH", 18, since("4.18"), Size(1, 512), _FD, _SOME, _FD_ARRAY, _BASIC,
        ("sk_redirect_hash", "sock_hash_update", "msg_redirect_hash", "sk_select_reuseport", *_ELEM),
        "Hash table of sockets to redirect data between.", cap="CAP_NET_ADMIN",
    ),
    MapType(
        "BPF_MAP_TYPE_CGROUP_STORAGE", 19, since("4.19"), Size(only=(8, 16)), _LOCAL_VALUE, _ZERO,
        _NUMA_ACCESS, frozenset(("lookup", "update", "next_key")), ("get_local_storage",),
        "A value for each cgroup that the program is attached to; superseded by CGRP_STORAGE.", inner=False,
        aliases=("BPF_MAP_TYPE_CGROUP_STORAGE_DEPRECATED",),
    ),
    MapType(
        "BPF_MAP_TYPE_REUSEPORT_SOCKARRAY", 20, since("4.19"), _FOUR, _FD, _SOME, _NUMA_ACCESS, _BASIC,
        ("sk_select_reuseport",), "Array of sockets for SO_REUSEPORT selection.", cap="CAP_BPF",
    ),
    MapType(
        "BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE", 21, since("4.20"), Size(only=(8, 16)), _PERCPU_VALUE, _ZERO,
        _NUMA_ACCESS, frozenset(("lookup", "update", "next_key")), ("get_local_storage",),
        "As CGROUP_STORAGE with a copy per CPU.", per_cpu=True, inner=False,
        aliases=("BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE_DEPRECATED",),
    ),
    MapType(
        "BPF_MAP_TYPE_QUEUE", 22, since("4.20"), _ZERO, Size(1, KMALLOC_MAX_SIZE), _SOME, _NUMA_ACCESS,
        _QUEUE, ("map_peek_elem", "map_pop_elem", "map_push_elem"), "First in, first out.", cap="CAP_BPF",
        sleepable=True,
    ),
    MapType(
        "BPF_MAP_TYPE_STACK", 23, since("4.20"), _ZERO, Size(1, KMALLOC_MAX_SIZE), _SOME, _NUMA_ACCESS,
        _QUEUE, ("map_peek_elem", "map_pop_elem", "map_push_elem"), "Last in, first out.", cap="CAP_BPF",
        sleepable=True,
    ),
    MapType(
        "BPF_MAP_TYPE_SK_STORAGE", 24, since("5.2"), _FOUR, _LOCAL_VALUE, _ZERO, _LOCAL, _STORAGE,
        ("sk_storage_get", "sk_storage_delete", "kptr_xchg"), "A value that hangs on a socket.",
        flags_needed=BPF_F_NO_PREALLOC, cap="CAP_BPF", sleepable=True, needs_btf=True,
    ),
    MapType(
        "BPF_MAP_TYPE_DEVMAP_HASH", 25, since("5.4"), _FOUR, _FD, Size(1, 1 << 31), _FD_ARRAY, _BASIC,
        ("redirect_map", "map_lookup_elem"), "Devices to redirect XDP frames to, under any u32 key.",
        cap="CAP_NET_ADMIN",
    ),
    MapType(
        "BPF_MAP_TYPE_STRUCT_OPS", 26, since("5.6"), _FOUR, _SOME, Size(only=(1,)),
        BPF_F_LINK | BPF_F_VTYPE_BTF_OBJ_FD, _BASIC, (),
        "A kernel struct of function pointers filled with programs.", cap="CAP_BPF", inner=False,
    ),
    MapType(
        "BPF_MAP_TYPE_RINGBUF", 27, since("5.8"), _ZERO, _ZERO, Size(PAGE_SIZE, 1 << 31, power_of_two=True),
        BPF_F_NUMA_NODE, _RING,
        ("ringbuf_output", "ringbuf_reserve", "ringbuf_query", "ringbuf_reserve_dynptr",
         "ringbuf_submit_dynptr",
         "ringbuf_discard_dynptr"),
        "Ring buffer from programs to user space; max_entries is its size in bytes.", sleepable=True,
    ),
    MapType(
        "BPF_MAP_TYPE_INODE_STORAGE", 28, since("5.10"), _FOUR, _LOCAL_VALUE, _ZERO, _LOCAL, _STORAGE,
        ("inode_storage_get", "inode_storage_delete", "kptr_xchg"), "A value that hangs on an inode.",
        flags_needed=BPF_F_NO_PREALLOC, cap="CAP_BPF", sleepable=True, needs_btf=True,
    ),
    MapType(
        "BPF_MAP_TYPE_TASK_STORAGE", 29, since("5.11"), _FOUR, _LOCAL_VALUE, _ZERO, _LOCAL, _STORAGE,
        ("task_storage_get", "task_storage_delete", "kptr_xchg"), "A value that hangs on a task.",
        flags_needed=BPF_F_NO_PREALLOC, cap="CAP_BPF", sleepable=True, needs_btf=True,
    ),
    MapType(
        "BPF_MAP_TYPE_BLOOM_FILTER", 30, since("5.16"), _ZERO, _SOME, _SOME, _NUMA_ACCESS | BPF_F_ZERO_SEED,
        frozenset(("lookup", "update")), ("map_peek_elem", "map_push_elem"),
        "Set that answers `surely not` or `perhaps`; map_extra is the number of hash functions (0 means 5).",
        cap="CAP_BPF",
    ),
    MapType(
        "BPF_MAP_TYPE_USER_RINGBUF", 31, since("6.1"), _ZERO, _ZERO, Size(PAGE_SIZE, 1 << 31,
        power_of_two=True), BPF_F_NUMA_NODE, _RING, ("user_ringbuf_drain",),
        "Ring buffer from user space to programs.", sleepable=True,
    ),
    MapType(
        "BPF_MAP_TYPE_CGRP_STORAGE", 32, since("6.2"), _FOUR, _LOCAL_VALUE, _ZERO, _LOCAL, _STORAGE,
        ("cgrp_storage_get", "cgrp_storage_delete", "kptr_xchg"), "A value that hangs on a cgroup.",
        flags_needed=BPF_F_NO_PREALLOC, cap="CAP_BPF", sleepable=True, needs_btf=True,
    ),
    MapType(
        "BPF_MAP_TYPE_ARENA", 33, since("6.9"), _ZERO, _ZERO, Size(1, (4 << 30) // PAGE_SIZE),
        BPF_F_SEGV_ON_FAULT | BPF_F_MMAPABLE | BPF_F_NO_USER_CONV, frozenset(("mmap",)), (),
        "Memory shared with user space; max_entries counts pages, map_extra is the user address.",
        helpers_only=False, flags_needed=BPF_F_MMAPABLE, cap="CAP_BPF", sleepable=True,
    ),
)  # fmt: skip
MAP_TYPE: dict[str, MapType] = {name: m for m in MAP_TYPES for name in (m.name, *m.aliases)}
MAP_TYPE_BY_ID: dict[int, MapType] = {m.id: m for m in MAP_TYPES}

# Helpers that take only these map types, whatever the map's own rule says
# (check_map_func_compatibility, second part).
HELPER_MAP_TYPES: dict[str, frozenset[str]] = {
    helper: frozenset("BPF_MAP_TYPE_" + name for name in names.split())
    for helpers, names in (
        ("tail_call", "PROG_ARRAY"),
        ("perf_event_read perf_event_output perf_event_read_value skb_output xdp_output", "PERF_EVENT_ARRAY"),
        ("ringbuf_output ringbuf_reserve ringbuf_query ringbuf_reserve_dynptr ringbuf_submit_dynptr"
         " ringbuf_discard_dynptr", "RINGBUF"),
        ("user_ringbuf_drain", "USER_RINGBUF"),
        ("get_stackid", "STACK_TRACE"),
        ("current_task_under_cgroup skb_under_cgroup", "CGROUP_ARRAY"),
        ("redirect_map", "DEVMAP DEVMAP_HASH CPUMAP XSKMAP"),
        ("sk_redirect_map msg_redirect_map sock_map_update", "SOCKMAP"),
        ("sk_redirect_hash msg_redirect_hash sock_hash_update", "SOCKHASH"),
        ("get_local_storage", "CGROUP_STORAGE PERCPU_CGROUP_STORAGE"),
        ("sk_select_reuseport", "REUSEPORT_SOCKARRAY SOCKMAP SOCKHASH"),
        ("map_pop_elem", "QUEUE STACK"),
        ("map_peek_elem map_push_elem", "QUEUE STACK BLOOM_FILTER"),
        ("map_lookup_percpu_elem", "PERCPU_ARRAY PERCPU_HASH LRU_PERCPU_HASH"),
        ("sk_storage_get sk_storage_delete", "SK_STORAGE"),
        ("inode_storage_get inode_storage_delete", "INODE_STORAGE"),
        ("task_storage_get task_storage_delete", "TASK_STORAGE"),
        ("cgrp_storage_get cgrp_storage_delete", "CGRP_STORAGE"),
    )
    for helper in helpers.split()
}  # fmt: skip

# Sleepable programs could use fewer map types before: since when each is allowed in them.
SLEEPABLE_SINCE: dict[str, KernelVersion] = {
    **{f"BPF_MAP_TYPE_{n}": since("5.10") for n in ("HASH", "LRU_HASH", "ARRAY")},
    **{f"BPF_MAP_TYPE_{n}": since("5.12") for n in ("PERCPU_HASH", "PERCPU_ARRAY", "LRU_PERCPU_HASH",
                                                    "ARRAY_OF_MAPS", "HASH_OF_MAPS", "RINGBUF")},
    **{f"BPF_MAP_TYPE_{n}": since("5.17") for n in ("INODE_STORAGE", "SK_STORAGE", "TASK_STORAGE")},
    "BPF_MAP_TYPE_USER_RINGBUF": since("6.1"),
    "BPF_MAP_TYPE_CGRP_STORAGE": since("6.2"),
    "BPF_MAP_TYPE_QUEUE": since("6.7"),
    "BPF_MAP_TYPE_STACK": since("6.7"),
    "BPF_MAP_TYPE_ARENA": since("6.9"),
}  # fmt: skip
