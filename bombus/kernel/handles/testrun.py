"""What a test run gives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TestRun:
    """Result of a test run. retval: r0 as u32. data: the packet afterwards. ctx: the context afterwards (b"" when
    none was given). duration: mean ns of one run, as the kernel measured it."""

    __test__ = False  # not a pytest class

    retval: int
    data: bytes
    ctx: bytes
    duration: int

    @property
    def data_out(self) -> bytes:
        return self.data

    @property
    def ctx_out(self) -> bytes:
        return self.ctx
