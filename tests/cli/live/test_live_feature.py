"""`bombus feature probe`: beside bpftool on Linux, and beside the spec on both kernels."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from beside import Beside, theirs

from bombus.cli.probing import _NOISY, find
from bombus.loader.probe import _ATTACH, NO_HELPERS
from bombus.spec.attachtypes import ATTACH_TYPE
from bombus.spec.helpers import HELPERS, allowed
from bombus.spec.maptypes import MAP_TYPES
from bombus.spec.progtypes import PROG_TYPES

# What bpftool 7.1 does not know.
NEWER = {
    "have_netfilter_prog_type", "have_cgrp_storage_map_type", "have_arena_map_type", "have_v4_isa_extension",
    "netfilter_available_helpers",
}  # fmt: skip

# Probes whose answer is not what the spec says of the kernel's version, and why. Everything else must agree.
FENTRY = "the probe asks for fentry, which this kernel refuses with EPERM; tp_btf and iterators load"
REASONS_LINUX = {
    ("prog_type", "lirc_mode2"): "CONFIG_BPF_LIRC_MODE2 is off",
    ("prog_type", "tracing"): FENTRY,
    ("prog_type", "ext"): "programs that replace others are refused here with EPERM",
    ("prog_type", "lsm"): "BPF LSM is off: EPERM",
    ("kprobe", "bpf_override_return"): "CONFIG_BPF_KPROBE_OVERRIDE is off",
    ("syscall", "bpf_d_path"): "the verifier says 'not allowed in probe', which is no word for a missing helper",
    ("syscall", "bpf_sk_storage_get"): "the same",
    ("syscall", "bpf_sk_storage_delete"): "the same",
}
NO_BTF = "the user kernel takes no programs that attach by BTF"
REASONS_USER = {
    ("prog_type", "tracing"): NO_BTF, ("prog_type", "ext"): NO_BTF, ("prog_type", "lsm"): NO_BTF,
    ("prog_type", "struct_ops"): NO_BTF, ("map_type", "struct_ops"): NO_BTF,
    ("*", "bpf_get_current_task_btf"): "its verifier knows no such pointers, and says so before the version",
}  # fmt: skip


@functools.cache
def _bpftool() -> Any:
    return json.loads(theirs("-j", "feature", "probe").stdout)


@pytest.mark.linux
@pytest.mark.debian
def test_json_is_bpftools(beside: Beside) -> None:
    ours = beside.bombus("-j", "feature", "probe").json()
    other = _bpftool()
    assert list(ours) == list(other)
    for section in ours:
        if section != "helpers":
            extra = ours[section].keys() - other[section].keys()
            assert extra <= NEWER and {k: v for k, v in ours[section].items() if k not in extra} == other[section]
    for name, helpers in other["helpers"].items():
        mine = ours["helpers"][name]
        # bpftool 7.1 does not know what verifiers of today say of a helper that a type may not call (it looks for
        # "unknown func"), and takes all helpers for available. Then ours are fewer, else the same.
        assert set(mine) - {"bpf_cgrp_storage_get", "bpf_cgrp_storage_delete"} <= set(helpers)
        assert [h for h in helpers if h in mine] == [h for h in mine if h in helpers]
        assert bool(mine) == bool(helpers)


@pytest.mark.linux
@pytest.mark.debian
@pytest.mark.parametrize("words", [(), ("kernel",), ("macros",), ("kernel", "macros", "prefix", "X_")])
def test_text_is_bpftools(beside: Beside, words: tuple[str, ...]) -> None:
    ours = beside.bombus("feature", "probe", *words).out.splitlines()
    other = theirs("feature", "probe", *words).stdout.splitlines()

    def rest(lines: list[str]) -> list[str]:
        skip = ("\t- bpf_", "\tCould not determine", "\tProgram type not supported")
        newer = ("cgrp_storage", "netfilter", "arena", "V4_ISA", "ISA extension v4")
        newer += tuple(word.upper() for word in newer[:3])
        kept = [x for x in lines if not x.startswith(skip) and "__HELPER_bpf_" not in x]
        return [x for x in kept if not any(word in x for word in newer)]

    assert [x for x in rest(ours) if x] == [x for x in rest(other) if x]
    if "macros" in words:
        prefix = "X_" if "prefix" in words else ""
        assert f"#define {prefix}BPF__PROG_TYPE_xdp__HELPER_bpf_redirect 1" in ours
        assert f"#define {prefix}BPF__PROG_TYPE_xdp__HELPER_bpf_sk_storage_get 0" in ours


@pytest.mark.linux
@pytest.mark.debian
def test_without_privileges(beside: Beside) -> None:
    done = beside.bombus("-j", "feature", "probe", "unprivileged")
    assert done.code == 0, done
    assert not any(done.json()["program_types"].values()) or beside.pids
    other = theirs("-j", "feature", "probe", "unprivileged")
    if other.returncode == 0:
        for section in ("program_types", "map_types"):
            ours = {k: v for k, v in done.json()[section].items() if k not in NEWER}
            assert ours == json.loads(other.stdout)[section]
    # We have not lost ours.
    assert beside.bombus("-j", "feature", "probe").code == 0


def _expected(kernel: Any) -> dict[tuple[str, str], bool]:
    found = {("prog_type", row.short): row.since <= kernel.version for row in PROG_TYPES if row.id}
    found |= {("map_type", row.short): row.since <= kernel.version for row in MAP_TYPES if row.id}
    for row in PROG_TYPES:
        if not row.id or row.name in NO_HELPERS:
            continue
        attach = _ATTACH.get(row.name) or row.default_attach
        number = ATTACH_TYPE[attach].id if attach else 0
        for helper in HELPERS:
            if helper.name not in _NOISY:
                there = row.since <= kernel.version and allowed(helper.name, row.id, number, kernel.version)
                found[row.short, f"bpf_{helper.name}"] = there
    return found


def _probed(kernel: Any) -> dict[tuple[str, str], bool]:
    answers = find(kernel)
    found = {("prog_type", name): there for name, there in answers["program_types"].items()}
    found |= {("map_type", name): there for name, there in answers["map_types"].items()}
    for row in PROG_TYPES:
        if row.id and row.name not in NO_HELPERS:
            for helper in HELPERS:
                if helper.name not in _NOISY:
                    found[row.short, f"bpf_{helper.name}"] = f"bpf_{helper.name}" in answers["helpers"][row.short]
    return found


def _compare(kernel: Any, reasons: dict[tuple[str, str], str]) -> None:
    expected, probed = _expected(kernel), _probed(kernel)
    assert expected.keys() == probed.keys()
    off = {name for kind, name in reasons if kind == "prog_type"}
    wrong = {
        key: f"the spec says {expected[key]}, the probe {probed[key]}"
        for key in expected
        if expected[key] != probed[key] and key not in reasons and key[0] not in off
        and ("*", key[1]) not in reasons
    }
    assert not wrong
    return


@pytest.mark.linux
def test_the_spec_knows_this_kernel(linux_kernel: Any) -> None:
    """Every type and every helper of every type: yes where the spec says yes, or a reason why not."""
    _compare(linux_kernel, REASONS_LINUX)


@pytest.mark.parametrize("version", ["5.4"])
def test_the_user_kernel_answers_as_its_version(version: str) -> None:
    from bombus.kernel.user.kernel import UserKernel

    _compare(UserKernel(version), REASONS_USER)


def test_the_verb_on_the_user_kernel(bombus: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bombus.spec.helpers.HELPERS", HELPERS[:4])
    found = bombus("-j", "feature", "probe", "--kernel", "user:5.4").json()
    assert found["program_types"]["have_xdp_prog_type"] and not found["program_types"]["have_sk_lookup_prog_type"]
    assert found["map_types"]["have_hash_map_type"] and not found["map_types"]["have_ringbuf_map_type"]
    assert "bpf_map_lookup_elem" in found["helpers"]["xdp_available_helpers"]


def test_answers_are_kept(linux_kernel: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from bombus.cli import probing

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("BOMBUS_CACHE", raising=False)
    monkeypatch.setattr("bombus.kernel.linux.cache._known", {})
    calls = []
    monkeypatch.setattr(probing, "find", lambda *args: calls.append(args) or {"syscall": True})
    for refresh in (False, False, True):
        assert probing._ask(linux_kernel, 0, False, False, refresh) == {"syscall": True}
    assert len(calls) == 2 and list(tmp_path.rglob("probe.json"))


@pytest.mark.debian
def test_builtin_names(bombus: Callable[..., Any]) -> None:
    for group in ("prog_types", "map_types", "attach_types", "link_types", "helpers"):
        ours = bombus("feature", "list_builtins", group).out.split()
        done = theirs("feature", "list_builtins", group)
        if done.returncode == 0:
            other = done.stdout.split()
            start = 1 if group == "helpers" and other[0] in ("bpf_unspec", "unspec") else 0
            assert ours[: len(other) - start] == other[start:], group


@pytest.mark.parametrize(
    "words, text",
    [
        (("kernel", "kernel"), "already specified"),
        (("prefix", "X"), "only be used after 'macros'"),
        (("macros", "prefix"), "PREFIX is missing"),
        (("frob",), "expected 'kernel'"),
        (("dev",), "a device is missing"),
        (("dev", "nodev0"), "no network device"),
        (("unprivileged", "--kernel", "user"), "for the running kernel"),
        (("--kernel", "martian"), "no kernel 'martian'"),
    ],
)  # fmt: skip
def test_refusals(bombus: Callable[..., Any], words: tuple[str, ...], text: str) -> None:
    done = bombus("feature", "probe", *words)
    assert done.code == 2 and text in done.err
