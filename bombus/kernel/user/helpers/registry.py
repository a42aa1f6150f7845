"""Helper bodies and the rows that they are bound to.

A body is `(env, *args) -> int`: `env` is the running program's `ProgEnv`, args are unsigned 64-bit register values,
as many as the row has. The engine masks the result to 64 bits, so negative errnos are returned as they are.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

from bombus.vm.env import HelperFn

if TYPE_CHECKING:
    from bombus.kernel.user.progenv import ProgEnv
    from bombus.spec.helpers import Helper

Body = Callable[..., int]
BodyT = TypeVar("BodyT", bound=Body)

BODIES: dict[str, Body] = {}

# Handled by the engines (and the program's environment) themselves.
ENGINE_HELPERS = frozenset({"tail_call"})

MODULES = ("maps", "time", "task", "printing", "text", "csum", "skb", "skbroom", "xdp", "redirect", "events", "loops",
           "probe", "sockets", "timers", "dynptr", "stack", "seq", "trampoline", "sysctl", "sockops",
           "sockmap")  # fmt: skip


def helper(*names: str) -> Callable[[BodyT], BodyT]:
    """Bind a body to helpers of spec.helpers. At import: KeyError for a wrong name, ValueError for a wrong arity."""

    from bombus.spec.helpers import HELPER  # many rows: not before the first program is loaded

    def bind(body: BodyT) -> BodyT:
        takes = len(inspect.signature(body).parameters) - 1
        for name in names:
            row = HELPER[name]
            if name in BODIES:
                raise ValueError(f"{name} has two bodies")
            if takes != arity(row):
                raise ValueError(f"the body of {name} takes {takes} arguments, the helper has {arity(row)}")
            BODIES[name] = body
        return body

    return bind


def arity(row: Helper) -> int:
    """How many registers a body gets: all five where the C prototype ends in "...", as that of trace_printk."""
    return len(_ADAPTERS) - 1 if row.c_params.endswith("...") else len(row.args)


@cache
@cache
def load_bodies() -> None:
    """Import every module that binds helpers."""
    for name in MODULES:
        import_module(f"bombus.kernel.user.helpers.{name}")


def bound(number: int) -> bool:
    """Does this helper have a body (or an engine that does its work)?"""
    from bombus.spec.helpers import HELPER_BY_ID

    load_bodies()
    row = HELPER_BY_ID.get(number)
    return row is not None and (row.name in BODIES or row.name in ENGINE_HELPERS)


def unbound() -> list[Helper]:
    """Rows without a body, by number."""
    from bombus.spec.helpers import HELPERS

    load_bodies()
    return [row for row in HELPERS if not bound(row.id)]


def bind(number: int, env: ProgEnv) -> HelperFn | None:
    """The body of a helper as the engines call it, None when there is none."""
    from bombus.spec.helpers import HELPER_BY_ID

    load_bodies()
    row = HELPER_BY_ID.get(number)
    body = BODIES.get(row.name) if row is not None else None
    if row is None or body is None:
        return None
    return _ADAPTERS[arity(row)](body, env)


def _adapt0(body: Body, env: ProgEnv) -> HelperFn:
    return lambda a, b, c, d, e: body(env)


def _adapt1(body: Body, env: ProgEnv) -> HelperFn:
    return lambda a, b, c, d, e: body(env, a)


def _adapt2(body: Body, env: ProgEnv) -> HelperFn:
    return lambda a, b, c, d, e: body(env, a, b)


def _adapt3(body: Body, env: ProgEnv) -> HelperFn:
    return lambda a, b, c, d, e: body(env, a, b, c)


def _adapt4(body: Body, env: ProgEnv) -> HelperFn:
    return lambda a, b, c, d, e: body(env, a, b, c, d)


def _adapt5(body: Body, env: ProgEnv) -> HelperFn:
    return lambda a, b, c, d, e: body(env, a, b, c, d, e)


_ADAPTERS = (_adapt0, _adapt1, _adapt2, _adapt3, _adapt4, _adapt5)
