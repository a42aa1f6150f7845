"""Entry point of the command: `bombus`, `python -m bombus`.

A short command ends before the cycle collector has found anything, but importing makes enough objects to start it a
dozen times, and the interpreter's end walks over all of them again: together a tenth of `bombus --help`. So collections
are rare here, and what lives at the end is not looked through. Libraries must not do this, a process of our own may.
"""

from __future__ import annotations

import gc
import sys

_THRESHOLD = 50_000  # objects between two collections (700 by default)


def run() -> None:
    """Console script."""
    gc.set_threshold(_THRESHOLD)
    from bombus.cli.main import main

    code = main()
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    run()
