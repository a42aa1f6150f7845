"""What a refused BPF_PROG_LOAD means, worked out when somebody asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bombus.btf.ext import LineInfo
    from bombus.btf.parse import Btf
    from bombus.errors import LoadError
    from bombus.verifier.explain import Explanation


def explainer(
    insns: bytes, btf: Btf | None = None, line_info: Sequence[LineInfo] = ()
) -> Callable[[LoadError], Explanation | None]:
    """For `LoadError.explainer`. btf, line_info: of the program, for kernels whose log has no files and lines."""

    def explained(error: LoadError) -> Explanation | None:
        if not error.log:
            return None
        from bombus.errors import EncodingError
        from bombus.isa.insn import decode
        from bombus.verifier.explain import explain
        from bombus.verifier.program import LineInfo as Line

        try:
            code = decode(insns)
        except EncodingError:
            code = []
        lines = []
        if btf is not None:
            lines = [
                Line(one.insn_off, btf.string(one.file), btf.string(one.line), one.line_number, one.column)
                for one in line_info
            ]
        found = explain(error.log, code, lines)
        return found if found.message else None

    return explained
