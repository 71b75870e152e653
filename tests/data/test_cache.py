from pathlib import Path

import pytest

from slimprune.data.cache import cache_folder


def test_the_variable_goes_before_the_home_folder(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SLIMPRUNE_CACHE", "/somewhere/else")
    assert cache_folder() == Path("/somewhere/else")
    monkeypatch.setenv("SLIMPRUNE_CACHE", "")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder() == Path("/home/someone/.cache/slimprune")
