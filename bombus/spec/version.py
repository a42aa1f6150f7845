"""Kernel versions: ordered, hashable, parsed from "6.12", "v5.15.3" or `uname -r` text."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from bombus.errors import UsageError


class KernelVersion(NamedTuple):
    """A Linux version. Compare with < and >=; `str()` drops a zero patch level."""

    major: int
    minor: int
    patch: int = 0

    @classmethod
    def parse(cls, text: str) -> KernelVersion:
        """Read a version from text such as "5.15", "v6.1.0" or "6.12.117+deb12-cloud-amd64".

        Raises UsageError when the text does not begin with a version.
        """
        match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", text)
        if match is None:
            raise UsageError(f"{text!r} is not a kernel version; write it as 5.15 or 6.12.3")
        return cls(int(match[1]), int(match[2]), int(match[3] or 0))

    @property
    def code(self) -> int:
        """LINUX_VERSION_CODE."""
        return self.major << 16 | self.minor << 8 | min(self.patch, 255)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}" + (f".{self.patch}" if self.patch else "")


@cache
def since(text: str) -> KernelVersion:
    """Short spelling for the `since` column of spec rows."""
    return KernelVersion(*map(int, text.split(".")))
