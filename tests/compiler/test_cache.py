"""The cache of objects: a hit means the same object, and whatever changes the object is a miss."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bombus.cli import output
from bombus.cli.main import main
from bombus.compiler import cache
from bombus.compiler.codegen import CODEGEN
from bombus.compiler.importing import import_file
from bombus.compiler.watch import Watch

EXAMPLES = Path(__file__).parents[2] / "examples" / "bpf"


class Source:
    """A program in a folder; its object is what its VALUE is after the import. Counts how often it is built."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "prog.py"
        self.place = folder / "cache"
        self.builds = 0

    def write(self, text: str, name: str = "prog.py") -> None:
        (self.folder / name).write_text(text)
        time.sleep(0.03)  # files that were written a moment ago are not trusted

    def build(self, options: str = "") -> str:
        def make(watch: Watch) -> bytes:
            with watch:
                module = import_file(str(self.path))
            self.builds += 1
            return str(module.VALUE).encode()

        return cache.build(str(self.path), options, make, self.place).decode()

    def expect(self, value: object, builds: int) -> None:
        assert (self.build(), self.builds) == (str(value), builds)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    known = cache.fingerprint()
    monkeypatch.setattr(cache, "fingerprint", lambda: known)  # whoever edits the compiler meanwhile
    return Source(tmp_path)


def test_hits_and_changes_of_the_source(source: Source) -> None:
    source.write("VALUE = 1")
    source.expect(1, 1)
    source.expect(1, 1)
    source.write("VALUE = 2")
    source.expect(2, 2)
    source.write("VALUE = 1")
    source.expect(1, 2)  # as it was
    assert source.build("other options") == "1"
    assert source.builds == 3


def test_modules_beside_it(source: Source) -> None:
    source.write("from helper import VALUE")
    source.write("from deeper import VALUE", "helper.py")
    source.write("VALUE = 1", "deeper.py")
    source.expect(1, 1)
    source.expect(1, 1)
    source.write("VALUE = 2", "deeper.py")
    source.expect(2, 2)
    source.write("VALUE = 1", "deeper.py")
    source.expect(1, 2)
    assert "helper" not in sys.modules


def test_a_module_that_appears(source: Source) -> None:
    source.write("try:\n    from not_there_yet import VALUE\nexcept ImportError:\n    VALUE = 0")
    source.expect(0, 1)
    source.expect(0, 1)
    source.write("VALUE = 5", "not_there_yet.py")
    source.expect(5, 2)
    source.expect(5, 2)


def test_a_module_that_hides_another(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    (source.folder / "far").mkdir()
    monkeypatch.syspath_prepend(str(source.folder / "far"))
    source.write("VALUE = 1", "far/hidden_module.py")
    source.write("from hidden_module import VALUE")
    source.expect(1, 1)
    sys.modules.pop("hidden_module", None)
    source.write("VALUE = 2", "hidden_module.py")
    source.expect(2, 2)


def test_files_that_it_reads(source: Source) -> None:
    source.write("import pathlib\nVALUE = (pathlib.Path(__file__).parent / 'ports.txt').read_text()")
    source.write("80", "ports.txt")
    source.expect(80, 1)
    source.expect(80, 1)
    source.write("443", "ports.txt")
    source.expect(443, 2)


def test_folders_that_it_lists(source: Source) -> None:
    (source.folder / "rules").mkdir()
    time.sleep(0.03)
    source.write("import os\nVALUE = len(os.listdir(os.path.dirname(__file__) + '/rules'))")
    source.expect(0, 1)
    source.expect(0, 1)
    source.write("", "rules/one")
    source.expect(1, 2)


def test_environment(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BOMBUS_TEST_PORT", raising=False)
    source.write("import os\nVALUE = os.environ.get('BOMBUS_TEST_PORT', '1')")
    source.expect(1, 1)
    monkeypatch.setenv("BOMBUS_TEST_PORT", "2")
    source.expect(2, 2)
    monkeypatch.setenv("UNRELATED_TO_BOMBUS", "2")
    source.expect(2, 2)
    monkeypatch.delenv("BOMBUS_TEST_PORT")
    source.expect(1, 2)
    assert type(os.environ).__name__ == "_Environ"


@pytest.mark.parametrize(
    "effect",
    ["open('{}/out', 'w').close()", "subprocess.run(['true'])", "os.mkdir('{}/new') if not os.path.isdir('{}/new') "
     "else os.rmdir('{}/new')", "dict(os.environ)"],
)  # fmt: skip
def test_effects_are_not_kept(source: Source, effect: str) -> None:
    source.write(f"import os, subprocess\n{effect.replace('{}', str(source.folder))}\nVALUE = 1")
    source.expect(1, 1)
    source.expect(1, 2)


def test_a_file_of_this_moment_is_not_trusted(source: Source) -> None:
    source.path.write_text("VALUE = 1")
    source.build()
    source.path.write_text("VALUE = 2")
    assert source.build() == "2"


def test_what_others_do_meanwhile(source: Source) -> None:
    """Neither other threads nor finalizers that the garbage collector runs are the program's."""
    busy, done, rounds = threading.Event(), threading.Event(), []

    def work() -> None:
        while not done.is_set():
            (source.folder / "theirs").write_text("")
            os.listdir(source.folder)
            rounds.append(1)
            busy.set()

    class Late:
        def __del__(self) -> None:
            os.rmdir(source.folder / "late") if (source.folder / "late").exists() else None

    other = threading.Thread(target=work)
    other.start()
    try:
        assert busy.wait(60)
        source.write("import gc\nfor n in range(1000000): x = []; x.append(x)\nVALUE = 1")
        late = Late()
        late.self = late  # type: ignore[attr-defined]
        (source.folder / "late").mkdir()
        del late
        before = len(rounds)
        source.expect(1, 1)
        assert len(rounds) > before
        assert gc.isenabled()
        source.expect(1, 1)
    finally:
        done.set()
        other.join()


def test_the_compiler_itself(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    source.write("VALUE = 1")
    source.expect(1, 1)
    monkeypatch.setattr(cache, "fingerprint", lambda: "another")
    source.expect(1, 2)
    monkeypatch.undo()
    assert cache.fingerprint() == cache.fingerprint() != ""


def test_damage(source: Source) -> None:
    source.write("VALUE = 1")
    source.expect(1, 1)
    builds = 1
    for pattern in ("*.o", "*.json"):
        for damage in (b"", b"\0garbage", b"[]", b'[{"facts": 3, "object": "x"}]', b"[[[[", b'[{"facts": {"x": "y"}, '
                       b'"object": "../../etc/passwd"}]'):  # fmt: skip
            (path,) = source.place.glob(pattern)
            path.write_bytes(damage)
            builds += 1
            source.expect(1, builds)
            source.expect(1, builds)
    next(source.place.glob("*.o")).unlink()
    source.expect(1, builds + 1)


def test_places_that_cannot_be_used(source: Source) -> None:
    source.write("VALUE = 1")
    source.place = Path("/proc/no/such/place")
    source.expect(1, 1)
    source.expect(1, 2)
    source.write("", "file")
    source.place = source.folder / "file"
    source.expect(1, 3)
    open_to_all = source.folder / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    source.place = open_to_all
    source.expect(1, 4)
    source.expect(1, 5)
    assert not list(open_to_all.iterdir())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_place(source: Source) -> None:
    source.write("VALUE = 1")
    source.place.mkdir(mode=0o500)
    source.expect(1, 1)
    source.expect(1, 2)


def test_a_full_disk(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    source.write("VALUE = 1")
    monkeypatch.setattr(os, "replace", fail)
    source.expect(1, 1)
    source.expect(1, 2)
    assert not list(source.place.iterdir())


def test_the_oldest_go(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_FILES", 20)
    source.write("VALUE = 1")
    for number in range(30):
        source.build(str(number))
        assert len(list(source.place.iterdir())) <= 20
    builds = source.builds
    source.build("29")
    assert source.builds == builds


WRITER = """\
import sys, os, random
from pathlib import Path
from bombus.compiler import cache
from bombus.compiler.importing import import_file

path, place, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
rng = random.Random(seed)
def make(watch):
    with watch:
        return str(import_file(path).VALUE).encode() * 1000
for n in range(60):
    assert cache.build(path, str(n % 3), make, place) == b"7" * 1000
    if rng.random() < 0.2:
        for victim in place.iterdir():
            try:
                with open(victim, "r+b") as file:
                    file.truncate(rng.randrange(40))
            except OSError:
                pass
"""


def test_many_writers_and_a_vandal(source: Source) -> None:
    source.write("VALUE = 7")
    children = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(source.path), str(source.place), str(seed)])
        for seed in range(4)
    ]
    assert [child.wait(60) for child in children] == [0] * 4
    assert not list(source.place.glob(".new-*"))


def test_c_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import bombus.compiler.c as c
    from bombus.compiler.c import toolchain
    from bombus.compiler.sources import build_cached
    from bombus.errors import NotSupported

    try:
        toolchain.find()
    except NotSupported as problem:
        pytest.skip(str(problem))
    monkeypatch.setenv("BOMBUS_CACHE", str(tmp_path / "cache"))
    builds: list[str] = []
    real = c.build

    def counted(path: str, options: c.Options | None = None) -> c.Built:
        builds.append(path)
        return real(path, options)

    monkeypatch.setattr(c, "build", counted)
    (tmp_path / "value.h").write_text("#define VALUE 1\n")
    source = tmp_path / "prog.c"
    source.write_text(
        '#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n#include "value.h"\n'
        'SEC("xdp") int f(struct xdp_md *ctx) { return VALUE; }\nchar l[] SEC("license") = "GPL";\n'
    )
    time.sleep(0.03)
    first = build_cached(str(source))
    assert build_cached(str(source)) == first
    assert len(builds) == 1
    (tmp_path / "value.h").write_text("#define VALUE 2\n")
    time.sleep(0.03)
    assert build_cached(str(source)) != first
    assert len(builds) == 2
    (tmp_path / "bpf").mkdir()
    (tmp_path / "bpf/bpf_helpers.h").write_text("")
    build_cached_again = len(builds)
    build_cached(str(source))
    assert len(builds) == build_cached_again + 1


def test_commands_use_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("llvmlite")
    monkeypatch.setenv("BOMBUS_CACHE", str(tmp_path / "cache"))
    program = str(EXAMPLES / "xdp_count.py")
    starts: list[int] = []
    start = CODEGEN.start
    monkeypatch.setattr(CODEGEN, "start", lambda: (starts.append(1), start())[1])
    assert main(["-j", "inspect", program]) == 0
    first = capsys.readouterr().out
    assert starts
    starts.clear()
    assert main(["-j", "inspect", program]) == 0
    assert capsys.readouterr().out == first
    output.reset()
    assert main(["prog", "dump", "asm", program]) == 0
    assert main(["verify", program]) == 0
    assert main(["gen", "skeleton", program]) == 0
    assert not starts
    assert main(["--no-cache", "prog", "dump", "asm", program]) == 0
    assert starts
    starts.clear()
    monkeypatch.setenv("BOMBUS_CACHE", "off")
    assert main(["prog", "dump", "asm", program]) == 0
    assert starts
    rows = [json.loads(path.read_text()) for path in (tmp_path / "cache").glob("*.json")]
    assert any(f"file {program}" in row["facts"] for (row,) in rows)


def test_modules_that_were_there_before(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that the process imported before counts when the program takes it, and only then."""
    monkeypatch.syspath_prepend(str(source.folder.parent))
    for name in ("taken_by_test_cache", "idle_in_test_cache"):
        (source.folder.parent / f"{name}.py").write_text("VALUE = 3\n")
        __import__(name)
    time.sleep(0.03)
    try:
        source.write("from taken_by_test_cache import VALUE")
        source.expect(3, 1)
        source.expect(3, 2)  # newer than this process: it may have been imported from another text
        source.write("VALUE = 4")
        source.expect(4, 3)
        source.expect(4, 3)
    finally:
        for name in ("taken_by_test_cache", "idle_in_test_cache"):
            del sys.modules[name]
