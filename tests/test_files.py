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
    monkeypatch.setenv("SLIMPRUNE_CACHE", "")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder() == Path("/home/someone/.cache/slimprune")
