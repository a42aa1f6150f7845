"""What runs programs: one module per kind of hook, each bound to its program types."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from bombus.spec.progtypes import PROG_TYPE

if TYPE_CHECKING:
    from bombus.kernel.api import Attr
    from bombus.kernel.user.kernel import UserKernel
    from bombus.kernel.user.prog import Prog

Runner = Callable[["UserKernel", "Prog", "Attr"], int]

_RUNNERS: dict[str, Runner] = {}

MODULES = ("xdprun", "skbrun", "raw", "tracing", "flow", "lookup")


def test_run(*short: str) -> Callable[[Runner], Runner]:
    """Bind a BPF_PROG_TEST_RUN body to program types ("XDP", ...). KeyError at import for a wrong name."""

    def bind(runner: Runner) -> Runner:
        for name in short:
            _RUNNERS[PROG_TYPE["BPF_PROG_TYPE_" + name].name] = runner
        return runner

    return bind


@cache
def load_runners() -> None:
    for name in MODULES:
        import_module(f"bombus.kernel.user.hooks.{name}")


def runner_of(name: str) -> Runner | None:
    return _RUNNERS.get(name)
