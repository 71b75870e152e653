from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep every test's downloads and conversions in its own folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SLIMPRUNE_CACHE", str(folder))
    return folder
