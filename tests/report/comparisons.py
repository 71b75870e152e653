"""Records as `compare` makes them, small enough to check every figure of a table by hand."""

from typing import Any

from slimprune.report import comparison_document

BUDGET = "params=0.9"


def cell(row: str, seed: int, final: float, kind: str = "row", **changes: Any) -> dict[str, Any]:
    """A cell with accuracy `final`, in percent."""
    scoring = {"seconds": 2.0 + seed, "peak_bytes": 3_000_000 + seed, "stability": 0.5, "steps": 3, "draws": 2}
    return {
        "row": row,
        "kind": kind,
        "budget": BUDGET,
        "seed": seed,
        "metric": "top1",
        "may_win": kind == "row",
        "final": final / 100,
        "best": (final + 1) / 100,
        "channels": 100 + seed,
        "params": 1000 + 100 * seed,
        "macs": 20_000_000,
        "scoring": scoring if kind in ("row", "twin") else None,
        "training_seconds": 10.0,
        "epochs": 3,
        "environment": {"device": "cpu (x86_64)", "threads": 2},
        "recipe": {"arch": "vgg11", "seed": seed, "criterion": row, "epochs": 3, "protect": []},
        **changes,
    }


def both(row: str, first: float, second: float, kind: str = "row", **changes: Any) -> list[dict[str, Any]]:
    """A row with two seeds."""
    return [cell(row, 0, first, kind, **changes), cell(row, 1, second, kind, **changes)]


def cells() -> list[dict[str, Any]]:
    """`prospr` wins over `magnitude`, and over uniform by 2 points at equal params and by 0.5 at equal MACs."""
    return [
        *both("dense", 93, 94, "dense", budget=None, params=20_000, macs=400_000_000),
        *both("prospr", 90, 92),
        *both("magnitude", 89, 90),
        *both("uniform at equal params", 88.5, 89.5, "uniform"),
        *both("uniform at equal MACs", 90, 91, "uniform"),
        *both("prospr: shuffle", 90, 91, "twin"),
        *both("prospr: reinit", 80, 81, "twin"),
    ]


def grid(**changes: Any) -> dict[str, Any]:
    given = {"title": "VGG-11 on digits", "base": {"arch": "vgg11"}, "budgets": [BUDGET], "seeds": [0, 1], "paper": []}
    return {**given, **changes}


def document(records: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    return comparison_document(grid(**changes), cells() if records is None else records)
