"""Skeletons of the objects that tests use, generated into a folder that can be imported and checked by mypy."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from skeletons import HERE, ROOT, imported

from bombus.object.read import read_object
from bombus.skeleton.generate import skeleton


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With traffic_skel.py and, where llvmlite is installed, shapes_skel.py and enter_skel.py."""
    made = tmp_path_factory.mktemp("skeletons")
    data = (ROOT / "examples/traffic.bpf.o").read_bytes()
    (made / "traffic_skel.py").write_text(skeleton(read_object(data, name="traffic"), data, types=["struct event"]))
    if importlib.util.find_spec("llvmlite") is not None:
        from bombus.compiler.build import build_file

        for name in ("shapes", "enter"):
            data = build_file(str(HERE / f"data/{name}.py"))
            (made / f"{name}_skel.py").write_text(skeleton(read_object(data, name=name), data))
    return made


@pytest.fixture(scope="session")
def traffic(folder: Path) -> ModuleType:
    return imported(folder / "traffic_skel.py")


@pytest.fixture(scope="session")
def shapes(folder: Path) -> ModuleType:
    pytest.importorskip("llvmlite")
    return imported(folder / "shapes_skel.py")
