"""Tables of what became of each model of the zoo."""

import re
from collections import Counter
from typing import Any

from slimprune.report import markdown_table

HEAD = (
    "model", "side", "params", "outcome", "removed", "protected channels", "train step", "CPU s", "find",
    "torch-pruning",
)  # fmt: skip


def page(found: dict[str, list[dict[str, Any]]]) -> str:
    """Return the Markdown page: a table for each library, unchanged groups with reasons, and circumstances."""
    ours, theirs = ({row["model"]: row for row in found.get(key, [])} for key in ("models", "torch-pruning"))
    names = sorted(ours.keys() | theirs.keys())
    parts: dict[str, list[str]] = {}
    for name in names:
        parts.setdefault(part_of(name), []).append(name)
    lines = ["# Half of the channels removed", ""]
    for title, members in parts.items():
        lines += section(title, members, ours, theirs)
    lines += [
        "Removed: share of the parameters. Protected channels: share of all, output layers left out. CPU s: finding, "
        "proving and slimming, seconds of processor time; find: finding the groups alone. torch-pruning: what that "
        "library makes of the model on its own; a norm that a model writes out itself (mobilenetv5's mean of squares "
        "over channels) and narrower heads of attention differ by nature, which that check cannot tell from a wrong "
        "index.",
        "",
        *whole(ours),
    ]
    last = {key: value for rows in found.values() for row in rows for key, value in row["circumstances"].items()}
    chosen = " --set third-party" if "--set third-party" in last["command"] else ""
    command = {"command": f"python benchmarks/zoo.py{chosen}"}
    return "\n".join([*lines, *(f"- {name}: {value}" for name, value in {**last, **command}.items())]) + "\n"


def part_of(name: str) -> str:
    """Return the title of the table of a model."""
    library = name.partition(":")[0] if ":" in name else "torchvision"
    if library == "timm":
        return "timm, one small model for each family"
    return "torchvision, detection and video" if name.startswith("torchvision:") else library


def section(title: str, names: list[str], ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Return the totals, followed by a row for every model."""
    counted = {"slimprune": ours, "torch-pruning": theirs}
    found = {by: [rows[name]["outcome"] for name in names if name in rows] for by, rows in counted.items()}
    return [
        f"## {title}",
        "",
        *(f"- {by}: {sum_of(outcomes)}" for by, outcomes in found.items()),
        "",
        markdown_table(
            HEAD, [cells(name, ours.get(name, {}), theirs.get(name, {})) for name in names], left=(0, 3, 6, 9)
        ),
        "",
    ]


def sum_of(outcomes: list[str]) -> str:
    """Return the count of each outcome as a phrase."""
    counts = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in sorted(set(outcomes)))
    return f"{len(outcomes)} models: {counts}" if outcomes else "not run"


def cells(name: str, ours: dict[str, Any], theirs: dict[str, Any]) -> list[Any]:
    """Return one row of a table with the columns of `HEAD`."""

    def percent(key: str) -> str:
        return f"{ours[key]:.1%}" if key in ours else ""

    step = {True: "ok", None: ""}.get(ours.get("trains"), str(ours.get("trains"))[:60])
    return [
        name,
        ours.get("side", theirs.get("side", "")),
        f"{ours.get('params', theirs.get('params', 0)):,}",
        outcome(ours),
        percent("removed"),
        percent("protected_channels"),
        step,
        ours.get("seconds", ""),
        ours.get("find_seconds", ""),
        theirs.get("outcome", ""),
    ]


def outcome(row: dict[str, Any]) -> str:
    """Return the outcome with its truncated reason."""
    return row.get("outcome", "") + (f": {row['reason'][:100]}" if row.get("reason") else "")


def whole(ours: dict[str, Any]) -> list[str]:
    """List for every model how many groups remain unchanged, by reason."""
    lines = []
    for name, row in sorted(ours.items()):
        counts = Counter(generic(reason) for reason in row.get("reasons", {}).values())
        if counts:
            lines.append(f"- {name}: {'; '.join(f'{count} x {reason}' for reason, count in counts.most_common())}")
    return ["## Groups that stay whole, by reason", "", *lines, "", "## Circumstances", ""] if lines else []


def generic(reason: str) -> str:
    """Return a reason without the layer name that it contains."""
    return re.sub(r" in (?!training mode)[\w.]+", "", reason)[:80].strip()
