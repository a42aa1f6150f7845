"""C headers for libbpf: they compile without warnings, work, and lay everything out as bpftool's do."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from skeletons import ROOT

from bombus.cli.main import main

USER = """\
#include <stdio.h>
#include <bpf/bpf.h>
#include HEADER

int main(void)
{
	unsigned char frame[54] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 0xaa, 8, 0, 0x45, 0, 0, 0x28, 0, 0, 0, 0, 0x40, 6, 0, 0,
		0xc0, 0, 2, 1, 0xc0, 0, 2, 2, 0x12, 0x34, 0, 80};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame));
	struct traffic_bpf *skel = traffic_bpf__open();
	int port, round;

	for (round = 0; skel && round < 2; round++) {
		port = round ? 81 : 80;
		skel->rodata->blocked_port = port;
		if (traffic_bpf__load(skel))
			return 2;
		if (bpf_prog_test_run_opts(bpf_program__fd(skel->progs.traffic), &opts))
			return 3;
		printf("%d %u %llu %d\\n", port, opts.retval, (unsigned long long)skel->bss->seen, traffic_bpf__attach(skel));
		printf("%s %u\\n", bpf_map__name(skel->maps.flows), bpf_map__max_entries(skel->maps.flows));
		traffic_bpf__detach(skel);
		traffic_bpf__destroy(skel);
		skel = traffic_bpf__open();
	}
	traffic_bpf__destroy(skel);
	return 0;
}
"""


@pytest.fixture(scope="module")
def tools() -> None:
    if shutil.which("gcc") is None or not Path("/usr/include/bpf/libbpf.h").exists():
        pytest.skip("gcc or libbpf-dev is missing")


def header(tmp_path: Path, obj: Path, *options: str) -> Path:
    path = tmp_path / f"{obj.name}.skel.h"
    assert main(["gen", "skeleton", str(obj), "--lang", "c", "-o", str(path), *options]) == 0
    return path


def compiled(source: Path, *options: str) -> Path:
    out = source.with_suffix("")
    subprocess.run(["gcc", "-Wall", "-Wextra", "-Werror", *options, str(source), "-o", str(out), "-lbpf"], check=True)
    return out


@pytest.mark.usefixtures("tools")
def test_it_works(tmp_path: Path, linux_kernel: Any) -> None:
    path = header(tmp_path, ROOT / "examples/traffic.bpf.o")
    source = tmp_path / "user.c"
    source.write_text(USER.replace("HEADER", f'"{path}"'))
    done = subprocess.run([compiled(source)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["80 1 1 0", "flows 1024", "81 2 1 0", "flows 1024"]


def struct_of(text: str) -> list[str]:
    """The lines of the main struct, without blanks and structs that have no members."""
    found = re.search(r"^struct \w+ \{\n(.*?)\n(?:#ifdef|\};)", text, re.M | re.S)
    assert found is not None
    body = re.sub(r"struct \w+ \{\s*\} \*\w+;", "", found[1])
    return [line.strip() for line in body.splitlines() if line.strip()]


@pytest.mark.parametrize(
    "obj", [ROOT / "examples/traffic.bpf.o", *sorted(ROOT.glob("tests/object/data/inspect/[gp]*.bpf.o")),
            ROOT / "tests/object/data/features.bpf.o", ROOT / "tests/cli/data/packets.bpf.o"], ids=lambda obj: obj.name,
)  # fmt: skip
def test_members_are_those_of_bpftool(tmp_path: Path, obj: Path) -> None:
    try:
        done = subprocess.run(["bpftool", "gen", "skeleton", str(obj)], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as problem:
        pytest.skip(f"bpftool: {problem}")
    theirs = struct_of(done.stdout)
    mine = struct_of(header(tmp_path, obj).read_text())
    assert sorted(mine[:2]) == sorted(theirs[:2])  # skeleton and obj
    assert mine[2:] == theirs[2:]
    assert len(mine) > 4


@pytest.mark.usefixtures("tools")
def test_c_plus_plus(tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("g++ is missing")
    path = header(tmp_path, ROOT / "examples/traffic.bpf.o", "--name", "counter")
    source = tmp_path / "user.cc"
    source.write_text(f'#include "{path}"\nint main() {{ auto *s = counter::open(); counter::destroy(s); }}\n')
    subprocess.run(["g++", "-std=c++17", "-Wall", "-Werror", "-fsyntax-only", str(source)], check=True)


def test_options_of_python_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    obj = str(ROOT / "examples/traffic.bpf.o")
    for option in (["--object", "x.o"], ["--type", "event"], ["--all-types"]):
        assert main(["gen", "skeleton", obj, "--lang", "c", *option]) == 2
        assert "is for Python" in capsys.readouterr().err
