import hashlib
import os
import sys
import time
from pathlib import Path

import pytest

from slimprune.files import atomic_write, cache_folder, digest_of, write_atomically


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


# Digests -------------------------------------------------------------------------------------------------------------


def digest(folder: Path, **options: int) -> str:
    return digest_of(folder.rglob("*.txt"), **options)


def two_files(folder: Path) -> Path:
    for name in ("a/1.txt", "b/2.txt"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("text")
    return folder


def test_a_digest_is_of_names_and_contents(tmp_path: Path) -> None:
    first, other = two_files(tmp_path / "first"), two_files(tmp_path / "other")
    assert digest(first) == digest(other)
    (other / "b" / "2.txt").write_text("tent")
    assert digest(first) != digest(other)


def test_a_file_in_another_folder_is_another(tmp_path: Path) -> None:
    first, other = two_files(tmp_path / "first"), two_files(tmp_path / "other")
    (other / "b" / "2.txt").rename(other / "a" / "2.txt")
    (first / "b" / "1.txt").touch()
    (other / "b" / "1.txt").touch()
    assert digest(first) != digest(other)


def test_beyond_a_size_times_of_change_stand_for_contents(tmp_path: Path) -> None:
    two_files(tmp_path)
    before = {limit: digest(tmp_path, contents=limit) for limit in (7, 8)}
    os.utime(tmp_path / "a" / "1.txt", (1, 1))
    assert [digest(tmp_path, contents=limit) == before[limit] for limit in (7, 8)] == [False, True]


def test_of_nothing_there_is_a_digest_as_well() -> None:
    assert digest_of([]) == hashlib.sha256().hexdigest()


def test_ten_thousand_small_files_take_seconds(tmp_path: Path) -> None:
    for number in range(10_000):
        (tmp_path / f"{number}.txt").write_bytes(bytes(1000))
    began = time.process_time()
    digest(tmp_path)
    assert time.process_time() - began < 5
