"""One exception tree. Every error carries its facts as attributes, not only as text.

Whatever bad input does, nothing but a `BombusError` leaves the package: a parser that lets a
`struct.error` or an `IndexError` escape has a defect.
"""

from __future__ import annotations

import errno as _errno
import functools
import os
from collections.abc import Callable
from typing import Any, Self


class BombusError(Exception):
    """Root of all errors that bombus raises on purpose."""


class FormatError(BombusError):
    """Input bytes do not follow their format.

    `what` names the format ("ELF", "BTF", "pcap", ...), `offset` is the byte where it was noticed.
    """

    what = "input"

    def __init__(self, message: str, *, offset: int | None = None, path: str | None = None) -> None:
        self.message = message
        self.offset = offset
        self.path = path
        where = f" at byte {offset}" if offset is not None else ""
        prefix = f"{path}: " if path else ""
        super().__init__(f"{prefix}bad {self.what}{where}: {message}")

    def in_file(self, path: str) -> Self:
        """The same error, with the name of the file that the bytes are from."""
        return type(self)(self.message, offset=self.offset, path=path)


class ElfError(FormatError):
    what = "ELF file"


class BtfError(FormatError):
    what = "BTF"


class CaptureError(FormatError):
    what = "capture"


class EncodingError(BombusError):
    """An instruction cannot be encoded or decoded. `field` names the culprit, `insn` its index."""

    def __init__(self, message: str, *, field: str, insn: int | None = None) -> None:
        self.message = message
        self.field = field
        self.insn = insn
        where = f"instruction {insn}: " if insn is not None else ""
        super().__init__(f"{where}{field}: {message}")


class AsmError(BombusError):
    """Assembly text that cannot be assembled; `line` and `column` count from 1, `path` is "" for text in memory."""

    def __init__(self, message: str, *, line: int, column: int = 1, text: str = "", path: str = "") -> None:
        self.message = message
        self.line = line
        self.column = column
        self.text = text
        self.path = path
        caret = f"\n  {text}\n  {' ' * (column - 1)}^" if text else ""
        where = f"{path}:{line}:{column}" if path else f"line {line}, column {column}"
        super().__init__(f"{where}: {message}{caret}")

    def in_file(self, path: str) -> AsmError:
        """The same error with the file's name."""
        return AsmError(self.message, line=self.line, column=self.column, text=self.text, path=path)


class ObjectError(BombusError):
    """An object file is well formed but cannot be used. `section`, `symbol` say where."""

    def __init__(self, message: str, *, section: str = "", symbol: str = "", path: str = "") -> None:
        self.message = message
        self.section = section
        self.symbol = symbol
        self.path = path
        where = ", ".join(f"{k} {v!r}" for k, v in (("section", section), ("symbol", symbol)) if v)
        super().__init__(f"{path + ': ' if path else ''}{message}{f' ({where})' if where else ''}")


class LinkError(ObjectError):
    """Object files cannot be linked together."""


class RelocationError(ObjectError):
    """A relocation (ELF or CO-RE) cannot be resolved."""


class NotSupported(BombusError):
    """bombus does not do this (yet). `feature` names it."""

    def __init__(self, feature: str, detail: str = "") -> None:
        self.feature = feature
        self.detail = detail
        super().__init__(f"{feature} is not supported{': ' + detail if detail else ''}")


class UsageError(BombusError):
    """The caller asked for something that makes no sense; the text says what to do instead."""


class KernelError(BombusError, OSError):
    """A kernel (user or Linux) refused a call.

    `errno` is the kernel's, `call` what was asked ("BPF_MAP_CREATE"), `log` the kernel's log if it
    wrote one, `hint` the likely cause in words.
    """

    def __init__(self, errno: int, call: str, message: str = "", *, log: str = "", hint: str = "") -> None:
        self.call = call
        self.message = message
        self.log = log
        self.hint = hint
        name = _errno.errorcode.get(errno, str(errno))
        OSError.__init__(self, errno, os.strerror(errno))
        text = f"{call}: {name} ({os.strerror(errno)})"
        if message:
            text += f": {message}"
        if hint:
            text += f"; {hint}"
        self.text = text

    def __str__(self) -> str:
        return f"{self.text}\n{self.log}" if self.log else self.text

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_kernel_error, (type(self), self.errno, self.call, self.message, self.log, self.hint))


def _rebuild_kernel_error(
    cls: type[KernelError], errno: int, call: str, message: str, log: str, hint: str
) -> KernelError:
    return cls(errno, call, message, log=log, hint=hint)


class LoadError(KernelError):
    """`BPF_PROG_LOAD` was refused. `log` is the verifier's.

    explainer: what works out `explanation`, from who knows the program.
    """

    explainer: Callable[[LoadError], Any] | None = None

    @functools.cached_property
    def explanation(self) -> Any:
        """What the log means (verifier.explain.Explanation: reason, source line, register, usual fix), as `bombus
        verify` says it. None where the log says nothing. Worked out when first asked for."""
        return self.explainer(self) if self.explainer is not None else None


class NeedsKernel(KernelError):
    """The chosen kernel is older than the feature. `feature` and `since` say which and from when."""

    def __init__(self, errno: int, call: str, *, feature: str, since: str, version: str) -> None:
        self.feature = feature
        self.since = since
        self.version = version
        super().__init__(errno, call, f"{feature} needs Linux {since}; this kernel is {version}")

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_needs_kernel, (self.errno, self.call, self.feature, self.since, self.version))


def _rebuild_needs_kernel(errno: int, call: str, feature: str, since: str, version: str) -> NeedsKernel:
    return NeedsKernel(errno, call, feature=feature, since=since, version=version)


class DialectError(BombusError):
    """A program in the Python dialect that is not correct.

    `diagnostics` are all that were found (compiler.diagnostics.Diagnostic: path, line, column, message, hint).
    """

    def __init__(self, diagnostics: tuple[Any, ...]) -> None:
        self.diagnostics = diagnostics
        super().__init__("\n".join(str(one) for one in diagnostics))


class CodegenError(BombusError):
    """LLVM refused a module or died over it. `log` is what it said."""

    def __init__(self, message: str, *, log: str = "") -> None:
        self.message = message
        self.log = log
        super().__init__(f"{message}\n{log}" if log else message)


class CompileError(BombusError):
    """A C compiler refused a program.

    `text` is what it said, as it said it; `diagnostics` the same as data (compiler.c.diagnostics.CDiagnostic: file,
    line, column, severity, message).
    """

    def __init__(self, text: str, diagnostics: tuple[Any, ...], *, compiler: str = "") -> None:
        self.text = text
        self.diagnostics = diagnostics
        self.compiler = compiler
        super().__init__(text.rstrip())


class VmFault(BombusError):
    """A running program did something it must not: `kind` says what, `insn` where.

    kinds: "load", "store", "atomic", "call", "opcode", "jump", "budget", "stack", "readonly", "helper",
    "register". place: file, line, column and text of the source, where they are known. owner: what a tail call had
    started, as its engine knows it.
    """

    def __init__(
        self, kind: str, message: str, *, insn: int = -1, address: int | None = None, size: int = 0, place: str = ""
    ) -> None:
        self.kind = kind
        self.message = message
        self.insn = insn
        self.address = address
        self.size = size
        self.place = place
        self.owner: object = None
        where = f"instruction {insn}: " if insn >= 0 else ""
        super().__init__(f"{where}{message}{chr(10) * bool(place)}{place}")
