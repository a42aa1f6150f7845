"""Files that outlive a process."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bombus import kept

KEY = "00" * 32
MAGIC = b"test 1\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BOMBUS_CACHE", str(tmp_path))
    return tmp_path / "room"


def test_there_and_back(place: Path) -> None:
    assert kept.read("room", KEY, MAGIC) is None and not place.exists()
    kept.write("room", KEY, MAGIC, b"payload")
    assert kept.read("room", KEY, MAGIC) == b"payload"
    assert kept.read("room", KEY, b"test 2\n") is None and kept.read("other", KEY, MAGIC) is None
    assert [file.name for file in place.iterdir()] == [KEY]
    assert place.stat().st_mode & 0o777 == 0o700 and (place / KEY).stat().st_mode & 0o777 == 0o600
    kept.write("room", KEY, MAGIC, b"")
    assert kept.read("room", KEY, MAGIC) == b""


def test_what_is_not_whole_is_missing(place: Path) -> None:
    kept.write("room", KEY, MAGIC, b"payload")
    whole = (place / KEY).read_bytes()
    for broken in (*(whole[:size] for size in range(len(whole))), whole + b"x"):
        (place / KEY).write_bytes(broken)
        assert kept.read("room", KEY, MAGIC) is None
    for at in range(len(whole)):
        (place / KEY).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert kept.read("room", KEY, MAGIC) is None


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o722])
def test_others_may_not_write_there(place: Path, mode: int) -> None:
    kept.write("room", KEY, MAGIC, b"payload")
    place.chmod(mode)
    usable = not mode & 0o022
    assert (kept.read("room", KEY, MAGIC) is not None) == usable
    kept.write("room", "11" * 32, MAGIC, b"payload")
    assert (place / ("11" * 32)).exists() == usable


@pytest.mark.parametrize("word", kept.OFF)
def test_off(place: Path, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv("BOMBUS_CACHE", word)
    monkeypatch.chdir(place.parent)
    kept.write("room", KEY, MAGIC, b"payload")
    assert kept.folder("room") is None and not list(place.parent.iterdir())


def test_where_it_is_without_a_word(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BOMBUS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kept.folder("room") == str(tmp_path / "bombus" / "room")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert kept.folder("room") is None


def test_a_place_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BOMBUS_CACHE", str(tmp_path / "file"))
    kept.write("room", KEY, MAGIC, b"payload")
    assert kept.read("room", KEY, MAGIC) is None


def test_the_oldest_go(place: Path) -> None:
    for number in range(6):
        kept.write("room", f"{number + 1:064x}", MAGIC, bytes(100))
    files = sorted(place.iterdir())
    for age, file in enumerate(files):
        os.utime(file, (time.time() - age, time.time() - age))
    kept.trim(place, limit=sum(file.stat().st_size for file in files[:2]))
    assert sorted(place.iterdir()) == files[:2]


def test_stamps_tell_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kept.py").write_text("")
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "a.py").write_text("1")
    (tmp_path / "room" / "notes.txt").write_text("1")
    monkeypatch.setattr(kept, "__file__", str(tmp_path / "kept.py"))

    def stamp() -> bytes:
        kept.stamp.cache_clear()
        return kept.stamp("room")

    seen = [stamp()]
    assert stamp() == seen[0]
    (tmp_path / "room" / "notes.txt").write_text("22")
    assert stamp() == seen[0]  # no source
    times = os.stat(tmp_path / "room" / "a.py")
    (tmp_path / "room" / "a.py").write_text("2")
    os.utime(tmp_path / "room" / "a.py", ns=(times.st_atime_ns, times.st_mtime_ns))  # as if nothing had been
    seen.append(stamp())
    (tmp_path / "room" / "b.so").write_text("")
    seen.append(stamp())
    (tmp_path / "root.py").write_text("")
    seen.append(stamp())
    assert len(set(seen)) == len(seen)
    monkeypatch.setattr(kept, "__file__", str(tmp_path / "archive.zip" / "kept.py"))
    assert stamp() != stamp()  # no files to look at: nothing is ever found again
    kept.stamp.cache_clear()
