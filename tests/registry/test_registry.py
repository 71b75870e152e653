"""A registry of functions, what is found in it, and what packages that are really installed on the import path add."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from slimprune.errors import DataError, UsageError
from slimprune.registry import Registry
from tests.extensions import install

GROUP = "slimprune.things_of_a_test"
Thing = Callable[[], int]


def as_thing(name: str, found: object) -> Thing:
    if not callable(found):
        raise UsageError(f"expected {name} to be a function")
    return found  # type: ignore[no-any-return]


def things(**options: object) -> Registry[Thing]:
    """One and two of slimprune's own; `half` takes an argument."""
    registry: Registry[Thing] = Registry("a thing", GROUP, "a thing", as_thing, **options)  # type: ignore[arg-type]
    registry.add("one", "the first", lambda: 1, module="slimprune.own")
    registry.add("two", "the second", lambda: 2, module="slimprune.own")
    registry.add("half", "of a number", lambda: 0, module="slimprune.own", takes="NUMBER")
    return registry


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the import path."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


# What was registered -------------------------------------------------------------------------------------------------


def test_what_was_registered_is_found_and_listed():
    registry = things()
    assert registry.find("two")() == 2
    assert registry.rows() == [("one", "the first"), ("two", "the second"), ("half:NUMBER", "of a number")]
    assert list(registry) == list(registry.available()) == ["one", "two", "half"]
    assert "one" in registry
    assert "three" not in registry


def test_a_name_is_not_taken_twice_but_by_the_module_that_has_it():
    registry = things()
    for module in ("mine", "slimprune_user_mine_123"):
        with pytest.raises(UsageError, match=f"of {module} that is not taken, got 'one', which slimprune.own has"):
            registry.add("one", "another", lambda: 3, module=module)
    registry.add("three", "new", lambda: 3, module="mine")
    registry.add("three", "loaded again", lambda: 33, module="mine")
    assert registry.find("three")() == 33
    with pytest.raises(UsageError, match="which mine has registered"):
        registry.add("three", "another's", lambda: 4, module="yours")
    with pytest.raises(UsageError, match="expected a name for a thing, got ''"):
        registry.add("", "none", lambda: 5, module="mine")


def test_what_is_declared_is_imported_on_use(site: Path):
    (site / "declared_of_a_test.py").write_text("def three():\n    return 3\n")
    registry = things()
    registry.declare("three", "the third", "declared_of_a_test:three", takes="X")
    assert registry.rows()[-1] == ("three:X", "the third")
    assert "declared_of_a_test" not in sys.modules
    assert registry.find("three")() == 3


def test_unknown_names_are_refused_with_those_that_are_known():
    message = r"^expected a thing \(one, two, half:NUMBER, more, file.py:NAME or package.module:NAME\), got 'ones'"
    with pytest.raises(UsageError, match=rf"{message} \(did you mean one\?\)$"):
        things(others=("more",)).find("ones")
    with pytest.raises(UsageError, match=r"^expected a thing \(one, two, half:NUMBER\), got 'a.py:b'$"):
        things(code=False).find("a.py:b")
    with pytest.raises(
        UsageError, match=r"^expected a thing \(a name of `list things`, .*got 'tow' \(did you mean two"
    ):
        things(listing="list things").find("tow")


@pytest.mark.parametrize(
    ("name", "parts", "code"),
    [
        ("one", ("one", ""), False),
        ("one:x=3", ("one", "x=3"), False),
        ("one:build", ("one:build", ""), True),  # a module may be called as an entry that takes nothing
        ("half:3", ("half", "3"), False),
        ("half:three", ("half", "three"), False),
        ("half:a.py:b", ("half", "a.py:b"), False),
        ("none:three", ("none:three", ""), True),
        ("folder/one.py:three", ("folder/one.py:three", ""), True),
    ],
)
def test_what_stands_behind_a_colon(name: str, parts: tuple[str, str], code: bool):
    registry = things()
    assert registry.split(name) == parts
    assert registry.is_user_code(name) == code


def test_a_whole_name_may_have_a_colon():
    registry = things()
    registry.add("tp:taylor", "of a peer", lambda: 7, module="peer")
    assert registry.find("tp:taylor")() == 7
    assert registry.split("tp:taylor") == ("tp:taylor", "")
    assert not registry.is_user_code("tp:taylor")


def test_code_is_found_by_file_and_by_module(site: Path):
    (site / "things_of_a_test.py").write_text("def three():\n    return 3\n\nnumber = 4\n")
    registry = things(failure=DataError)
    assert registry.find(f"{site / 'things_of_a_test.py'}:three")() == 3
    assert registry.find("things_of_a_test:three")() == 3
    with pytest.raises(UsageError, match="expected a thing 'four' in 'things_of_a_test', found none"):
        registry.find("things_of_a_test:four")
    with pytest.raises(UsageError, match="expected things_of_a_test:number to be a function"):
        registry.find("things_of_a_test:number")
    with pytest.raises(
        UsageError, match=r"got 'no_such_module_of_a_test:x'.*; found no module 'no_such_module_of_a_test"
    ):
        registry.find("no_such_module_of_a_test:x")
    (site / "broken_of_a_test.py").write_text("1 / 0\n")
    with pytest.raises(DataError, match="importing 'broken_of_a_test' raised ZeroDivisionError: division by zero"):
        registry.find("broken_of_a_test:x")


# What packages add ---------------------------------------------------------------------------------------------------


def test_a_package_adds_entries_without_a_change_here(site: Path):
    registry = things()
    code = 'def three():\n    """The third,\n\n    as it were."""\n    return 3\n'
    install(site, "more-things", {"more_things.py": code}, {GROUP: {"three": "more_things:three"}})
    assert list(registry) == ["one", "two", "half", "three"]
    assert "more_things" not in sys.modules
    assert registry.find("three")() == 3
    assert registry.rows()[-1] == ("three", "The third, (more-things 1.2)")
    assert not registry.is_user_code("three")
    assert registry.split("three:of these") == ("three", "of these")


def test_what_cannot_be_loaded_is_one_line_where_it_is_asked_for(site: Path):
    files = {"fails_of_a_test.py": "raise RuntimeError('no\\n driver')\n", "wrong_of_a_test.py": "number = 3\n"}
    points = {
        "broken": "fails_of_a_test:x",
        "absent": "nowhere_of_a_test:x",
        "lacking": "wrong_of_a_test:x",
        "wrong": "wrong_of_a_test:number",
    }
    install(site, "bad", files, {GROUP: points})
    registry = things(failure=DataError)
    assert registry.find("one")() == 1
    assert list(registry.available()) == ["one", "two", "half"]
    whys = {
        "broken": "a thing 'broken' of the package bad 1.2 cannot be loaded from fails_of_a_test:x: "
        "RuntimeError: no driver",
        "absent": "a thing 'absent' of the package bad 1.2 cannot be loaded from nowhere_of_a_test:x: "
        "ModuleNotFoundError: No module named 'nowhere_of_a_test'",
        "lacking": "a thing 'lacking' of the package bad 1.2 cannot be loaded from wrong_of_a_test:x: "
        "AttributeError: module 'wrong_of_a_test' has no attribute 'x'",
        "wrong": "package bad 1.2: expected wrong to be a function",
    }
    assert dict(registry.rows()[3:]) == {name: f"unavailable: {why}" for name, why in whys.items()}
    for name, why in whys.items():
        with pytest.raises((DataError, UsageError)) as caught:
            registry.find(name)
        assert str(caught.value) == why


def test_a_package_cannot_take_a_name_that_is_taken(site: Path):
    install(site, "bold", {"bold.py": "def one():\n    return -1\n"}, {GROUP: {"one": "bold:one"}})
    registry = things()
    assert registry.find("one")() == 1
    assert list(registry) == ["one", "two", "half"]
    refused = "unavailable: package bold 1.2 cannot take the name of slimprune's own one"
    assert registry.rows()[-1] == ("one", refused)


def test_of_two_packages_with_one_name_neither_is_taken(site: Path):
    for name in ("left", "right"):
        install(site, name, {f"{name}.py": "def three():\n    return 3\n"}, {GROUP: {"three": f"{name}:three"}})
    with pytest.raises(
        UsageError, match=r"^expected one package with a thing 'three', got (left|right) 1.2, (left|right)"
    ):
        things().find("three")


def test_a_package_may_register_what_its_entry_point_leads_to(site: Path):
    registry = things()
    sys.modules["registry_of_a_test"] = registry  # type: ignore[assignment]
    code = (
        "import sys\ndef three():\n    return 3\n"
        "sys.modules['registry_of_a_test'].add('three', 'the third', three, module=__name__)\n"
    )
    try:
        install(site, "both", {"both_of_a_test.py": code}, {GROUP: {"three": "both_of_a_test:three"}})
        assert registry.find("three")() == registry.find("three")() == 3
        assert registry.rows()[3:] == [("three", "the third")]
    finally:
        del sys.modules["registry_of_a_test"]
