"""Members of map values that the kernel manages: locks and timers."""

from __future__ import annotations

from types import TracebackType

from bombus.bpf.ints import u32, u64
from bombus.bpf.machine import call
from bombus.bpf.struct import Array, Struct, array


class SpinLock(Struct, name="bpf_spin_lock"):
    """A lock in a map value: `with value.lock:`. Nothing may be called while it is held."""

    val: u32

    def __enter__(self) -> None:
        call(None, 93, self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        call(None, 94, self)


class Dynptr(Struct, name="bpf_dynptr"):
    """A pointer to data of a size known at run time, on the stack: for helpers.dynptr_... and the kernel functions."""

    opaque: Array[u64] = array(2)


class WorkQueue(Struct, name="bpf_wq"):
    """A work queue in a map value, for the kernel functions bpf_wq_init, bpf_wq_set_callback_impl and bpf_wq_start."""

    opaque: Array[u64] = array(2)


class Timer(Struct, name="bpf_timer"):
    """A timer in a map value, for helpers.timer_init, timer_set_callback, timer_start and timer_cancel."""

    opaque: Array[u64] = array(2)
