"""Output of iterator programs as rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bombus.cli import output
from bombus.cli.main import main
from bombus.errors import FormatError
from bombus.kernel.handles import Link, Map
from bombus.kernel.handles.iterators import read_array, read_records, read_table, table_of
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.events import named
from bombus.loader.load import Loaded, load
from bombus.object.read import open_object

OBJECT = Path(__file__).parent / "data" / "iterators.bpf.o"


@pytest.fixture
def loaded(linux_kernel: LinuxKernel) -> Loaded:
    return load(open_object(str(OBJECT)), linux_kernel)


def test_rows(linux_kernel: LinuxKernel, loaded: Loaded) -> None:
    with loaded, Map.create(linux_kernel, "array", 4, 4, 123) as item:
        links = loaded.attach()
        records, lines = links["records"], links["lines"]
        assert isinstance(records, Link) and isinstance(lines, Link)
        layout = named(loaded.obj.btf, "struct row").layout
        rows = read_records(records, layout)
        assert {"id": item.id, "entries": 123} in rows
        array = read_array(records, layout)
        assert (array["entries"][array["id"] == item.id] == [123]).all() and len(array) >= 2
        table = read_table(lines)
        assert {"ID": str(item.id), "ENTRIES": "123", "NOTE": "two words"} in table
        with pytest.raises(FormatError, match="whole number"):
            read_records(lines, named(loaded.obj.btf, "struct long_one { char text[1048576]; }").layout)


def test_table() -> None:
    assert table_of([]) == [] and table_of(["A B"]) == []
    assert table_of(["A B", "", "1", "1 2 3"]) == [{"A": "1", "B": ""}, {"A": "1", "B": "2 3"}]


@pytest.mark.linux
def test_trace_prints_iterators(linux_kernel: LinuxKernel, capfd: pytest.CaptureFixture[str]) -> None:
    output.reset()
    with Map.create(linux_kernel, "array", 4, 4, 321) as item:
        try:
            assert main(["trace", str(OBJECT), "--prog", "lines"]) == 0
            assert f"{item.id} 321 two words" in capfd.readouterr().out.splitlines()
            assert main(["trace", str(OBJECT), "-j"]) == 0
        finally:
            output.reset()
        rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
        assert {"iterator": "lines", "row": f"{item.id} 321 two words"} in rows
        assert {"iterator": "records", "event": {"id": item.id, "entries": 321}} in rows
