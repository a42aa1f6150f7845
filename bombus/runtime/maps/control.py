"""The control struct as the dialect has it, and the numbers of a map's shape.

The numbers are functions that whoever links the bodies defines: constants for a map of known shape, loads from the
control struct for code that serves all.
"""

from __future__ import annotations

from bombus import bpf
from bombus.bpf import Struct, s64, u32, u64


class Control(Struct):
    """See `shape`; a test compares the offsets."""

    lock: u32
    count: u32
    free: u32
    made: u32
    oldest: u32
    newest: u32
    number: u64
    position: u64
    error: s64
    element: u32
    seed: u32
    cpu: u64
    none: u64
    other: u64
    key_size: u64
    value_size: u64
    user_size: u64
    stride: u64
    slot_bytes: u64
    max_entries: u64
    mask: u64
    head: u64
    per_cpu: u64
    cpus: u64
    buckets: u64
    elements: u64
    values: u64
    element_bytes: u64
    lists: u64
    own_lists: u64
    target: u64
    lock_at: u64
    version: u64
    words: u64


@bpf.kfunc
def shape_key_size(base: u64) -> u64: ...  # type: ignore[empty-body]

@bpf.kfunc
def shape_value_size(base: u64) -> u64: ...  # type: ignore[empty-body]

@bpf.kfunc
def shape_user_size(base: u64) -> u64: ...  # type: ignore[empty-body]

@bpf.kfunc
def shape_stride(base: u64) -> u64: ...  # type: ignore[empty-body]

@bpf.kfunc
def shape_slot_bytes(base: u64) -> u64: ...  # type: ignore[empty-body]

@bpf.kfunc
def shape_max_entries(base: u64) -> u64: ...  # type: ignore[empty-body]

@bpf.kfunc
def shape_mask(base: u64) -> u64: ...  # type: ignore[empty-body]

@bpf.kfunc
def shape_head(base: u64) -> u64: ...  # type: ignore[empty-body]

@bpf.kfunc
def shape_per_cpu(base: u64) -> u64: ...  # type: ignore[empty-body]

@bpf.kfunc
def shape_cpus(base: u64) -> u64: ...  # type: ignore[empty-body]

@bpf.kfunc
def shape_buckets(base: u64) -> u64: ...  # type: ignore[empty-body]

@bpf.kfunc
def shape_elements(base: u64) -> u64: ...  # type: ignore[empty-body]

@bpf.kfunc
def shape_values(base: u64) -> u64: ...  # type: ignore[empty-body]

@bpf.kfunc
def shape_element_bytes(base: u64) -> u64: ...  # type: ignore[empty-body]

@bpf.kfunc
def shape_lists(base: u64) -> u64: ...  # type: ignore[empty-body]

@bpf.kfunc
def shape_own_lists(base: u64) -> u64: ...  # type: ignore[empty-body]

@bpf.kfunc
def shape_target(base: u64) -> u64: ...  # type: ignore[empty-body]

@bpf.kfunc
def shape_lock_at(base: u64) -> u64: ...  # type: ignore[empty-body]

@bpf.kfunc
def shape_version(base: u64) -> u64: ...  # type: ignore[empty-body]

@bpf.kfunc
def shape_words(base: u64) -> u64: ...  # type: ignore[empty-body]
