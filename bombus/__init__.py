"""bombus: the whole BPF stack in one Python package.

`bombus.load` opens an object on a kernel; everything heavy is imported when first used.
"""

from __future__ import annotations

__version__ = "0.1.0"
