"""What a kernel can do, found out by trying it once, when somebody needs to know.

A version says little about a kernel that a distribution has patched. The questions are those of libbpf, and go to
Linux and to the user kernel alike. Source: Linux 6.12 tools/lib/bpf/features.c, behaviour.
"""

from __future__ import annotations

import errno
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from bombus.errors import BombusError, KernelError, NotSupported
from bombus.isa import build as b
from bombus.isa import opcodes as op
from bombus.isa.insn import Insn, encode
from bombus.kernel.api import Attr, Kernel
from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.spec.maptypes import BPF_F_MMAPABLE, MAP_TYPE
from bombus.spec.progtypes import PROG_TYPE

if TYPE_CHECKING:
    from bombus.btf.types import Type

_ARRAY = MAP_TYPE["BPF_MAP_TYPE_ARRAY"].id
# include/uapi/linux/bpf.h: enum bpf_func_id
_PROBE_READ_KERNEL, _GET_ATTACH_COOKIE = 113, 174
_RETURN_0 = (b.mov(0, 0), b.exit_())
# These say something of the moment, nothing of the kernel: who asks gets the error, and the next one asks again.
_MOMENTARY: Final = frozenset({errno.EAGAIN, errno.EINTR, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_known: weakref.WeakKeyDictionary[Kernel, Features] = weakref.WeakKeyDictionary()


def features(kernel: Kernel) -> Features:
    """What is known of a kernel; the same object each time."""
    found = _known.get(kernel)
    if found is None:
        found = _known[kernel] = Features(kernel)
    return found


class Features:
    """Answers, each asked for once. `has` takes a key of PROBES, or "btf_" and a key of spec.btfkinds.KIND_SINCE."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = weakref.ref(kernel)
        self._answers: dict[str, bool] = {}

    def has(self, name: str) -> bool:
        found = self._answers.get(name)
        if found is None:
            found = self._answers[name] = self._ask(name)
        return found

    def _ask(self, name: str) -> bool:
        kernel = self._kernel()
        if kernel is None:
            raise NotSupported("asking a kernel that is gone")
        kind = name.removeprefix("btf_").upper() if name.startswith("btf_") else ""
        return _takes_btf(kernel, _types(kind)) if kind else PROBES[name](kernel)


def _opened(kernel: Kernel, attr: Attr) -> int | None:
    """The descriptor that a call returns, None when the kernel refuses it. KernelError for what may pass."""
    try:
        return kernel.bpf(attr)
    except BombusError as error:
        if isinstance(error, KernelError) and error.errno in _MOMENTARY:
            raise
        return None


def _made(kernel: Kernel, attr: Attr) -> bool:
    fd = _opened(kernel, attr)
    if fd is not None:
        kernel.close(fd)
    return fd is not None


def _load_attr(kind: str, insns: tuple[Insn, ...], **fields: int | str) -> Attr:
    code = encode(insns)
    return Attr("BPF_PROG_LOAD", prog_type=PROG_TYPE[f"BPF_PROG_TYPE_{kind}"].id, insns=code,
                insn_cnt=len(code) // 8, license=b"GPL\0", **fields)  # fmt: skip


def _loads(kernel: Kernel, kind: str, insns: tuple[Insn, ...], **fields: int | str) -> bool:
    return _made(kernel, _load_attr(kind, insns, **fields))


def _array(**fields: int | str) -> Attr:
    return Attr("BPF_MAP_CREATE", map_type=_ARRAY, key_size=4, value_size=32, max_entries=1, **fields)


def _global_data(kernel: Kernel) -> bool:
    fd = _opened(kernel, _array())
    if fd is None:
        return False
    try:
        value = (Insn(op.LD_IMM64, 1, op.BPF_PSEUDO_MAP_VALUE, 0, fd), Insn(0, 0, 0, 0, 16))
        return _loads(kernel, "SOCKET_FILTER", (*value, b.st("u64", 1, 0, 42), *_RETURN_0))
    finally:
        kernel.close(fd)


def _probe_read(kernel: Kernel) -> bool:
    code = (b.mov(1, b.FP), b.add(1, -8), b.mov(2, 8), b.mov(3, 0), b.call(_PROBE_READ_KERNEL), *_RETURN_0)
    return _loads(kernel, "TRACEPOINT", code)


def _perf_link(kernel: Kernel) -> bool:
    """A link without an event: a kernel that has such links looks for the event first."""
    program = _opened(kernel, _load_attr("TRACEPOINT", _RETURN_0))
    if program is None:
        return False
    attr = Attr("BPF_LINK_CREATE", prog_fd=program, attach_type=ATTACH_TYPE["BPF_PERF_EVENT"].id)
    attr.set("target_fd", 0xFFFF_FFFF)
    try:
        kernel.close(kernel.bpf(attr))
    except KernelError as error:
        if error.errno in _MOMENTARY:
            raise
        return error.errno == errno.EBADF
    except NotSupported:
        return False
    finally:
        kernel.close(program)
    return False


PROBES: Final[dict[str, Callable[[Kernel], bool]]] = {
    "prog_name": lambda kernel: _loads(kernel, "SOCKET_FILTER", _RETURN_0, prog_name="test"),
    "map_name": lambda kernel: _made(kernel, _array(map_name="test")),
    "global_data": _global_data,
    "array_mmap": lambda kernel: _made(kernel, _array(map_flags=BPF_F_MMAPABLE)),
    "exp_attach_type": lambda kernel: _loads(
        kernel, "CGROUP_SOCK", _RETURN_0, expected_attach_type=ATTACH_TYPE["BPF_CGROUP_INET_SOCK_CREATE"].id
    ),
    "probe_read_kernel": _probe_read,
    "bpf_cookie": lambda kernel: _loads(kernel, "TRACEPOINT", (b.call(_GET_ATTACH_COOKIE), b.exit_())),
    "perf_link": _perf_link,
}


def _takes_btf(kernel: Kernel, types: list[Type]) -> bool:
    from bombus.btf.build import Builder

    builder = Builder()
    for type_ in types:
        builder.add(type_)
    data = builder.build().raw
    return _made(kernel, Attr("BPF_BTF_LOAD", btf=data, btf_size=len(data)))


def _types(kind: str) -> list[Type]:
    """The least BTF that has a kind. KeyError for one that is not known."""
    from bombus.btf import types as t

    int_ = t.Int("int", 4, t.INT_SIGNED)
    function = t.FuncProto(0, (t.Param("a", 1),))
    variable = t.Var("x", 1)
    section = t.DataSec("x", 4, (t.SecVar(2, 0, 4),))
    found: dict[str, list[Type]] = {
        "INT": [int_],
        "FUNC": [int_, function, t.Func("x", 2)],
        "FUNC_GLOBAL": [int_, function, t.Func("x", 2, t.GLOBAL)],
        "VAR": [int_, variable, section],
        "DATASEC": [int_, variable, section],
        "FLOAT": [t.Float("float", 4)],
        "DECL_TAG": [int_, variable, t.DeclTag("tag", 2)],
        "TYPE_TAG": [int_, t.TypeTag("tag", 1), t.Ptr(2)],
        "ENUM64": [t.Enum64("x", 8, (t.Enumerator("y", 0),))],
        "ENUM_SIGN": [t.Enum("x", 4, (t.Enumerator("y", -1),), signed=True)],
    }
    return found[kind]
