"""Allow only some devices."""

from __future__ import annotations

from bombus.bpf import contexts, section

CHARACTER = 2


@section("cgroup/dev")
def device(ctx: contexts.BpfCgroupDevCtx) -> int:
    kind = ctx.access_type & 0xFFFF
    if kind != CHARACTER or ctx.major != 1:
        return 0
    return 1 if ctx.minor in (3, 5, 7, 8, 9) else 0
