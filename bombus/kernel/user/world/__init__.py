"""The surroundings of programs in the user kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from bombus.kernel.user.world.world import World

if TYPE_CHECKING:
    from bombus.kernel.user.kernel import UserKernel

_WORLDS: WeakKeyDictionary[UserKernel, World] = WeakKeyDictionary()


def world_of(kernel: UserKernel) -> World:
    """The world of a kernel, made at the first question."""
    world = _WORLDS.get(kernel)
    if world is None:
        world = _WORLDS[kernel] = World()
    return world


def set_world(kernel: UserKernel, world: World) -> None:
    """Give a kernel another world (a fixed clock, other devices). Before programs are loaded."""
    _WORLDS[kernel] = world
