"""bombus: the whole BPF stack in one Python package.

`bombus.load` puts an object on a kernel; everything heavy is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os

    from bombus.kernel.api import Kernel
    from bombus.loader.load import Loaded

__version__ = "0.1.0"
__all__ = ["load", "open_kernel"]


def open_kernel(
    name: str = "user", *, engine: str = "fast", btf: bytes | None = None,
    token: str | os.PathLike[str] | None = None, guard: bool = True,
) -> Kernel:  # fmt: skip
    """A kernel by name: "user" (in process, no root), "user:5.15" (as that version), "linux" (the running one).

    engine ("fast", "reference", "native") and btf (raw vmlinux BTF) are for the user kernel.
    token: for Linux in a user namespace, the mount of a bpf file system that delegates rights to it.
    guard: for Linux, whether what is attached without a link is undone when this process is killed.
    """
    from bombus.kernels import open_kernel as open_

    return open_(name, engine=engine, btf=btf, token=token, guard=guard)


def load(path: str | os.PathLike[str], kernel: Kernel | str = "user", **options: Any) -> Loaded:
    """Open an object file, create its maps on a kernel and load its programs. A source (.py, .c, .S) is built first.

    Returns a context manager with `programs` and `maps` by name; options are those of `bombus.loader.state.Options`:

        with bombus.load("traffic.bpf.o") as loaded:
            result = loaded.programs["traffic"].test_run(frame)
            flows = dict(loaded.maps["flows"])

    Raises LoadError with the verifier's log, KernelError, ObjectError, OSError; of sources DialectError, CompileError.
    """
    from bombus.compiler.sources import open_program
    from bombus.loader.load import load as load_

    return load_(open_program(path), open_kernel(kernel) if isinstance(kernel, str) else kernel, **options)
