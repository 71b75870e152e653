"""Figures as readers see them."""

METRIC_NAMES = {"top1": "top-1", "miou": "mean IoU"}


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{100 * share:.2f} %"


def points(share: float, other: float) -> str:
    """Return the difference of two shares in percentage points."""
    return f"{100 * (share - other):+.2f} points"


def byte_size(count: int) -> str:
    """Return a number of bytes with a unit."""
    power = 1 if count < 1e6 else 2 if count < 1e9 else 3
    return f"{count / 1000**power:.1f} {' kMG'[power]}B"
