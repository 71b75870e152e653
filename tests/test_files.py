import sys
from pathlib import Path

import pytest

from slimprune.files import atomic_write, cache_folder, write_atomically


def test_a_file_takes_its_place_when_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "file.txt"
    write_atomically(file, "before")
    with atomic_write(file) as partial:
        partial.write_text("after")
        assert file.read_text() == "before"
        assert partial.name.startswith(".")
    assert file.read_text() == "after"
    assert list(tmp_path.iterdir()) == [file]


def write_half(file: Path, error: type[BaseException]) -> None:
    with atomic_write(file) as partial:
        partial.write_text("af")
        raise error


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_file_stays_as_it_was_when_writing_is_stopped(tmp_path: Path, error: type[BaseException]) -> None:
    file = tmp_path / "file.txt"
    write_atomically(file, "before")
    with pytest.raises(error):
        write_half(file, error)
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


def test_text_is_utf_8_and_bytes_are_bytes(tmp_path: Path) -> None:
    write_atomically(tmp_path / "text", "Δ")
    write_atomically(tmp_path / "bytes", b"\xff")
    assert (tmp_path / "text").read_bytes() == "Δ".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\xff"


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="absent"):
        write_atomically(tmp_path / "absent" / "file", "text")


def test_the_variable_goes_before_the_home_folder(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SLIMPRUNE_CACHE", "/somewhere/else")
    assert cache_folder() == Path("/somewhere/else")


@pytest.mark.skipif(sys.platform != "linux", reason="each platform has a place of its own")
@pytest.mark.parametrize(
    ("named", "expected"),
    [("", "/home/someone/.cache/slimprune"), ("/other", "/other/slimprune")],
)
def test_without_the_variable_the_cache_is_where_the_platform_has_it(
    monkeypatch: pytest.MonkeyPatch, named: str, expected: str
):
    for variable, value in (("SLIMPRUNE_CACHE", ""), ("HOME", "/home/someone"), ("XDG_CACHE_HOME", named)):
        monkeypatch.setenv(variable, value)
    assert cache_folder() == Path(expected)
