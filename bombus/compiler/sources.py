"""Sources of any kind to objects, by the end of their names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from bombus.errors import NotSupported

if TYPE_CHECKING:
    from bombus.compiler.watch import Watch
    from bombus.object.model import Object

# What a name's end says the file is.
LANGUAGES: Final = {".py": "Python", ".c": "C", ".S": "assembly", ".s": "assembly", ".asm": "assembly"}


def language(path: str) -> str | None:
    """ "Python", "C", "assembly"; None for everything else."""
    return LANGUAGES.get(os.path.splitext(path)[1])


def build_source_file(path: str, *, target: str = "bpfel") -> bytes:
    """The object of a source, with each language's usual options.

    DialectError, CompileError, AsmError for what is wrong in it; CodegenError, NotSupported, OSError.
    """
    kind = language(path)
    if kind == "Python":
        from bombus.compiler import build

        return build.build_file(path, target=target)
    if kind == "C":
        from bombus.compiler import c

        return c.build_file(path, target=target)
    if kind == "assembly":
        from bombus.compiler import assembly

        return assembly.build_file(path, target=target)
    raise NotSupported(
        f"building {os.path.splitext(path)[1] or 'this'} files",
        "programs in Python (.py), C (.c) and assembly (.S) are built",
    )


def build_cached(path: str, *, target: str = "bpfel") -> bytes:
    """As `build_source_file`, or from the cache when nothing that the object depends on has changed."""
    from bombus.compiler import cache

    match language(path):
        case "Python":
            from bombus.compiler import build

            return build.build_cached(path, target=target)
        case "C":
            return cache.build(path, f"C {target} {_compiler()}", lambda watch: _c(path, target, watch))
    return build_source_file(path, target=target)  # assembling takes no longer than looking


def open_program(path: str | os.PathLike[str], *, relaxed_maps: bool = False) -> Object:
    """An object file, or a source: .py (which is imported), .c, .S. ElfError, ObjectError, DialectError, ..."""
    from bombus.object.read import open_object, read_object

    name = os.fspath(path)
    if language(name) is None:
        return open_object(path, relaxed_maps=relaxed_maps)
    return read_object(build_cached(name), name=os.path.splitext(os.path.basename(name))[0], relaxed_maps=relaxed_maps)


# What changes how a C compiler works, beside its command line.
_VARIABLES = ("CLANG", "CPATH", "C_INCLUDE_PATH", "CCC_OVERRIDE_OPTIONS", "COMPILER_PATH", "GCC_EXEC_PREFIX",
              "SOURCE_DATE_EPOCH", "PATH")  # fmt: skip
_KERNEL = "/sys/kernel/btf/vmlinux"


def _compiler() -> str:
    """The compiler that will be taken, and which edition of it."""
    import shutil

    from bombus.compiler.c import toolchain

    tool = toolchain.find()
    program = os.path.realpath(shutil.which(tool.command[0]) or tool.command[0])
    found = os.stat(program)
    return f"{tool.name} {program} {found.st_size} {found.st_mtime_ns}"


def _c(path: str, target: str, watch: Watch) -> bytes:
    from bombus.compiler.c import Options, build
    from bombus.compiler.headers import INCLUDE

    watch.start()
    built = build(path, Options(target=target))
    here = os.path.dirname(os.path.abspath(path))
    for name in map(os.path.abspath, built.files):
        watch.files.add(name)
        if os.path.basename(name) == "vmlinux.h":
            watch.files.add(_KERNEL)  # what it was made from
        for root in (str(INCLUDE), "/usr/include"):
            if name.startswith(root + os.sep):  # one beside the source would be taken first
                watch.places.add(os.path.join(here, os.path.relpath(name, root)))
    watch.places = {place for place in watch.places if not os.path.exists(place)}
    watch.variables.update(_VARIABLES)
    return built.data
