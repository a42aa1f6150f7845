"""The verifier: what a kernel says of a program, without the kernel."""

from __future__ import annotations

from typing import Final

from bombus.spec.version import since

OLDEST: Final = since("6.1")
"""The first Linux whose verifier is modelled."""
