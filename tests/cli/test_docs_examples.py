"""The examples of README.md and docs/ are run: every command and every block of Python, or a reason stands here.

Commands are lines that begin with "$ ", "# " or "bombus " in an indented or fenced block and hold no grammar ([ ],
{ }, |, words in capitals). They run in a folder with the page's own files (blocks whose first line is "# name.py"); the
lines below a command are looked for in what it writes, in order.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

# Commands that do not run here, by how they begin, and why.
ELSEWHERE = {
    "make demo": "makes an environment from a package index",
    "make test": "is this",
    "bombus -j batch file commands": "acts on maps of a running system",
    "bombus cgroup show /sys/fs/cgroup/app": "needs root and a cgroup",
    "bombus iter pin tasks.bpf.o": "needs root",
    "bombus link show": "shows a running system",
    "bombus map lookup name flows": "shows a running system",
    "bombus net attach xdp file": "needs root and an interface",
    "bombus net show dev eth1": "shows a running system",
    "bombus perf": "shows a running system",
    "bombus prog show name traffic": "shows a running system",
    "bombus profile": "needs root and a worker",
    "bombus struct_ops register": "needs root",
    "bombus trace": "needs root",
    "sudo bombus trace": "needs root",
    "bombus gen min_core_btf /sys": "reads the running kernel's types",
    "bombus gen vmlinux": "reads the running kernel's types",
    "bombus build filter.bpf.c": "needs clang and a program of the reader",
    "aarch64-linux-gnu-gcc": "needs a cross compiler",
    "clang -O2": "needs clang",
    "bombus verify count.bpf.o": "needs clang",
    "bombus verify xdpfilt": "needs a Debian package's objects",
}
# Blocks of Python that are not run, by how they begin, and why. Those of docs/dialect.md are parts, and looked at.
PARTS = {
    'with bombus.load("tool.bpf.o", "linux") as loaded, loaded.events("events") as events:': "needs root and a tool",
    'import bombus\n\nwith bombus.load("filter.bpf.o", "linux") as loaded:': "needs root and an interface",
    'import bombus\n\nwith bombus.load("tool.bpf.o", "linux") as loaded': "needs root and a tool",
    'with loaded.programs["tasks"].attach(pid=os.getpid()) as tasks:': "a part",
    'with bombus.load("ops.bpf.o", "linux") as loaded, loaded.struct_ops["mine"].attach() as link:': "needs root",
    'kernel = bombus.open_kernel("user:6.12")': "a part",
    'kernel.cgroups.mkdir("/web")': "a part",
    "item.update_arrays(keys, values)       # as many bytes an element as the map's keys and values have": "a part",
    "from bombus.kernel.user.runbatch import run_contexts, run_packets": "a part",
    "from bombus.jit.sandbox import Sandbox": "a part",
    "from bombus.compiler import c": "needs clang",
    "from bombus.errors import LoadError": "a part",
    "import socket": "needs root; the skeleton's own tests do the same",
}


@dataclass(frozen=True)
class Command:
    page: Path
    line: int
    text: str
    expected: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def code_lines(page: Path) -> list[tuple[int, str, str]]:
    """(number, text, language of the fence or "indent") of the lines of code of a page."""
    found, fence = [], ""
    lines = page.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        if line.startswith("```"):
            fence = "" if fence else line[3:] or "text"
        elif fence:
            found.append((number, line, fence))
        elif line.startswith("    "):
            if found and found[-1][0] == number - 2 and not lines[number - 2] and found[-1][2] == "indent":
                found.append((number - 1, "", "indent"))  # an empty line inside of a block
            found.append((number, line[4:], "indent"))
    return found


_PROGRAM = re.compile(r"(bombus|make|python|sudo|clang|head|aarch64\S+) ")
_GRAMMAR = re.compile(r"[\[\]{|]|\b[A-Z]{2,}\b")


def commands() -> list[Command]:
    found = []
    for page in PAGES:
        lines = code_lines(page)
        for at, (number, line, kind) in enumerate(lines):
            shown = re.match(r"(\$ |# )(?=[a-z-]+ )", line)
            text = line[shown.end() :] if shown else line
            if kind not in ("indent", "text") or not _PROGRAM.match(text):
                continue
            if not shown and (_GRAMMAR.search(text.partition("#")[0]) or text.startswith("bombus batch")):
                continue  # how a command is written
            expected = []
            for following, output, _kind in lines[at + 1 :]:
                if following != number + 1 + len(expected) or re.match(r"(\$ |# [a-z])", output) or not shown:
                    break
                expected.append(output)
            text = re.sub(r"\s{2,}# .*", "", text)
            found.append(Command(page, number, text, tuple(line for line in expected if line.strip() != "...")))
    return found


def python_blocks() -> list[tuple[Path, int, str]]:
    """Blocks of Python: fenced ones, and indented ones that begin with an import, a with or an assignment."""
    found: list[tuple[Path, int, str]] = []
    for page in PAGES:
        block: list[str] = []
        start = last = 0
        kind = ""
        for number, line, fence in [*code_lines(page), (1 << 30, "", "end")]:
            if block and (number != last + 1 or fence != kind):
                text = "\n".join(block)
                if kind == "python" or (kind == "indent" and re.match(r"(import|from|with|kernel|item)\b", text)):
                    found.append((page, start, text))
                block = []
            if not block:
                start = number
            if fence in ("python", "indent"):
                block.append(line)
            last, kind = number, fence
    return found


COMMANDS = commands()
BLOCKS = python_blocks()
FILE = re.compile(r"# (\w+\.py)\n")


def own_files(page: Path, folder: Path) -> None:
    """What a page's examples use."""
    (folder / "examples").symlink_to(ROOT / "examples")
    for where, _line, text in BLOCKS:
        named = FILE.match(text)
        if named is not None and where == page:
            (folder / named[1]).write_text(text.partition("\n")[2] + "\n")
    readme = next(text for where, _line, text in BLOCKS if where.name == "README.md")
    if not (folder / "count.py").exists():
        (folder / "count.py").write_text(readme + "\n")
    script = folder / "bin" / "bombus"
    script.parent.mkdir()
    main = "from bombus.cli.main import main; raise SystemExit(main())"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{main}" "$@"\n')
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for made in (script, python):
        made.chmod(0o755)


def run(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    path = f"{folder / 'bin'}:{os.environ.get('PATH', '')}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.run(["sh", "-c", text], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def even(text: str) -> str:
    """Without what differs from run to run: numbers of maps, times; columns may be wider."""
    return re.sub(r"[ \t]+", " ", re.sub(r"\bid:\d+|\d+ ?ns\b", "N", text))


def reason(text: str) -> str:
    return next((why for start, why in ELSEWHERE.items() if text.startswith(start)), "")


@pytest.mark.parametrize("command", [one for one in COMMANDS if not reason(one.text)], ids=str)
def test_command(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("llvmlite")
    own_files(command.page, tmp_path)
    if command.text.startswith("bombus gen object"):
        for name in ("one", "two"):
            text = (tmp_path / "count.py").read_text().replace("count", name).replace("packets", f"p{name}")
            (tmp_path / f"{name}.py").write_text(text)
            assert run(tmp_path, f"bombus build {name}.py -o {name}.bpf.o").returncode == 0
    done = run(tmp_path, command.text)
    assert done.returncode == 0, done.stderr
    rest = even(done.stdout)
    for line in command.expected:
        wanted = even(line).strip()
        assert wanted in rest, f"{wanted!r} is not in (the rest of) {rest!r}"
        rest = rest[rest.index(wanted) + len(wanted) :]


def test_every_reason_is_needed() -> None:
    unused = [start for start in ELSEWHERE if not any(one.text.startswith(start) for one in COMMANDS)]
    assert unused == []
    starts = {part for _page, _line, text in BLOCKS for part in (text, *parts_of(text))}
    assert [first for first in PARTS if not any(part.startswith(first) for part in starts)] == []


def parts_of(text: str) -> list[str]:
    """Pieces between empty lines that begin at the margin."""
    return re.split(r"\n\n+(?=\S)", text)


@pytest.mark.parametrize(
    ("page", "line", "text"),
    [block for block in BLOCKS if block[0].name != "dialect.md"],
    ids=[f"{page.name}:{line}" for page, line, _text in BLOCKS if page.name != "dialect.md"],
)
def test_python(page: Path, line: int, text: str, tmp_path: Path) -> None:
    """A block is a file of its own, or is run in pieces; pieces that cannot run here are at least Python."""
    ast.parse(text)
    named = FILE.match(text)
    own_files(page, tmp_path)
    if named is not None:
        if re.search(r"^@", text, re.M):
            pytest.importorskip("llvmlite")
            done = run(tmp_path, f"bombus verify {named[1]}")
            assert done.returncode == 0 and "accepted" in done.stdout, done.stdout + done.stderr
        return  # others run by the commands below them
    if page.name == "README.md" and "@xdp" in text:
        return  # the commands below it
    before = "import bombus\nframe = bytes(64)\n"
    whole = next((why for first, why in PARTS.items() if text.startswith(first)), "")
    runs = [part for part in parts_of(text) if not any(part.startswith(first) for first in PARTS)]
    if runs and not whole:
        (tmp_path / "part.py").write_text(before + "\n".join(runs))
        done = run(tmp_path, "python part.py")
        assert done.returncode == 0, done.stderr


def test_mypy_understands_the_tutorial(tmp_path: Path) -> None:
    """As a reader's own files, which know bombus as an installed package."""
    pytest.importorskip("mypy")
    own_files(ROOT / "docs" / "tutorial.md", tmp_path)
    options = f"--strict --no-error-summary --cache-dir {ROOT}/.mypy_cache"
    done = run(tmp_path, f"MYPYPATH={ROOT} python -m mypy {options} *.py")
    assert (done.returncode, done.stdout) == (0, "")


def test_the_tutorials_error(tmp_path: Path) -> None:
    page = ROOT / "docs" / "tutorial.md"
    own_files(page, tmp_path)
    shown = re.search(r"```\n(count\.py:.*?)```", page.read_text(), re.S)
    assert shown is not None
    path = tmp_path / "count.py"
    text = path.read_text().replace("    if slot is not None:\n        slot.value += 1\n", "    slot.value += 1\n")
    path.write_text(text)
    done = run(tmp_path, "bombus build count.py")
    assert done.returncode == 1 and done.stderr.startswith(shown[1])


@pytest.mark.parametrize(
    ("line", "text"), [(line, text) for page, line, text in BLOCKS if page.name == "dialect.md"],
    ids=[f"dialect.md:{line}" for page, line, _text in BLOCKS if page.name == "dialect.md"],
)  # fmt: skip
def test_words_of_the_language(line: int, text: str) -> None:
    """Parts of programs: each is Python, and the words of bombus.bpf in it are there."""
    from bombus import bpf
    from bombus.bpf import helpers
    from bombus.bpf import map as maps

    homes = {"bpf": bpf, "helpers": helpers, "map": maps}
    tree = ast.parse(text)
    missing = [
        ast.unparse(node) for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in homes
        and not hasattr(homes[node.value.id], node.attr)
    ]  # fmt: skip
    assert missing == []


def test_links_lead_somewhere() -> None:
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert broken == []


def test_python_is_here() -> None:
    assert shutil.which("sh")
    assert len(COMMANDS) > 30 and len(BLOCKS) > 25
