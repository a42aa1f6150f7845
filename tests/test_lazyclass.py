"""lazyclass beside the standard library's dataclasses: the same classes made by both behave alike."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from typing import Any, ClassVar

import pytest

from bombus import lazyclass

# Through Any: type checkers see one and the same function under both names.
LAZY: Any = lazyclass
STANDARD: Any = dataclasses


def make(source: Any) -> dict[str, Any]:
    """The same classes by one of the two modules."""
    dataclass, field = source.dataclass, source.field

    @dataclass(frozen=True, slots=True)
    class Point:
        kind: ClassVar[str] = "point"
        x: int
        y: int = 2
        tags: tuple[str, ...] = field(default=(), repr=False)
        order: str = field(default="little", compare=False)

        def __post_init__(self) -> None:
            if self.x < 0:
                raise ValueError("negative")

    @dataclass(frozen=True, slots=True)
    class Point3(Point):
        z: int = 3
        y: int = 5

    @dataclass(slots=True)
    class Bag:
        items: list[int] = field(default_factory=list)
        name: str = "bag"
        seen: dict[int, int] = field(init=False, repr=False, compare=False, default_factory=dict)

    @dataclass(slots=True, eq=False)
    class Node:
        next: Any = None

    @dataclass(frozen=True, slots=True)
    class Own:
        a: int

        def __repr__(self) -> str:
            return "own"

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Own) and self.a % 2 == other.a % 2

        def __hash__(self) -> int:
            return self.a % 2

    @dataclass(frozen=True, slots=True)
    class Empty:
        pass

    class Plain(Point):
        def __init__(self) -> None:
            super().__init__(1)
            self.extra = 4

    return locals()


def outcome(act: Any, classes: dict[str, Any]) -> object:
    try:
        return act(**{name: classes[name] for name in inspect.signature(act).parameters})
    except Exception as error:
        return type(error)


ACTS = [
    lambda Point: repr(Point(1, tags=("a",))),
    lambda Point: (Point(1) == Point(1, order="big"), Point(1) == Point(2), Point(1) == (1, 2), Point(1) != Point(1)),
    lambda Point: (hash(Point(1)) == hash(Point(1, 2, (), "big")), hash(Point(1, 3)) == hash(Point(1, 4))),
    lambda Point: len({Point(1), Point(1), Point(2)}),
    lambda Point: Point(-1),
    lambda Point: Point(),
    lambda Point: Point(1, 2, (), "big", 5),
    lambda Point: Point(1, w=5),
    lambda Point: setattr(Point(1), "x", 2),
    lambda Point: delattr(Point(1), "x"),
    lambda Point: (Point.__match_args__, Point.__slots__, Point.kind, hasattr(Point(1), "__dict__")),
    lambda Point: [(f.name, f.init, f.repr, f.compare) for f in dataclasses.fields(Point)],
    lambda Point: dataclasses.asdict(Point(1)),
    lambda Point: (dataclasses.is_dataclass(Point), dataclasses.is_dataclass(Point(1))),
    lambda Point: dataclasses.replace(Point(1), y=9).y,
    lambda Point: str(inspect.signature(Point)),
    lambda Point: (copy.copy(Point(1)) == Point(1), copy.deepcopy(Point(1)) == Point(1)),
    lambda Point3: (repr(Point3(1)), Point3.__match_args__, Point3.__slots__),
    lambda Point, Point3: (Point(1, 5) == Point3(1), isinstance(Point3(1), Point)),
    lambda Point3: hash(Point3(1)) == hash(Point3(1, z=4)),
    lambda Point3: setattr(Point3(1), "x", 4),
    lambda Point3: [f.name for f in dataclasses.fields(Point3)],
    lambda Bag: repr(Bag()),
    lambda Bag: (Bag().items is Bag().items, Bag() == Bag(), Bag([1]) == Bag(), Bag([1]).seen),
    lambda Bag: hash(Bag()),
    lambda Bag: setattr(Bag(), "other", 1),
    lambda Bag: Bag(seen={}),
    lambda Bag: (copy.deepcopy(Bag([1])) == Bag([1]), str(inspect.signature(Bag)).count("items")),
    lambda Bag: dataclasses.replace(Bag([1]), seen={}),
    lambda Node: (Node() == Node(), len({Node(), Node()})),
    lambda Own: (repr(Own(1)), Own(1) == Own(3), hash(Own(3))),
    lambda Empty: (repr(Empty()), Empty() == Empty(), hash(Empty()) == hash(Empty())),
]  # fmt: skip


@pytest.mark.parametrize("act", ACTS)
def test_as_the_standard_library(act: Any) -> None:
    assert outcome(act, make(LAZY)) == outcome(act, make(STANDARD))


def test_other_attributes() -> None:
    """Where Python 3.11's frozen slotted classes fail with a TypeError, for the class before its slots."""
    classes = make(LAZY)
    with pytest.raises(dataclasses.FrozenInstanceError):
        classes["Point"](1).other = 2
    plain = classes["Plain"]()
    assert (plain.extra, repr(plain).rsplit(".", 1)[-1]) == (4, "Plain(x=1, y=2, order='little')")
    with pytest.raises(dataclasses.FrozenInstanceError):
        plain.x = 3


def test_replace() -> None:
    for source in (LAZY, STANDARD):
        classes = make(source)
        assert LAZY.replace(classes["Point"](1), y=7).y == 7
        with pytest.raises(ValueError, match="init=False"):
            LAZY.replace(classes["Bag"](), seen={})


def test_reference_to_itself() -> None:
    node = make(LAZY)["Node"]()
    node.next = node
    assert repr(node).endswith("(next=...)")


def test_refused_classes() -> None:
    with pytest.raises(TypeError, match="slotted"):
        LAZY.dataclass(slots=False)
    with pytest.raises(TypeError, match="no default"):

        @LAZY.dataclass(frozen=True, slots=True)
        class Late:
            a: int = 1
            b: int

        Late()
    with pytest.raises(ValueError, match="default_factory"):

        @LAZY.dataclass(slots=True)
        class Shared:
            a: list[int] = []  # noqa: RUF012

    @dataclasses.dataclass
    class Base:
        a: int

    with pytest.raises(TypeError, match="standard library"):

        @LAZY.dataclass(slots=True)
        class Derived(Base):
            b: int


@lazyclass.dataclass(frozen=True, slots=True)
class Pickled:
    """At module level, as pickle needs it."""

    a: int
    b: tuple[int, ...] = (1, 2)


@lazyclass.dataclass(slots=True)
class PickledToo:
    a: int = 0


def test_pickle() -> None:
    for value in (Pickled(1), PickledToo(3)):
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps(value, protocol)) == value
