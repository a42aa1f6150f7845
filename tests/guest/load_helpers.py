"""In the guest: programs that call helpers which this machine's kernel refuses, loaded one by one."""

from __future__ import annotations

import json
from pathlib import Path

from bombus.errors import BombusError
from bombus.kernel.linux.kernel import LinuxKernel
from bombus.loader.load import load
from bombus.object.read import open_object

HERE = Path(__file__).parent


def test_helpers() -> None:
    names = json.loads((HERE / "helpers.json").read_text())
    obj, kernel = open_object(HERE / "helpers.o"), LinuxKernel()
    failed = []
    for name, program in names.items():
        try:
            load(obj, kernel, programs=[program]).close()
        except BombusError as error:
            failed.append(f"{name}: {str(error)[-600:]}")
    assert not failed, "\n".join(failed)
