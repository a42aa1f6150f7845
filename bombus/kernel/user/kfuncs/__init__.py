"""Kernel functions that programs of the user kernel may call: bodies bound to rows of spec.kfuncs.

A body is `(env, *args) -> int`, as a helper's. Those that only tell the verifier something do nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from inspect import signature
from typing import TYPE_CHECKING, TypeVar

from bombus.vm.env import HelperFn

if TYPE_CHECKING:
    from bombus.kernel.user.progenv import ProgEnv

Body = Callable[..., int]
BodyT = TypeVar("BodyT", bound=Body)
BODIES: dict[str, Body] = {}
MODULES = ("sections", "numbers", "tasks", "casts", "addresses")


def kfunc(*names: str) -> Callable[[BodyT], BodyT]:
    """Bind a body to kernel functions. KeyError at import for a wrong name, ValueError for two bodies."""
    from bombus.spec.kfuncs import KFUNC

    def bind(body: BodyT) -> BodyT:
        for name in names:
            if KFUNC[name].name in BODIES:
                raise ValueError(f"{name} has two bodies")
            BODIES[name] = body
        return body

    return bind


@cache
def load_bodies() -> None:
    for name in MODULES:
        import_module(f"bombus.kernel.user.kfuncs.{name}")


def bound(name: str) -> bool:
    load_bodies()
    return name in BODIES


def castable(attach_type: int) -> bool:
    """Whether bpf_cast_to_kern_ctx can be called by programs of an attach type."""
    from bombus.kernel.user.kfuncs import casts

    return casts.castable(attach_type)


def bind(name: str, env: ProgEnv) -> HelperFn | None:
    """The body of a kernel function as the engines call it, None when there is none."""
    load_bodies()
    body = BODIES.get(name)
    if body is None:
        return None
    count = len(signature(body).parameters) - 1

    def call(a: int, b: int, c: int, d: int, e: int) -> int:
        return body(env, *(a, b, c, d, e)[:count])

    return call
