"""The documentation runs: code and commands of the README and of every page, and figures as they were measured."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from slimprune.cli import app as cli
from slimprune.pipeline.stages import check_names
from slimprune.recipe import Recipe, make_recipe, read_recipe
from tests.pages import NOT_RUN, PAGES, ROOT, Block, agrees, blocks, drawings, run_page

README = ROOT / "README.md"
LANGUAGES = {"python", "text", "console", "sh", "yaml", "toml"}
BLOCKS_NOT_RUN = {"README.md": 1, "detection.md": 1, "latency.md": 1}
"""The README's first command takes minutes (tests/test_first_command.py runs it), a latency budget half a minute."""


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands_not_run():
    return [(page, command) for page in PAGES for block in blocks(page) if not block.runs for command in block.commands]


def pages_with_code():
    return [page for page in PAGES if page.name != "extending.md" and any(block.runs for block in blocks(page))]


@pytest.mark.parametrize("page", pages_with_code(), ids=name)
def test_a_page_prints_what_it_shows(page, tmp_path):
    for block, printed in run_page(blocks(page), tmp_path):
        assert agrees(block, printed), f"{block.text}\nis shown, but printed is\n{printed}"
    drawn = drawings(tmp_path)
    assert [file.name for file, _ in drawn] == (["net.svg"] if page.name == "python.md" else [])
    assert all(file.read_text() == text for file, text in drawn)


@pytest.mark.parametrize(
    ("shown", "printed", "agree"),
    [
        ("a 1.5 s\nb 2\n", "a 20 s\nb  3\n", True),
        ("a 1\nb 2\n", "a 1\nc 2\n", False),
        ("a 1\n...\nd\n", "a 2\nb\nc\nd\n", True),
        ("a 1\n...\nd\n", "z\na 2\nd\n", False),
        ("a 1\n...\nd\n", "a 2\nd\ne\n", False),
        ("a\n...\nc\n...\n", "a\nb\nc\nd\n", True),
        ("───\n", "─────\n", True),
    ],
)
def test_output_is_compared_up_to_figures_and_lines_left_out(shown, printed, agree):
    assert agrees(Block("console", "", shown, 0), printed) is agree


@pytest.mark.parametrize(("title", "agree"), [("", False), ("figures differ", True)])
def test_figures_of_python_count_unless_the_title_says_otherwise(title, agree):
    assert agrees(Block("text", title, "0.51\n", 0), "0.52\n") is agree


@pytest.mark.parametrize(
    ("page", "command"), commands_not_run(), ids=lambda value: name(value) if isinstance(value, Path) else value
)
def test_a_command_is_understood(page, command, tmp_path, monkeypatch):
    """It is parsed by the real parser and its recipe checked; the work behind it is tested elsewhere."""
    monkeypatch.chdir(ROOT)
    launcher, _, launched = command.partition(" -m slimprune ")
    if launched and shlex.split(launcher)[0] in ("torchrun", "accelerate"):
        command = f"slimprune {launched}"
    if not command.startswith("slimprune "):
        assert shlex.split(command)[0] in ("pip", "python", "ruff", "mkdocs", "pytest")
        return
    group = typer.main.get_command(cli.app)
    context = group.make_context("slimprune", shlex.split(command)[1:])
    found, subcommand, arguments = group.resolve_command(context, [*context._protected_args, *context.args])
    parsed = subcommand.make_context(found, arguments, parent=context)
    fields = {key: value for key, value in parsed.params.items() if key in Recipe.model_fields and value is not None}
    if "config" not in parsed.params:
        return
    recipe = make_recipe(fields).with_defaults()
    if not any(".py:" in str(value) for value in fields.values()):
        check_names(recipe)


def test_blocks_that_are_not_run_are_few_and_say_why():
    found = {page.name: [block.title for block in blocks(page) if block.title.startswith(NOT_RUN)] for page in PAGES}
    assert {page: len(titles) for page, titles in found.items() if titles} == BLOCKS_NOT_RUN
    assert all(title.startswith(f"{NOT_RUN}: ") for titles in found.values() for title in titles)


def test_blocks_are_of_known_kinds():
    assert {block.language for page in PAGES for block in blocks(page)} <= LANGUAGES
    assert all(page.read_text().count("\n```") % 2 == 0 for page in PAGES if page.name != "CONTRIBUTING.md")


def test_figures_are_those_that_were_measured():
    check = [sys.executable, ROOT / "benchmarks" / "results_page.py", "--check"]
    done = subprocess.run(check, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_the_page_on_reproducing_is_that_of_the_recipes():
    check = [sys.executable, ROOT / "benchmarks" / "reproducing_page.py", "--check"]
    done = subprocess.run(check, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_every_grid_with_published_figures_is_on_the_page_on_reproducing():
    page = (ROOT / "docs" / "reproducing.md").read_text()
    grids = [file for file in (ROOT / "recipes").glob("*.yaml") if read_recipe(file).get("paper")]
    assert len(grids) > 10
    assert [file.name for file in grids if f"recipes/{file.name}`" not in page] == []


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 130


def test_ci_runs_the_test_command_of_the_readme():
    install, check = [block for block in blocks(README) if block.language == "sh"][-1].text.strip().splitlines()
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    assert script[-1] == check
    assert script[-2].endswith(install.removeprefix("pip install"))
    assert check in (ROOT / "CONTRIBUTING.md").read_text()
