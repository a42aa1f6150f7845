"""The program that lets several XDP programs share an interface, as libxdp and its tools know it.

It calls the functions prog0, prog1, ... one after the other; programs of the type EXT are put in their place. A
read-only map says how many there are, which answers of each let the next one run, and each one's priority. All is
pinned in DIRECTORY of a bpf file system: dispatch-IFINDEX-ID/progN-prog and progN-link, ID being the dispatcher's; who
changes that holds an exclusive flock(2) of the directory.

Source: xdp-tools lib/libxdp/protocol.org (version 2 of the dispatcher).
"""

from __future__ import annotations

import struct
from typing import Final

NAME: Final = "xdp_dispatcher"
DIRECTORY: Final = "xdp"
BPFFS_VARIABLE: Final = "LIBXDP_BPFFS"  # names another bpf file system than /sys/fs/bpf
MAGIC: Final = 236
VERSION: Final = 2
SLOTS: Final = 10
CONTINUE: Final = 31  # what a function answers whose program is gone; it always lets the next one run
DEFAULT_PRIORITY: Final = 50
# enum xdp_action
ACTIONS: Final = ("aborted", "drop", "pass", "tx", "redirect")
DEFAULT_ACTIONS: Final = ("pass",)
RUN_CONFIG: Final = ".xdp_run_config"  # the section of objects that says priority and actions of each program
METADATA: Final = "xdp_metadata"
VERSION_VARIABLE: Final = "dispatcher_version"
# struct xdp_dispatcher_config: magic, version, number of programs, frags; actions, priorities and flags of each
CONFIG_STRUCT: Final = "xdp_dispatcher_config"
CONFIG: Final = struct.Struct(f"=4B{SLOTS}I{SLOTS}I{SLOTS}I")
COUNT_OFFSET: Final = 2
ACTIONS_OFFSET: Final = 4
CONFIG_BYTES: Final = ("magic", "dispatcher_version", "num_progs_enabled", "is_xdp_frags")
CONFIG_ARRAYS: Final = ("chain_call_actions", "run_prios", "program_flags")


def slot(number: int) -> str:
    """The name of a function that a program replaces, and of its pins."""
    return f"prog{number}"
