"""Names of kernel addresses, from /proc/kallsyms."""

from __future__ import annotations

from collections.abc import Collection

from bombus.errors import KernelError


def names_of(addresses: Collection[int]) -> dict[int, str]:
    """The symbol at each address that has one. Empty where the kernel hides addresses (kptr_restrict)."""
    wanted = {f"{address:016x}": address for address in addresses if address}
    found: dict[int, str] = {}
    if not wanted:
        return found
    try:
        with open("/proc/kallsyms") as file:
            for line in file:
                address = wanted.get(line[:16])
                if address is not None:
                    found.setdefault(address, line.split()[2])
    except OSError as error:
        raise KernelError(error.errno or 0, "/proc/kallsyms", str(error)) from None
    return found
