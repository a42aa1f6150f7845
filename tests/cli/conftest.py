"""Running the command line in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bombus.cli import output
from bombus.cli.main import main

HERE = Path(__file__).parent
EXAMPLES = HERE.parent.parent / "examples"


class Done(NamedTuple):
    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def bombus(capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run `bombus ARGS`."""

    def run(*args: object) -> Done:
        output.reset()
        capfd.readouterr()
        code = main([str(arg) for arg in args])
        captured = capfd.readouterr()
        output.reset()
        return Done(code, captured.out, captured.err)

    return run


@pytest.fixture
def traffic() -> Path:
    return EXAMPLES / "traffic.bpf.o"


@pytest.fixture
def capture() -> Path:
    return EXAMPLES / "traffic.pcap"


@pytest.fixture
def packets() -> Path:
    return HERE / "data" / "packets.bpf.o"
