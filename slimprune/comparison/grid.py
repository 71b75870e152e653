"""The validated description of a comparison: rows x budgets x seeds, with one recipe per cell."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from slimprune.errors import UsageError
from slimprune.files import KeptShares, Kind
from slimprune.pipeline.stages import with_criterion
from slimprune.recipe import (
    CRITERION_OPTIONS,
    DEFAULT_CRITERIA,
    SCORED_RULES,
    Recipe,
    ResolvedRecipe,
    make_recipe,
    validated,
)
from slimprune.saliency import find_criterion
from slimprune.types import AUTO

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

DENSE_ROW, RANDOM = "dense", "random"
UNIFORMS: Mapping[Literal["params", "macs"], str] = {
    "params": "uniform at equal params",
    "macs": "uniform at equal MACs",
}
CONTROL_FIELDS: Mapping[str, Mapping[str, Any]] = {
    "shuffle": {"twin": "shuffle"},
    "reinit": {"init": "reinit"},
    "invert": {"twin": "invert"},
}
"""Field in which a twin differs from its row, by the name of the twin.

Twins have the same widths, but other channels or other initial weights.
"""

TRAINING = (
    "arch",
    "data",
    "image_size",
    "train_size",
    "validation",
    "loss",
    "further_metrics",
    "epochs",
    "batch_size",
    "lr",
    "weight_decay",
    "schedule",
    "milestones",
    "optimizer",
    "warm_up",
    "label_smoothing",
    "class_weights",
    "ema",
    "mixup",
    "cutmix",
    "resized_crop",
    "patience",
    "distill",
    "temperature",
    "amp",
    "fast",
    "device",
)
"""Fields that all rows share, because rows that are trained differently cannot be compared."""
OF_THE_SLIM = ("distill", "temperature")
"""Fields among them that a dense network is trained without."""
TIMED = ("engine", "bench_batch", "bench_threads")
ABOUT_SCORES = ("criterion", "gate", "draws", "average", "dtype", *CRITERION_OPTIONS)
"""Fields that concern scores; a row that sets one of them but no rule gets the best rule that uses scores."""
PER_CELL = ("ratio", "of", "and", "also", "seed", "out", "train_dense", "log")
"""Fields that the grid sets for each cell."""


class Published(BaseModel):
    """A published result, shown in a separate column: top1 or miou, and top5 beside the former."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    row: Name
    budget: str | None = None
    top1: float | None = Field(None, ge=0, le=100)
    miou: float | None = Field(None, ge=0, le=100)
    top5: float | None = Field(None, ge=0, le=100)
    source: Name


class Grid(BaseModel):
    """Settings of one `compare` run.

    Attributes:
        title: Title of the report.
        base: Fields of `Recipe` that all cells start from.
        budgets: Budgets `QUANTITY=SHARE`, with further quantities after commas.
        seeds: Seeds of weights, draws and batches; the same for every row.
        criteria: Criteria to compare; each combination with one of `rules` is a row.
        rules: Rules to compare; None for the best rule that uses scores, which depends on the budget.
        rows: Further rows: name -> fields of `Recipe`.
        twins: Which rows have twins trained, with other channels or weights and with other initial weights: the winner
            (true or `winner`), all (`all`) or none (false).
        dense: Whether to train the dense network as well.
        uniform: Whether to train uniformly narrower networks that keep as much as the winner.
        paper: Published results.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    title: str = ""
    base: dict[str, Any]
    budgets: tuple[str, ...] = Field(min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**63)], ...] = Field(min_length=1)
    criteria: tuple[Name, ...] = ()
    rules: tuple[Name, ...] | None = Field(None, min_length=1)
    rows: dict[Name, dict[str, Any]] = {}
    twins: bool | Literal["all", "winner"] = True
    dense: bool = True
    uniform: bool = True
    paper: tuple[Published, ...] = ()

    def methods(self) -> dict[str, dict[str, Any]]:
        """Return the fields of all rows by name, in the order of the table."""
        rules = self.rules or (None,)
        named: dict[str, dict[str, Any]] = {}
        for criterion in self.criteria:
            for rule in rules:
                name = criterion if len(rules) == 1 else f"{criterion} ({rule})"
                named[name] = {"criterion": criterion} | ({} if rule is None else {"rule": rule})
        return named | self.rows

    def row_cells(self, budget: str) -> list["Cell"]:
        """Return the cells of all rows at one budget."""
        return [
            Cell(name, "row", budget, self._recipe(fields, budget, seed))
            for name, fields in self.methods().items()
            for seed in self.seeds
        ]

    def dense_cells(self) -> list["Cell"]:
        """Return one cell of the dense network per seed; its recipe sets no field that concerns slimming."""
        if not self.dense:
            return []
        names = (*(name for name in TRAINING if name not in OF_THE_SLIM), "weights", "score_batch")
        shared = {name: self.base[name] for name in names if name in self.base}
        recipes = [make_recipe({**shared, "train_dense": True, "seed": seed}).with_defaults() for seed in self.seeds]
        return [Cell(DENSE_ROW, "dense", None, recipe) for recipe in recipes]

    def control_cells(self, cells: Sequence["Cell"], rules: Sequence[str | None]) -> list["Cell"]:
        """Return the twins of cells, row by row, with the rules of their plans, so that no search is repeated."""
        planned = list(zip(cells, rules, strict=True))
        return [
            _twin_of(cell, name, rule)
            for row in dict.fromkeys(cell.row for cell in cells)
            for name in CONTROL_FIELDS
            for cell, rule in planned
            if self.twins and cell.row == row and _may_have_twin(cell.recipe, name)
        ]

    def most_followers(self) -> int:
        """Return how many baselines and twins there are at one budget at most."""
        controlled = len(self.methods()) if self.twins == "all" else int(bool(self.twins))
        return len(self.seeds) * (len(UNIFORMS) * self.uniform + len(CONTROL_FIELDS) * controlled)

    def uniform_cells(self, winners: Sequence["Cell"], kept: Sequence[KeptShares]) -> list["Cell"]:
        """Return cells of uniformly narrower networks that keep as much as the winner did.

        Args:
            winners: The winner's cells, one for each seed.
            kept: The shares of `params` and `macs` that each of them kept, in (0, 1).
        """
        return [
            Cell(name, "uniform", winner.budget, _uniform(winner.recipe, of, 1 - shares[of]))
            for of, name in UNIFORMS.items()
            for winner, shares in zip(winners, kept, strict=True)
            if self.uniform
        ]

    def _recipe(self, fields: Mapping[str, Any], budget: str, seed: int) -> ResolvedRecipe:
        foreign = _foreign_options(_criterion_of({**self.base, **fields}))
        base = {name: value for name, value in self.base.items() if name not in foreign}
        limits = parsed_budget(budget)
        about_scores = not fields.keys().isdisjoint(ABOUT_SCORES) or "criterion" in self.base
        if about_scores and limits["of"] in SCORED_RULES:
            base = {"rule": SCORED_RULES[limits["of"]], **base}
        return with_criterion(make_recipe({**base, **fields, **limits, "seed": seed}).with_defaults())


@dataclass(frozen=True)
class Cell:
    """One network to train.

    Attributes:
        row: Name of its row.
        kind: Kind of its row: the dense network, a method, the uniform baseline or a twin.
        budget: Budget as written in the grid; None for the dense network, which appears in the table of every budget.
        recipe: All settings that decide the result.
    """

    row: str
    kind: Kind
    budget: str | None
    recipe: ResolvedRecipe

    @property
    def title(self) -> str:
        """Row, budget and seed."""
        return ", ".join(part for part in (self.row, self.budget, f"seed {self.recipe.seed}") if part)


def make_grid(settings: Mapping[str, Any]) -> Grid:
    """Validate plain settings and return the grid.

    Raises:
        UsageError: If a field is unknown, a value is invalid, or rows do not share the training; the message says
            where.
    """
    grid = validated(Grid, settings)
    _check_fields("base", grid.base, PER_CELL)
    for name, fields in grid.rows.items():
        _check_fields(f"row {name!r}", fields, (*PER_CELL, *TRAINING))
    _check_untimed(grid)
    _check_names(grid)
    _check_base_options(grid)
    for budget in grid.budgets:
        for name, fields in grid.methods().items():
            for seed in grid.seeds:
                _named(f"row {name!r} at {budget}", grid, fields, budget, seed)
    _check_paper(grid)
    return grid


def parsed_budget(text: str) -> dict[str, Any]:
    """Parse a budget such as `params=0.95,macs=0.8` into fields of a recipe.

    Raises:
        UsageError: If the text has another form or names a quantity twice.
    """
    halves = [part.partition("=") for part in text.split(",")]
    parts = [(of.strip(), share.strip()) for of, _, share in halves]
    if not all(of and share for of, share in parts):
        raise UsageError(f"budgets: expected QUANTITY=SHARE[,QUANTITY=SHARE], got {text!r}")
    if len({of for of, _ in parts}) < len(parts):
        raise UsageError(f"budgets: expected each quantity once, got {text!r}")
    (of, ratio), *further = parts
    return {"of": of, "ratio": ratio, "and": dict(further)}


def _twin_of(cell: Cell, name: str, rule: str | None) -> Cell:
    changes = {**CONTROL_FIELDS[name], "rule": rule or cell.recipe.rule}
    return Cell(f"{cell.row}: {name}", "twin", cell.budget, cell.recipe.model_copy(update=changes))


def _may_have_twin(recipe: ResolvedRecipe, name: str) -> bool:
    """Return whether a twin differs from its row: what no score has chosen cannot be chosen otherwise."""
    changes = CONTROL_FIELDS[name]
    unscored = recipe.criterion in (None, RANDOM) or (recipe.when == "gradual" and name == "invert")
    return recipe.model_copy(update=changes) != recipe and not ("twin" in changes and unscored)


def _uniform(recipe: ResolvedRecipe, of: Literal["params", "macs"], ratio: float) -> ResolvedRecipe:
    """Return the winner's recipe with the rule `uniform`.

    It is without everything that concerns scores, unless the network is trained: then the channels inside the widths
    are chosen as the winner's are.
    """
    changes: dict[str, Any] = {
        "unit": "channels",
        "rule": "uniform",
        "of": of,
        "ratio": ratio,
        "also": {},
        "twin": None,
    }
    if recipe.when != "trained":
        names = (
            "criterion",
            "gate",
            "average",
            "dtype",
            "prune_epoch",
            "prune_from",
            "prune_until",
            "mask_distance",
            *CRITERION_OPTIONS,
        )
        changes |= {name: Recipe.model_fields[name].default for name in names} | {"when": "before-training"}
    return recipe.model_copy(update=changes)


def _named(where: str, grid: Grid, fields: Mapping[str, Any], budget: str, seed: int) -> None:
    try:
        grid._recipe(fields, budget, seed)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error


def _check_fields(where: str, fields: Mapping[str, Any], refused: Sequence[str]) -> None:
    for name in fields:
        if name in TRAINING and name in refused:
            raise UsageError(f"{where}: expected {name} in base, since all rows are trained alike, got it here")
        if name in refused:
            raise UsageError(f"{where}: expected no {name}, which differs from cell to cell, got {fields[name]!r}")


def _check_untimed(grid: Grid) -> None:
    """Reject plans that depend on measured times: their widths differ between runs, so no twin could share them."""
    for budget in grid.budgets:
        limits = parsed_budget(budget)
        if "latency" in (limits["of"], *limits["and"]):
            raise UsageError(f"budgets: expected what can be counted (params, macs, channels), got {budget!r}")
    for fields in (grid.base, *grid.rows.values()):
        if fields.get("round_to") == AUTO:
            raise UsageError("expected round_to as a number in a comparison, got auto, which depends on measured times")
        for name in TIMED:
            if name in fields:
                raise UsageError(f"expected no {name} in a comparison, whose plans are not timed, got {fields[name]!r}")


def _check_names(grid: Grid) -> None:
    for what, values in (("budgets", grid.budgets), ("seeds", grid.seeds), ("criteria", grid.criteria)):
        for value in _repeated(values):
            raise UsageError(f"{what}: expected each once, got {value!r} twice")
    taken = {DENSE_ROW, *UNIFORMS.values(), *grid.model_copy(update={"rows": {}}).methods()}
    for name in grid.rows:
        if name in taken:
            raise UsageError(f"rows: expected a name that is not taken, got {name!r}")
    if not grid.methods():
        raise UsageError("expected at least one row (criteria or rows), got none")


def _check_base_options(grid: Grid) -> None:
    """Check that at least one criterion of the grid has each criterion option of the base."""
    chosen = {_criterion_of({**grid.base, **fields}) for fields in grid.methods().values()}
    for name in grid.base.keys() & CRITERION_OPTIONS.keys():
        if all(name in _foreign_options(criterion) for criterion in chosen):
            raise UsageError(f"base: expected options of a criterion in the grid, got {name}")


def _check_paper(grid: Grid) -> None:
    rows = [*grid.methods(), DENSE_ROW]
    for entry in grid.paper:
        if entry.row not in rows:
            raise UsageError(f"paper: expected a row of the grid ({', '.join(rows)}), got {entry.row!r}")
        if entry.row != DENSE_ROW and entry.budget not in grid.budgets:
            raise UsageError(f"paper: expected a budget of the grid ({'; '.join(grid.budgets)}), got {entry.budget!r}")
        if (entry.top1 is None) == (entry.miou is None):
            raise UsageError(f"paper: expected either top1 or miou of {entry.row!r}, got both or none")


def _criterion_of(fields: Mapping[str, Any]) -> str:
    """Return the criterion that the fields of a row name, or the default for their network."""
    trained = fields.get("when") or fields.get("weights")
    return str(fields.get("criterion") or DEFAULT_CRITERIA[trained not in (None, "before-training")])


def _foreign_options(criterion: str) -> list[str]:
    """Return the recipe fields of options that the criterion does not have; an empty list if it is unknown."""
    try:
        known: Sequence[str] = find_criterion(str(criterion)).options
    except UsageError:
        return []
    return [field for field, option in CRITERION_OPTIONS.items() if option not in known]


def _repeated(values: Sequence[Any]) -> Iterator[Any]:
    return (value for number, value in enumerate(values) if value in values[:number])
