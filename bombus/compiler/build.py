"""From a program file, its text or its module to a BPF object.

The file is imported: what it computes at import is taken as it is, only functions are compiled from source.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bombus.errors import UsageError

if TYPE_CHECKING:
    from bombus.compiler.module import ModuleText
    from bombus.compiler.watch import Watch

TARGETS = ("bpfel", "bpfeb")
CPUS = ("v1", "v2", "v3", "v4")


def build_file(
    path: str, *, target: str = "bpfel", cpu: str = "v3", level: int = 2, watch: Watch | None = None
) -> bytes:
    """Compile a program file. DialectError with everything that is wrong in it, CodegenError, UsageError.

    watch: takes notes of what the import depends on.
    """
    from bombus.compiler.codegen import CODEGEN

    CODEGEN.start()  # LLVM loads while the program is checked
    from bombus.compiler.importing import import_file

    with watch or nullcontext():
        module = import_file(path)
    return build_module(module, target=target, cpu=cpu, level=level)


def build_cached(path: str, *, target: str = "bpfel", cpu: str = "v3", level: int = 2) -> bytes:
    """As `build_file`, or from the cache (see `compiler.cache`) when nothing that it depends on has changed."""
    from bombus.compiler import cache

    return cache.build(
        path, f"python {target} {cpu} {level}",
        lambda watch: build_file(path, target=target, cpu=cpu, level=level, watch=watch),
    )  # fmt: skip


def build_source(
    text: str, path: str = "<program>", *, target: str = "bpfel", cpu: str = "v3", level: int = 2
) -> bytes:
    """As `build_file` for a text."""
    from bombus.compiler.codegen import CODEGEN

    CODEGEN.start()
    from bombus.compiler.importing import import_source

    return build_module(import_source(text, path), target=target, cpu=cpu, level=level)


def build_module(
    module: ModuleType | Mapping[str, Any], *, target: str = "bpfel", cpu: str = "v3", level: int = 2
) -> bytes:
    """Compile the programs of an imported module (or of its names)."""
    from bombus.compiler.budget import marked
    from bombus.compiler.codegen import CODEGEN

    made = _module(module, target, cpu)
    text, marker = marked(made.text())
    data = CODEGEN.compile(text, target=target, cpu=cpu, level=level)
    if marker:
        from bombus.compiler.maygoto import with_may_goto

        data = with_may_goto(data, marker)
    if not made.unit.events:
        return data
    from bombus.compiler.eventtypes import with_event_types

    return with_event_types(data, made.unit.events)


def module_text(module: ModuleType | Mapping[str, Any], *, target: str = "bpfel", cpu: str = "v3") -> str:
    """The LLVM IR of a module's programs."""
    return _module(module, target, cpu).text()


def _module(module: ModuleType | Mapping[str, Any], target: str, cpu: str) -> ModuleText:
    from bombus.compiler.module import ModuleText
    from bombus.compiler.modulecheck import check_names

    if target not in TARGETS:
        raise UsageError(f"{target!r} is no target: {', '.join(TARGETS)} are")
    if cpu not in CPUS:
        raise UsageError(f"{cpu!r} is no BPF cpu: {', '.join(CPUS)} are")
    names = vars(module) if isinstance(module, ModuleType) else module
    path = str(names.get("__file__", "<program>"))
    return ModuleText(check_names(names, path, cpu=cpu), target, cpu)
