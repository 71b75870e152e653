"""What is imported before there is anything to compute: torch, torchvision and matplotlib take seconds."""

import subprocess
import sys

import pytest

import slimprune

HEAVY = ("torch", "torchvision", "matplotlib", "fvcore", "onnx")


def imported_by(script: str) -> set[str]:
    """Those of the heavy libraries that a script of a fresh interpreter imports."""
    asked = f"{script}; import sys; print(*[name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=120)
    return set(result.stderr.split())


@pytest.mark.parametrize(
    "arguments",
    [["--version"], ["--help"], ["compress", "--help"], ["run", "--help"], ["bench", "--help"], ["list", "--help"]],
    ids=" ".join,
)
def test_versions_and_help_wait_for_no_heavy_library(arguments: list[str]) -> None:
    assert imported_by(f"from slimprune.cli import run; assert run({arguments}) == 0") == set()


def test_a_refusal_of_flags_waits_for_no_heavy_library() -> None:
    script = "import contextlib, io; from slimprune.cli import run\nwith contextlib.redirect_stderr(io.StringIO()): "
    assert imported_by(f"{script}assert run(['compress', '--epoch']) == 2\npass") == set()


def test_lists_and_the_package_itself_need_neither_torchvision_nor_matplotlib() -> None:
    kinds = ("archs", "data", "criteria", "rules", "engines")
    listed = "; ".join(f"assert run(['list', '{kind}']) == 0" for kind in kinds)
    assert imported_by(f"from slimprune.cli import run; {listed}") <= {"torch", "fvcore", "onnx"}
    assert imported_by("import slimprune; slimprune.compress") <= {"torch", "fvcore", "onnx"}


def test_every_public_name_is_imported_at_its_first_use() -> None:
    assert imported_by("import slimprune; dir(slimprune)") == set()
    assert all(getattr(slimprune, name) is not None for name in slimprune.__all__)
    assert set(slimprune.__all__) <= set(dir(slimprune))
    script = "import slimprune; assert slimprune.pipeline.compress is slimprune.compress; slimprune.load_data"
    assert "torch" in imported_by(script)
