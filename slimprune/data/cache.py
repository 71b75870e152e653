"""Where downloads and converted data sets are kept."""

import os
from pathlib import Path

VARIABLE = "SLIMPRUNE_CACHE"


def cache_folder() -> Path:
    """Return the folder that the environment variable SLIMPRUNE_CACHE names, ~/.cache/slimprune without it."""
    return Path(os.environ.get(VARIABLE) or "~/.cache/slimprune").expanduser()
