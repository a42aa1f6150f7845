"""What docs/dialect.md shows first is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bombus.cli.main import main
from bombus.compiler.importing import import_file

DOCS = Path(__file__).parents[2] / "docs"
TRAFFIC = Path(__file__).parents[2] / "examples" / "traffic.pcap"


def first_program() -> str:
    found = re.search(r"```python\n(.*?)```", (DOCS / "dialect.md").read_text(), re.S)
    assert found is not None
    return found[1]


def test_the_first_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "count.py"
    path.write_text(first_program())
    module = import_file(str(path))
    assert int(module.count.run(bytes(12) + b"\x08\0" + bytes(46)).verdict) == 2
    assert main(["build", str(path)]) == 0
    assert (tmp_path / "count.o").read_bytes()[:4] == b"\x7fELF"
    for source in (path, tmp_path / "count.o"):
        assert main(["run", str(source), "--pcap", str(TRAFFIC)]) == 0
        assert "XDP_PASS" in capsys.readouterr().out


def test_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The message of the page, of the first program without its test for None."""
    text = first_program().replace("    if slot is not None:\n        slot.value += 1\n", "    slot.value += 1\n")
    monkeypatch.chdir(tmp_path)
    Path("count.py").write_text(text)
    assert main(["build", "count.py"]) == 1
    shown = re.search(r"```\n(count\.py:.*?)```", (DOCS / "dialect.md").read_text(), re.S)
    assert shown is not None
    assert capsys.readouterr().err.startswith(shown[1])


def test_modules_beside_a_program(tmp_path: Path) -> None:
    """ "Any annotated function of the file or of an imported module can be called" """
    (tmp_path / "parts_of_docs.py").write_text(
        "from __future__ import annotations\n\nfrom bombus.bpf import u32\n\n\n"
        "def twice(x: u32) -> u32:\n    return x * 2\n"
    )
    (tmp_path / "prog.py").write_text(
        "from __future__ import annotations\n\nfrom parts_of_docs import twice\n\nfrom bombus.bpf import xdp\n\n\n"
        "@xdp\ndef prog(ctx: xdp.Context) -> xdp.Action:\n"
        "    return xdp.TX if twice(ctx.length) == 120 else xdp.DROP\n"
    )
    module = import_file(str(tmp_path / "prog.py"))
    assert [int(module.prog.run(bytes(size)).verdict) for size in (60, 61)] == [3, 1]
    assert main(["build", str(tmp_path / "prog.py")]) == 0
