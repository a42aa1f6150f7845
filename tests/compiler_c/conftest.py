"""C compilers, which may be absent, and the header that they would all wait for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bombus.compiler.c import toolchain
from bombus.compiler.c.vmlinux import RUNNING
from bombus.errors import BombusError

BTF = Path(RUNNING)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is left in the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def compiler() -> Callable[[str], str]:
    """`compiler("clang")`: the same name; skips when it is not installed."""

    def need(name: str) -> str:
        try:
            toolchain.find(name)
        except BombusError as error:
            pytest.skip(str(error))
        return name

    return need


@pytest.fixture(scope="session")
def clang(compiler: Callable[[str], str]) -> str:
    return compiler("clang")


@pytest.fixture(scope="session")
def kernel_types(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Small BTF that stands for a kernel's: made by the compiler from a few structs; path of an object."""
    try:
        tool = toolchain.find("clang")
    except BombusError as error:
        pytest.skip(str(error))
    room = tmp_path_factory.mktemp("types")
    source = room / "types.c"
    source.write_text(TYPES)
    done = subprocess.run(
        [*tool.command, "-target", "bpf", "-g", "-O2", "-c", str(source), "-o", str(room / "types.o")],
        capture_output=True, text=True, env={**os.environ}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return str(room / "types.o")


TYPES = """\
typedef unsigned char __u8; typedef unsigned short __u16; typedef unsigned int __u32; typedef unsigned long long __u64;
typedef signed char __s8; typedef short __s16; typedef int __s32; typedef long long __s64;
typedef __u8 u8; typedef __u16 u16; typedef __u32 u32; typedef __u64 u64; typedef _Bool bool; typedef int pid_t;
typedef __u16 __be16; typedef __u32 __be32; typedef __u64 __be64; typedef __u32 __wsum; typedef __u16 __sum16;
enum bpf_map_type { BPF_MAP_TYPE_UNSPEC, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_RINGBUF = 27 };
enum { BPF_ANY, BPF_NOEXIST, BPF_EXIST };
enum level { LOW = 1, HIGH = 7 };
struct pt_regs {
    unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};
struct mm_struct { unsigned long start; struct task_struct *owner; };
struct task_struct {
    int pid, tgid; struct task_struct *real_parent; struct mm_struct *mm; unsigned int in_execve : 1, frozen : 2;
    char comm[16]; enum level level;
};
struct xdp_md { __u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex; };
struct bpf_iter_num { __u64 opaque[1]; };
struct pair { long a, b; };
enum bpf_map_type e1; struct pt_regs r; struct task_struct t; struct xdp_md x; struct bpf_iter_num n; struct pair p;
__u8 a1; __s8 a2; u8 b1; u16 b2; u32 b3; u64 b4; bool b5; pid_t b6; __be16 c1; __be32 c2; __be64 c3; __wsum c4;
__sum16 c5; __s16 d1; __s64 d2; __s32 d3; int e2 = BPF_ANY;
__attribute__((used)) int use(void) { return (int)BPF_EXIST + (int)HIGH; }
"""
