"""linux/bpf.h of our own beside the system's, and programs where the system has no headers at all."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bombus.btf.parse import Btf
from bombus.btf.types import Struct, Union
from bombus.compiler import c
from bombus.compiler.c import Options, command, toolchain
from bombus.compiler.headers import INCLUDE
from bombus.elf.read import Elf, read_elf
from bombus.object.read import read_object
from bombus.spec.ctxstructs import CONTEXT
from bombus.spec.uapi import ENUMERATIONS, STRUCTS

FOLDERS = ["/usr/include", "/tmp/linux-source-6.12/tools/include/uapi"]
# Ends of lists grow with the kernel.
GROWING = re.compile(r"^_*MAX_|_MAX_STATES$|_MAX_ID$")


def _compile(folder: str, text: str, room: Path) -> tuple[Elf | None, str]:
    tool = toolchain.find("clang")
    source = room / "x.c"
    source.write_text(text)
    line = [*tool.command, "-target", "bpfel", "-O2", "-g", "-c", "-w", "-ferror-limit=0", "-isystem", folder]
    for path in command.system_folders(tool):
        line += ["-idirafter", str(path)]
    done = subprocess.run([*line, str(source), "-o", str(room / "x.o")], capture_output=True, text=True, check=False)
    return (read_elf((room / "x.o").read_bytes()) if done.returncode == 0 else None), done.stderr


def _names(text: str) -> list[str]:
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    found = re.findall(r"^#define[ \t]+([A-Z_]\w+)[ \t]+\S", text, re.M)
    for body in re.findall(r"^enum\s*\w*\s*\{(.*?)^\}", text, re.M | re.S):
        body = re.sub(r"^#.*$", "", body, flags=re.M)
        found += re.findall(r"(?:^|,)\s*([A-Z_]\w*)\s*(?==|,|$)", body)
    return [name for name in dict.fromkeys(found) if "MAPPER" not in name and not name.startswith("__BPF_ENUM")]


def _values(folder: str, names: list[str], room: Path) -> dict[str, int]:
    """Value, size and sign of constants."""
    text = "#include <linux/bpf.h>\n" + "".join(
        f"const long long v_{n} = {n}; const long long s_{n} = sizeof({n}) * 2 + ((typeof({n}))-1 < 0);\n"
        for n in names
    )
    elf, error = _compile(folder, text, room)
    assert elf is not None, error
    found = {}
    for symbol in elf.symbols:
        if symbol.name[:2] in ("v_", "s_"):
            data = bytes(elf.sections[symbol.section].data) or bytes(1 << 16)
            found[symbol.name] = int.from_bytes(data[symbol.value : symbol.value + 8], "little")
    return found


def _layouts(folder: str, names: list[tuple[str, str]], room: Path) -> dict[str, Any]:
    """Members of structs: offset, bits, kind, by their paths."""
    text = "#include <linux/bpf.h>\n" + "".join(f"{kind} {name} v_{name};\n" for kind, name in names)
    elf, error = _compile(folder, text, room)
    assert elf is not None, error
    section = elf.section(".BTF")
    assert section is not None
    btf = Btf.parse(bytes(section.data))
    found = {}
    for _kind, name in names:
        for type_id in btf.find_all(name):
            if isinstance(btf.type(type_id), (Struct, Union)):
                found[name] = _members(btf, type_id, 0, "")
    return found


def _members(btf: Btf, type_id: int, base: int, prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    kind = btf.resolved(type_id)
    assert isinstance(kind, (Struct, Union))
    for member in kind.members:
        inner = btf.resolved(member.type)
        if isinstance(inner, (Struct, Union)) and not inner.name:
            path = f"{prefix}{member.name}." if member.name else prefix
            found |= _members(btf, member.type, base + member.offset, path)
        elif member.name:
            sign = getattr(inner, "signed", None), getattr(inner, "nelems", None), getattr(inner, "size", None)
            found[prefix + member.name] = (base + member.offset, member.bits, type(inner).__name__, sign)
    return found


@pytest.fixture(params=FOLDERS)
def theirs(request: pytest.FixtureRequest, clang: str) -> str:
    folder: str = request.param
    if not (Path(folder) / "linux" / "bpf.h").is_file():
        pytest.skip(f"no linux/bpf.h in {folder}")
    return folder


def test_constants_are_those_of_the_kernel(theirs: str, tmp_path: Path) -> None:
    names = [n for n in _names((Path(theirs) / "linux" / "bpf.h").read_text()) if not GROWING.search(n)]
    # A macro of the same name, or a type that was made unsigned later.
    names = [n for n in names if n not in ("BPF_F_LINK", "BPF_F_KPROBE_MULTI_RETURN")]
    assert len(names) > 350
    assert _values(str(INCLUDE), names, tmp_path) == _values(theirs, names, tmp_path)


def test_structs_are_those_of_the_kernel(theirs: str, tmp_path: Path) -> None:
    text = (Path(theirs) / "linux" / "bpf.h").read_text()
    names = re.findall(r"^(struct|union) (\w+) \{", text, re.M)
    assert len(names) > 40
    ours, kernel = (_layouts(folder, names, tmp_path) for folder in (str(INCLUDE), theirs))
    assert set(ours) == set(kernel)
    for name, members in kernel.items():
        mine = ours[name]
        # Parts that were nameless padding have names now.
        assert {path: mine.get(path) for path in members} == members, name


def test_rows_agree_with_each_other(clang: str, tmp_path: Path) -> None:
    """Sizes that rows say are sizes that the compiler sees."""
    elsewhere = ("pt_regs", "bpf_perf_event_data", "bpf_nf_ctx", "u32", "bpf_raw_tracepoint_args")
    rows = [(s.kind, s.name, s.size) for s in STRUCTS]
    rows += [("struct", x.name, x.size) for x in CONTEXT.values() if x.name not in elsewhere]
    text = "#include <linux/bpf.h>\n" + "".join(
        f'_Static_assert(sizeof({kind} {name}) == {size}, "{name}");\n' for kind, name, size in rows
    )
    for context in CONTEXT.values():
        if ("struct", context.name, context.size) in rows:
            text += "".join(
                f'_Static_assert(__builtin_offsetof(struct {context.name}, {m.name}) == {m.offset}, "{m.name}");\n'
                for m in context.members
            )
    elf, error = _compile(str(INCLUDE), text + "int x;\n", tmp_path)
    assert elf is not None, error
    names = [name for row in ENUMERATIONS for name, _value in row.values]
    assert len(names) == len(set(names))


PROGRAM = """\
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <linux/icmp.h>
#include <linux/pkt_cls.h>
#include <linux/stddef.h>
#include <linux/errno.h>
#include <linux/types.h>
#include <asm/types.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

SEC("xdp") int prog(struct xdp_md *ctx)
{
    void *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = (void *)(long)ctx->data;
    struct iphdr *ip = (void *)(eth + 1);
    struct tcphdr *tcp = (void *)(ip + 1);
    struct ipv6hdr *six = (void *)ip;
    struct icmphdr *icmp = (void *)tcp;

    if ((void *)(six + 1) > end || (void *)(tcp + 1) > end)
        return XDP_ABORTED;
    if (eth->h_proto == bpf_htons(ETH_P_IPV6))
        return six->version == 6 && six->nexthdr == IPPROTO_ICMPV6 ? six->saddr.s6_addr[3] : -EINVAL;
    if (ip->version != 4 || ip->ihl != 5 || ip->protocol != IPPROTO_TCP)
        return icmp->type == ICMP_ECHO ? icmp->un.echo.sequence : XDP_DROP;
    return tcp->syn && !tcp->ack && tcp->doff > 5 && tcp->window ? TC_ACT_SHOT : XDP_PASS + PACKET_OTHERHOST;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.mark.parametrize("target", ["bpfel", "bpfeb"])
def test_programs_need_no_headers_of_the_system(
    target: str, clang: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "prog.c"
    source.write_text(PROGRAM)
    with_system = c.build(str(source), Options(target=target))
    monkeypatch.setattr(command, "system_folders", lambda _tool: [])
    alone = c.build(str(source), Options(target=target, flags=["-nostdlibinc"]))
    assert not [name for name in alone.files if name.startswith("/usr/include")]
    code = [[(p.name, p.function.insns) for p in read_object(built.data).programs] for built in (with_system, alone)]
    assert code[0] == code[1]


def test_beside_vmlinux(kernel_types: str, clang: str, tmp_path: Path) -> None:
    """Headers of user space after vmlinux.h would define everything twice; ours add macros only."""
    source = tmp_path / "prog.c"
    source.write_text(
        '#include "vmlinux.h"\n#include <linux/types.h>\n#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n'
        'SEC("xdp") int prog(struct xdp_md *x) { return x->data == BPF_PSEUDO_CALL + XDP_PACKET_HEADROOM; }\n'
    )
    assert c.build(str(source), Options(btf=kernel_types)).data[:4] == b"\x7fELF"
