"""`dataclass`, `field` and `replace` as those of dataclasses, for slotted classes, made when they are first used.

The standard library compiles up to six methods for every class while its module is imported, and imports `inspect` for
that: most of what a short command of ours would take. Here `__init__`, `__eq__` and `__hash__` are compiled at the
first call, `__repr__` and the guards of frozen classes are shared; `dataclasses.fields` and `inspect.signature` work.
Type checkers see the standard library's names.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

_MISSING: Any = object()


class _Field:
    """One field: its default, and where it takes part."""

    __slots__ = ("compare", "default", "default_factory", "init", "name", "repr", "type")

    def __init__(self, default: Any, default_factory: Any, init: bool, repr: bool, compare: bool) -> None:
        self.name = ""
        self.type: Any = None
        self.default = default
        self.default_factory = default_factory
        self.init = init
        self.repr = repr
        self.compare = compare


def _field(
    *,
    default: Any = _MISSING,
    default_factory: Any = _MISSING,
    init: bool = True,
    repr: bool = True,
    compare: bool = True,
) -> Any:
    return _Field(default, default_factory, init, repr, compare)


def _fields_of(cls: type) -> dict[str, _Field]:
    found: dict[str, _Field] = {}
    for base in reversed(cls.__mro__[1:]):
        if "__lazy_fields__" in base.__dict__:
            found |= {field.name: field for field in base.__dict__["__lazy_fields__"]}
        elif "__dataclass_fields__" in base.__dict__:
            raise TypeError(f"{cls.__name__}: its base {base.__name__} is a dataclass of the standard library")
    for name, annotation in cls.__annotations__.items():
        if str(annotation).startswith(("ClassVar", "typing.ClassVar")):
            continue
        default = cls.__dict__.get(name, _MISSING)
        field = default if isinstance(default, _Field) else _Field(default, _MISSING, True, True, True)
        if isinstance(field.default, list | dict | set):
            raise ValueError(f"{cls.__name__}.{name}: a default that can change; use default_factory")
        field.name, field.type = name, annotation
        found[name] = field
    return found


def _compiled(cls: type, name: str, arguments: str, body: Iterable[str], names: dict[str, Any]) -> Callable[..., Any]:
    """A method with some names bound, in the namespace of the class's module."""
    lines = "\n".join(f"  {line}" for line in body)
    source = f"def make({', '.join(names)}):\n def {name}({arguments}):\n{lines}\n return {name}"
    made: dict[str, Any] = {}
    exec(source, sys.modules[cls.__module__].__dict__, made)
    method: Callable[..., Any] = made["make"](**names)
    method.__qualname__ = f"{cls.__qualname__}.{name}"
    return method


def _init(cls: type, fields: tuple[_Field, ...], frozen: bool) -> Callable[..., Any]:
    names: dict[str, Any] = {"_MISSING": _MISSING}
    arguments = ["self"]
    body: list[str] = []
    has_default = ""
    for field in fields:
        name = value = field.name
        if field.default_factory is not _MISSING:
            names[f"_make_{name}"] = field.default_factory
            value = f"_make_{name}() if {name} is _MISSING else {name}" if field.init else f"_make_{name}()"
        elif field.default is not _MISSING:
            names[f"_default_{name}"] = field.default
            value = name if field.init else f"_default_{name}"
        elif not field.init:
            continue
        if field.init:
            if field.default_factory is not _MISSING:
                arguments.append(f"{name}=_MISSING")
                has_default = name
            elif field.default is not _MISSING:
                arguments.append(f"{name}=_default_{name}")
                has_default = name
            elif has_default:
                raise TypeError(f"{cls.__name__}: {name} has no default and comes after {has_default}, which has one")
            else:
                arguments.append(name)
        if frozen:
            names[f"_set_{name}"] = getattr(cls, name).__set__  # the slot's: __setattr__ refuses
            body.append(f"_set_{name}(self, {value})")
        else:
            body.append(f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    method = _compiled(cls, "__init__", ", ".join(arguments), body or ["pass"], names)
    method.__annotations__ = {field.name: field.type for field in fields if field.init} | {"return": None}
    return method


def _tuple(of: str, fields: tuple[_Field, ...]) -> str:
    return "(" + "".join(f"{of}.{field.name}, " for field in fields if field.compare) + ")"


def _eq(cls: type, fields: tuple[_Field, ...], _frozen: bool) -> Callable[..., Any]:
    body = [
        "if other.__class__ is self.__class__:",
        f" return {_tuple('self', fields)} == {_tuple('other', fields)}",
        "return NotImplemented",
    ]
    return _compiled(cls, "__eq__", "self, other", body, {})


def _hash(cls: type, fields: tuple[_Field, ...], _frozen: bool) -> Callable[..., Any]:
    return _compiled(cls, "__hash__", "self", [f"return hash({_tuple('self', fields)})"], {})


_MAKERS = {"__init__": _init, "__eq__": _eq, "__hash__": _hash}


def _postponed(cls: type, name: str, fields: tuple[_Field, ...], frozen: bool) -> Callable[..., Any]:
    """A method that puts the compiled one in its place when it is first called."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        made = _MAKERS[name](cls, fields, frozen)
        setattr(cls, name, made)
        return made(self, *args, **kwargs)

    method.__name__ = name
    method.__qualname__ = f"{cls.__qualname__}.{name}"
    return method


@recursive_repr()
def _repr(self: Any) -> str:
    shown = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in self.__lazy_fields__ if field.repr)
    return f"{self.__class__.__qualname__}({shown})"


def _refuse(verb: str, name: str) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot {verb} field {name!r}")


def _guards(cls: Any, names: frozenset[str]) -> tuple[Callable[..., None], Callable[..., None]]:
    """__setattr__ and __delattr__ of a frozen class: its subclasses may have attributes of their own."""

    def set_attribute(self: Any, name: str, value: Any) -> None:
        if type(self) is cls or name in names:
            _refuse("assign to", name)
        super(cls, self).__setattr__(name, value)

    def delete_attribute(self: Any, name: str) -> None:
        if type(self) is cls or name in names:
            _refuse("delete", name)
        super(cls, self).__delattr__(name)

    return set_attribute, delete_attribute


def _state(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in self.__lazy_fields__]


def _set_state(self: Any, state: list[Any]) -> None:
    for field, value in zip(self.__lazy_fields__, state, strict=True):
        object.__setattr__(self, field.name, value)


class _Described:
    """What dataclasses and inspect look for on a class, made when they look."""

    __slots__ = ("cls", "eq", "frozen", "name")

    def __init__(self, cls: type, name: str, frozen: bool, eq: bool) -> None:
        self.cls = cls
        self.name = name
        self.frozen = frozen
        self.eq = eq

    def __get__(self, instance: object, owner: type) -> Any:
        fields: tuple[_Field, ...] = self.cls.__dict__["__lazy_fields__"]
        if self.name == "__signature__":
            import inspect

            if instance is not None or owner is not self.cls:
                raise AttributeError(self.name)
            of_init = inspect.signature(_init(self.cls, fields, self.frozen))
            return of_init.replace(parameters=list(of_init.parameters.values())[1:])
        import dataclasses

        body: dict[str, Any] = {"__annotations__": {field.name: field.type for field in fields}}
        for field in fields:
            default = {"default": field.default} if field.default is not _MISSING else {}
            if field.default_factory is not _MISSING:
                default = {"default_factory": field.default_factory}
            body[field.name] = dataclasses.field(**default, init=field.init, repr=field.repr, compare=field.compare)
        body["__module__"] = self.cls.__module__
        twin: Any = dataclasses.dataclass(frozen=self.frozen, eq=self.eq)(type(self.cls.__name__, (), body))
        return getattr(twin, self.name)


def _inherited_slots(cls: type) -> Iterator[str]:
    for base in cls.__mro__[1:-1]:
        slots = base.__dict__.get("__slots__", ())
        yield from (slots,) if isinstance(slots, str) else slots


def _dataclass(*, frozen: bool = False, slots: bool, eq: bool = True) -> Callable[[type], type]:
    if not slots:
        raise TypeError("bombus.lazyclass makes slotted classes only")

    def decorate(plain: type) -> type:
        by_name = _fields_of(plain)
        fields = tuple(by_name.values())
        body = dict(plain.__dict__)
        own = [name for name in plain.__annotations__ if name in by_name]
        inherited = set(_inherited_slots(plain))
        body["__slots__"] = tuple(name for name in own if name not in inherited)
        for name in (*own, "__dict__", "__weakref__"):
            body.pop(name, None)
        has_hash = body.get("__hash__") is not None or ("__hash__" in body and "__eq__" not in body)
        body["__lazy_fields__"] = fields
        body.setdefault("__match_args__", tuple(field.name for field in fields if field.init))
        body.setdefault("__repr__", _repr)
        cls = type(plain)(plain.__name__, plain.__bases__, body)
        cls.__qualname__ = plain.__qualname__
        added: dict[str, Any] = {"__init__": _postponed(cls, "__init__", fields, frozen)}
        if eq:
            added["__eq__"] = _postponed(cls, "__eq__", fields, frozen)
        if frozen:
            added["__setattr__"], added["__delattr__"] = _guards(cls, frozenset(by_name))
            added["__getstate__"], added["__setstate__"] = _state, _set_state
        for name in ("__dataclass_fields__", "__dataclass_params__", "__signature__"):
            added[name] = _Described(cls, name, frozen, eq)
        for name, value in added.items():
            if name not in body:
                setattr(cls, name, value)
        if eq and not has_hash:
            setattr(cls, "__hash__", _postponed(cls, "__hash__", fields, frozen) if frozen else None)  # noqa: B010
        return cls

    return decorate


def _replace(instance: Any, /, **changes: Any) -> Any:
    if not hasattr(type(instance), "__lazy_fields__"):
        import dataclasses

        return dataclasses.replace(instance, **changes)
    for field in instance.__lazy_fields__:
        if not field.init:
            if field.name in changes:
                raise ValueError(f"field {field.name} is declared with init=False, it cannot be replaced")
        elif field.name not in changes:
            changes[field.name] = getattr(instance, field.name)
    return type(instance)(**changes)


if TYPE_CHECKING:
    from dataclasses import dataclass, field, replace
else:
    dataclass, field, replace = _dataclass, _field, _replace

__all__ = ["dataclass", "field", "replace"]
