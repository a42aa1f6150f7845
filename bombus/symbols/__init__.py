"""Names of code addresses: of the kernel, of processes and of what their JITs tell."""

from __future__ import annotations

from bombus.symbols.model import Frame
from bombus.symbols.resolve import Symbols

__all__ = ["Frame", "Symbols"]
