"""Kinds of bad input, each of which ends in one line, with the right exit code, soon and without a trace."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from slimprune.bounded import read_bounded
from tests.commands import Run, error_line, listing

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
RECIPES = [
    ("arch: " + 500 * "[" + 500 * "]", "expected at most 20 levels of lists and mappings, got more"),
    (BOMB, "expected at most 100,000 values, aliases written out, got more"),
    ("arch: &a [*a]", "expected no alias inside of what it repeats, got *a"),
    ('arch: vgg11\nout: "a\\0b.onnx"', "out: expected text in UTF-8 without null bytes"),
    ('arch: "\\ud800"', "arch: expected text in UTF-8 without null bytes"),
    ("protect: [a, b]\narch: !!binary /w==", "arch: expected text in UTF-8 without null bytes"),
    ("arch: 2026-01-01", "arch: expected a valid string"),
    ("arch: !!python/object:os.system {}", "is not YAML"),
    (2**20 * "#" + "#", "cannot be read: Larger than 1,048,576 bytes"),
]
NUMBERS = [
    f"--{name} {value}"
    for name in ("image-size", "train-size", "rewind-step", "dense-epochs", "steps", "draws", "rounds", "score-batch",
                 "round-to", "bench-batch", "bench-threads", "epochs", "batch-size", "patience")
    for value in ("3000000000", "99999999999999999999999", "1e308")
] + [
    f"--{name} {value}"
    for name in ("lr", "inner-lr", "weight-decay", "warm-up", "mixup", "cutmix", "temperature",
                 "regularizer-strength", "max-loss")
    for value in ("1e308", "1e31")
]  # fmt: skip


@pytest.mark.parametrize(("text", "fragment"), RECIPES, ids=[text[:20] for text, _ in RECIPES])
def test_recipes(folder: Path, slimprune: Callable[..., Run], text: str, fragment: str) -> None:
    Path("r.yaml").write_text(text)
    for command in ("run r.yaml", "compare r.yaml"):
        result = slimprune(*command.split())
        assert result[0] == 2
        assert "run" not in command or fragment in error_line(result)
        assert listing(folder) == ["r.yaml"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_recipe_that_is_a_pipe(folder: Path, slimprune: Callable[..., Run]) -> None:
    os.mkfifo("r.yaml")
    assert error_line(slimprune("run", "r.yaml")) == "error: recipe r.yaml cannot be read: Not a regular file"
    with pytest.raises(IsADirectoryError):
        read_bounded(folder, 1)


@pytest.mark.parametrize("flags", NUMBERS)
def test_numbers_have_an_upper_end(folder: Path, slimprune: Callable[..., Run], flags: str) -> None:
    result = slimprune("plan", "--arch", "vgg11", *flags.split())
    line = error_line(result)
    assert result[0] == 2
    assert line.startswith(f"error: {flags.split()[0][2:].replace('-', '_')}: expected ")
    assert "unexpected" not in line


def test_texts_that_are_no_utf_8(slimprune: Callable[..., Run]) -> None:
    result = slimprune("plan", "--arch", os.fsdecode(b"a\xff"), "--protect", "a,b")
    assert (result[0], error_line(result)) == (
        2, r"error: arch: expected text in UTF-8 without null bytes, got 'a\udcff'",
    )  # fmt: skip
