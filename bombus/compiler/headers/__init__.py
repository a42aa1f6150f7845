"""C headers for BPF programs, of our own: what <bpf/bpf_helpers.h> and its kin are known for.

Those that people write lie in `include/`; those that are rows of `spec/` are made from them (`pages`) and lie beside
them, so that a build has nothing to make; `tools/gen-headers` brings them up to date.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

INCLUDE: Final = Path(__file__).parent / "include"


def pages() -> dict[str, str]:
    """The generated headers: text by path below INCLUDE."""
    from bombus.compiler.headers import helperdefs, ptregs, uapi

    return {
        "bpf/bpf_helper_defs.h": helperdefs.page(), "bpf/bpf_pt_regs.h": ptregs.page(), "linux/bpf.h": uapi.page(),
    }  # fmt: skip
