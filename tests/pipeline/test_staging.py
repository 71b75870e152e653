import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from slimprune.errors import DataError, SlimpruneError, UsageError
from slimprune.files import check_writable, write_files
from slimprune.pipeline.staging import Outputs, resumable_folder, staged_outputs
from tests.commands import listing


def make_all(outputs: Outputs, text: str) -> None:
    outputs.staged(outputs.bundle).mkdir()
    for file in (outputs.staged(outputs.bundle) / "slim.json", outputs.staged(outputs.onnx)):
        file.write_text(text)
    for target in (outputs.report, outputs.markdown, outputs.page):
        outputs.staged(target).write_text(text)


def checkpoint(outputs: Outputs) -> None:
    (outputs.stage / "train").mkdir(exist_ok=True)
    (outputs.stage / "train" / "checkpoint.json").write_text("{}")


def stop(onnx: Path, error: type[BaseException], *steps: Callable[[Outputs], object], run: str | None = "run") -> None:
    """A run that is stopped by an error after some steps."""
    with staged_outputs(onnx, run) as outputs:
        for step in steps:
            step(outputs)
        raise error


PUBLISHED = ["a.onnx", "a.report.html", "a.report.json", "a.report.md", "a.slim", "a.slim/slim.json"]


def test_outputs_appear_at_once_and_beside_each_other(tmp_path: Path) -> None:
    with staged_outputs(tmp_path / "new" / "er" / "a.onnx", "run") as outputs:
        make_all(outputs, "first")
        assert not any(name.startswith("new/er/a") for name in listing(tmp_path))
        outputs.publish()
    assert listing(tmp_path / "new" / "er") == PUBLISHED


def test_a_second_run_replaces_the_first(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with staged_outputs(tmp_path / "a.onnx", text) as outputs:
            make_all(outputs, text)
            (outputs.staged(outputs.bundle) / text).touch()
            outputs.publish()
    assert listing(tmp_path) == sorted([*PUBLISHED, "a.slim/second"])
    assert {(tmp_path / name).read_text() for name in PUBLISHED if name != "a.slim"} == {"second"}


@pytest.mark.parametrize("moves", range(10))
def test_a_kill_while_publishing_never_leaves_a_mixture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    def replace_file(source: Path, target: Path) -> None:
        if len(done) == moves:
            raise KeyboardInterrupt
        done.append(target)
        replace(source, target)

    replace, done = os.replace, list[Path]()
    with staged_outputs(tmp_path / "a.onnx", "first") as outputs:
        make_all(outputs, "first")
        outputs.publish()
    monkeypatch.setattr(os, "replace", replace_file)
    with pytest.raises(KeyboardInterrupt):
        stop(
            tmp_path / "a.onnx",
            KeyboardInterrupt,
            lambda outputs: make_all(outputs, "second"),
            Outputs.publish_instead,
        )
    found = [name for name in PUBLISHED if (tmp_path / name).exists()]
    assert len({(tmp_path / name).read_text() for name in found if name != "a.slim"}) <= 1
    assert "a.onnx" not in found or found == PUBLISHED


def test_a_run_takes_the_further_files_of_an_earlier_one_away(tmp_path: Path) -> None:
    (tmp_path / "a.int8.onnx").touch()
    with staged_outputs(tmp_path / "a.onnx", "run") as outputs:
        make_all(outputs, "new")
        outputs.publish_instead()
    assert listing(tmp_path) == PUBLISHED


def test_pictures_are_replaced_as_a_whole_and_stay_where_a_run_has_none(tmp_path: Path) -> None:
    for text in ("first", "second", None):
        with staged_outputs(tmp_path / "a.onnx", text or "third") as outputs:
            if text:
                outputs.staged(outputs.pictures).mkdir()
                (outputs.staged(outputs.pictures) / f"{text}.png").touch()
            outputs.publish()
        assert listing(tmp_path) == ["a.pictures", f"a.pictures/{text or 'second'}.png"]


def test_what_was_not_staged_is_not_published(tmp_path: Path) -> None:
    with staged_outputs(tmp_path / "a.onnx", "run") as outputs:
        outputs.staged(outputs.onnx).touch()
        outputs.publish()
    assert listing(tmp_path) == ["a.onnx"]


@pytest.mark.parametrize("error", [SlimpruneError, RuntimeError, KeyboardInterrupt])
def test_without_a_checkpoint_nothing_is_left_behind(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error) as caught:
        stop(tmp_path / "new" / "a.onnx", error, lambda outputs: make_all(outputs, "half"))
    assert listing(tmp_path) == []
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_run_that_was_stopped_goes_on_from_its_checkpoint(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error) as caught:
        stop(tmp_path / "new" / "a.onnx", error, lambda outputs: outputs.resume_from("same"), checkpoint)
    stage = tmp_path / "new" / ".a.slimprune-run"
    again = {
        KeyboardInterrupt: f"the same command goes on from what was done, kept in {stage}",
        RuntimeError: "what was done is kept, but the same command is likely to end here again",
    }
    assert caught.value.__notes__ == [again[error]]
    assert [path.name for path in (tmp_path / "new").iterdir()] == [".a.slimprune-run"]
    with staged_outputs(tmp_path / "new" / "a.onnx", "run") as outputs:
        outputs.resume_from("same")
        assert (outputs.stage / "train" / "checkpoint.json").exists()
    assert listing(tmp_path) == ["new"]


@pytest.mark.parametrize("name", ["plan.json", "search.json"])
def test_a_plan_and_the_trials_of_a_search_are_kept_as_well(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        stop(tmp_path / "a.onnx", KeyboardInterrupt, lambda outputs: (outputs.stage / name).touch())
    with staged_outputs(tmp_path / "a.onnx", "run") as outputs:
        assert (outputs.stage / name).exists()


def disk_full(outputs: Outputs) -> None:
    raise UsageError("cannot write") from OSError(28, "no space")


def unreadable(outputs: Outputs) -> None:
    raise DataError("an image cannot be read")


@pytest.mark.parametrize("failure", [disk_full, unreadable])
def test_what_may_succeed_later_is_kept(tmp_path: Path, failure: Callable[[Outputs], object]) -> None:
    with pytest.raises(SlimpruneError):
        stop(tmp_path / "a.onnx", KeyboardInterrupt, checkpoint, failure)
    with staged_outputs(tmp_path / "a.onnx", "run") as outputs:
        assert (outputs.stage / "train" / "checkpoint.json").exists()


def test_a_run_that_no_other_can_take_up_starts_from_nothing(tmp_path: Path) -> None:
    """A killed process leaves its stage, and another may have its number."""
    with staged_outputs(tmp_path / "a.onnx", None) as outputs:
        stage = outputs.stage
    stage.mkdir()
    (stage / "plan.json").touch()
    with staged_outputs(tmp_path / "a.onnx", None) as outputs:
        assert outputs.stage == stage
        assert not (stage / "plan.json").exists()


def test_a_refused_run_keeps_no_checkpoint_for_it_would_be_refused_again(tmp_path: Path) -> None:
    with pytest.raises(SlimpruneError):
        stop(tmp_path / "a.onnx", SlimpruneError, checkpoint)
    assert listing(tmp_path) == []


def test_a_run_that_cannot_go_on_keeps_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        stop(tmp_path / "a.onnx", KeyboardInterrupt, checkpoint, run=None)
    assert listing(tmp_path) == []


def test_what_was_made_from_other_things_is_not_taken_up(tmp_path: Path) -> None:
    made = (lambda outputs: outputs.resume_from("before"), lambda outputs: (outputs.stage / "plan.json").touch())
    with pytest.raises(KeyboardInterrupt):
        stop(tmp_path / "a.onnx", KeyboardInterrupt, *made, checkpoint)
    with staged_outputs(tmp_path / "a.onnx", "run") as outputs:
        outputs.resume_from("after")
        assert not (outputs.stage / "train").exists()
        assert not (outputs.stage / "plan.json").exists()


def test_another_run_keeps_its_own_stage(tmp_path: Path) -> None:
    with staged_outputs(tmp_path / "a.onnx", "one") as one, staged_outputs(tmp_path / "a.onnx", "other") as other:
        assert one.stage != other.stage


def test_the_same_run_twice_at_once_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with staged_outputs(tmp_path / "a.onnx", "run") as first:
        with (
            pytest.raises(UsageError, match=r"expected to be the only run that makes .*a\.onnx"),
            staged_outputs(tmp_path / "a.onnx", "run"),
        ):
            pass
        make_all(first, "first")
        first.publish()
    assert listing(tmp_path) == PUBLISHED


HOLD = """
import sys, time
from pathlib import Path
from slimprune.pipeline.staging import staged_outputs
with staged_outputs(Path(sys.argv[1]), "run") as outputs:
    (outputs.stage / "plan.json").touch()
    print("held", flush=True)
    time.sleep(600)
"""


def test_another_process_is_refused_until_the_first_ends_however_it_ends(tmp_path: Path) -> None:
    onnx = tmp_path / "a.onnx"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(onnx)], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline().strip() == b"held"
            with pytest.raises(UsageError, match=r"got another at work$"), staged_outputs(onnx, "run"):
                pass
        finally:
            holder.kill()
    with staged_outputs(onnx, "run") as outputs:
        assert (outputs.stage / "plan.json").exists()
    assert listing(tmp_path) == []


def in_the_way(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).mkdir(parents=True)


@pytest.mark.parametrize(
    ("prepare", "out", "message"),
    [
        (in_the_way("a.onnx"), "a.onnx", "expected to write a file, got the folder"),
        (in_the_way("a.report.json"), "a.onnx", "expected to write a file, got the folder"),
        (in_the_way("a.report.html"), "a.onnx", "expected to write a file, got the folder"),
        (in_the_way("a.slim"), "a.onnx", "a.slim exists and is not a bundle"),
        (lambda folder: (folder / "a.slim").touch(), "a.onnx", "a.slim exists and is not a bundle"),
        (lambda folder: (folder / "a.pictures").touch(), "a.onnx", "a.pictures exists and is not a folder of pictures"),
        (in_the_way("a.pictures/holiday"), "a.onnx", "a.pictures exists and is not a folder of pictures"),
        (lambda folder: (folder / "file").touch(), "file/a.onnx", "a.onnx: Not a directory"),
        (lambda folder: (folder / "file").touch(), "file/new/a.onnx", "a.onnx: Not a directory"),
        (lambda folder: None, "a.pt", "expected --out to end in .onnx, or in .slim for a bundle alone, got"),
        (lambda folder: None, "a", "expected --out to end in .onnx, or in .slim for a bundle alone, got"),
        (lambda folder: None, f"{'a' * 300}.onnx", "File name too long"),
        (lambda folder: None, f"new/{'a' * 240}.onnx", "File name too long"),
    ],
)
def test_refuses_what_cannot_be_written(
    tmp_path: Path, prepare: Callable[[Path], None], out: str, message: str
) -> None:
    prepare(tmp_path)
    before = listing(tmp_path)
    with pytest.raises(UsageError) as caught, staged_outputs(tmp_path / out, "r" * 12):
        pass
    assert message in str(caught.value)
    assert listing(tmp_path) == before


def test_refuses_to_write_nowhere() -> None:
    with pytest.raises(UsageError, match="got none"), staged_outputs(None, "run"):
        pass


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_refuses_a_folder_that_is_read_only(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="Permission denied"), staged_outputs(tmp_path / "new" / "a.onnx", "run"):
        pass
    tmp_path.chmod(0o700)


# Folders that grow ---------------------------------------------------------------------------------------------------


def grow(folder: Path, error: type[BaseException] | None, *files: str) -> None:
    """A run that makes some files in the folder for what is not finished, and is stopped by an error."""
    with resumable_folder(folder) as unfinished:
        for name in files:
            (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
            (unfinished / name).write_text("{}")
        if error is not None:
            raise error


def test_a_finished_run_leaves_what_it_finished(tmp_path: Path) -> None:
    with resumable_folder(tmp_path / "new" / "er") as unfinished:
        (unfinished / "half").touch()
        (tmp_path / "new" / "er" / "whole").touch()
    assert listing(tmp_path / "new") == ["er", "er/whole"]


@pytest.mark.parametrize("error", [SlimpruneError, RuntimeError, KeyboardInterrupt])
def test_a_run_that_was_stopped_at_nothing_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error) as caught:
        grow(tmp_path / "new", error)
    assert listing(tmp_path) == []
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize("error", [SlimpruneError, KeyboardInterrupt])
def test_a_run_that_was_stopped_within_a_piece_keeps_it(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error) as caught:
        grow(tmp_path, error, "piece/checkpoint.json")
    assert listing(tmp_path / ".unfinished") == ["lock", "piece", "piece/checkpoint.json"]
    note = f"the same command goes on from what is finished in {tmp_path}"
    assert getattr(caught.value, "__notes__", []) == ([] if error is SlimpruneError else [note])
    grow(tmp_path, None)
    assert listing(tmp_path) == []


def test_one_run_at_a_time_fills_a_folder(tmp_path: Path) -> None:
    with (
        resumable_folder(tmp_path / "a"),
        pytest.raises(UsageError, match=r"only run that makes .*a, got another at work"),
    ):
        grow(tmp_path / "a", None)


def test_files_are_written_whole_into_folders_that_are_made(tmp_path: Path) -> None:
    write_files({tmp_path / "new" / "a.txt": "a", tmp_path / "b.txt": "b"})
    assert listing(tmp_path) == ["b.txt", "new", "new/a.txt"]
    with pytest.raises(UsageError, match=r"cannot write .*b\.txt/c: (Not a directory|File exists)"):
        write_files({tmp_path / "b.txt" / "c": "c"})


def test_files_that_cannot_be_written_are_known_beforehand(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check_writable([tmp_path / "file", tmp_path / "new" / "er" / "a"])
    with pytest.raises(UsageError, match="expected to write a file, got the folder"):
        check_writable([tmp_path])
    with pytest.raises(UsageError, match=r"cannot write .*: .*file is no folder that can be written to"):
        check_writable([tmp_path / "file" / "new" / "a"])
    assert listing(tmp_path) == ["file"]
