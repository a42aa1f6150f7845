"""Everything about the package stands in pyproject.toml; this adds one choice.

    BOMBUS_COMPILE=1 pip install .

compiles the hot modules ahead of time with mypyc (a C compiler is needed; mypy is fetched for the build). Without it
the package is pure Python. What is compiled behaves the same: the same tests run on both forms.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from setuptools import setup

# Folders and files whose modules are compiled together. They are plain, fully annotated Python.
HOT = ("bombus/bits.py", "bombus/verifier")
# What callers make and take apart: dataclasses that are pickled and replaced.
PLAIN = tuple(
    f"bombus/verifier/{name}.py"
    for name in ("__init__", "program", "explain", "explain_rule", "explain_table", "explain_types", "stats")
)
MYPY = "mypy>=1.11"
# The build has mypy but none of what the package imports; modules that are only imported are not reported on.
FLAGS = ("--ignore-missing-imports", "--follow-imports=silent")


def sources() -> list[str]:
    found: list[str] = []
    for name in HOT:
        path = Path(name)
        found += [path.as_posix()] if path.is_file() else sorted(file.as_posix() for file in path.glob("*.py"))
    return [name for name in found if name not in PLAIN]


def compiled() -> dict[str, object]:
    """What setup() is told when BOMBUS_COMPILE is set."""
    try:
        from mypyc.build import mypycify
    except ImportError:
        # The first of two runs of an isolated build only asks what the build needs.
        if {"egg_info", "dist_info"} & set(sys.argv):
            return {"setup_requires": [MYPY]}
        raise SystemExit("BOMBUS_COMPILE=1 needs mypy to build") from None
    return {"setup_requires": [MYPY], "ext_modules": mypycify([*FLAGS, *sources()], opt_level="3", debug_level="0")}


setup(**(compiled() if os.environ.get("BOMBUS_COMPILE", "0") not in ("", "0") else {}))
