"""Helpers: CPU, randomness, per-CPU variables."""

from __future__ import annotations

from bombus.spec.helpers.model import Helper, row

ROWS: tuple[Helper, ...] = (
    row(
        7, "get_prandom_u32", "4.1", "system", "u32", "",
        (), "RET_INTEGER",
        "A pseudo-random 32-bit number.",
    ),
    row(
        8, "get_smp_processor_id", "4.1", "system", "u32", "",
        (), "RET_INTEGER",
        "The number of the CPU that the program runs on.",
        fastcall=True,
    ),
    row(
        42, "get_numa_node_id", "4.10", "system", "long", "",
        (), "RET_INTEGER",
        "The NUMA node that the program runs on.",
    ),
    row(
        153, "per_cpu_ptr", "5.10", "system", "void *", "const void *percpu_ptr, u32 cpu",
        ("ARG_PTR_TO_PERCPU_BTF_ID", "ARG_ANYTHING"), "RET_PTR_TO_MEM_OR_BTF_ID|PTR_MAYBE_NULL|MEM_RDONLY",
        "The address of a per-CPU variable of the kernel on a given CPU, or null.",
    ),
    row(
        154, "this_cpu_ptr", "5.10", "system", "void *", "const void *percpu_ptr",
        ("ARG_PTR_TO_PERCPU_BTF_ID",), "RET_PTR_TO_MEM_OR_BTF_ID|MEM_RDONLY",
        "The address of a per-CPU variable of the kernel on this CPU.",
    ),
)  # fmt: skip
