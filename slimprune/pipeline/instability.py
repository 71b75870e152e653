"""The command `instability`: how far the order of the data decides what a training ends with."""

import copy
import hashlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Unpack, get_args

from slimprune.errors import UsageError
from slimprune.files import InstabilityDocument, check_writable, write_files
from slimprune.measure import count_params, environment
from slimprune.pipeline.branched_trainings import TrainedTwice, instability_curves, statistics_images
from slimprune.pipeline.compress import announce, checked_recipe, pruned_network
from slimprune.pipeline.instability_seeds import over_seeds
from slimprune.pipeline.regularizers import penalty_of
from slimprune.pipeline.stages import dense_settings, training_settings
from slimprune.pipeline.staging import Outputs, staged_outputs
from slimprune.pipeline.training_checks import check_training
from slimprune.pipeline.workload import Given, Workload, named_workload
from slimprune.recipe import NamedRecipe, RecipeSettings
from slimprune.report import draw_instability
from slimprune.scale import SHARES
from slimprune.training import choose_device, count_batches
from slimprune.types import Listener, ignore

Network = Literal["dense", "pruned"]
NETWORKS: tuple[Network, ...] = get_args(Network)
LEAST_POINTS = 3
JSON = ".json"


@dataclass(frozen=True)
class Moment:
    """A place in a training, from its start.

    Attributes:
        number: Steps or epochs done, at least 0.
        epochs: Whether it counts epochs.
    """

    number: int
    epochs: bool

    @classmethod
    def parsed(cls, text: str) -> "Moment":
        """Read a number of steps, such as `500`, or of epochs, such as `1epoch`.

        Raises:
            UsageError: If the text is neither.
        """
        found = re.fullmatch(r"(\d{1,9})\s*(epochs?|steps?)?", text.strip(), flags=re.ASCII)
        if found is None:
            raise UsageError(f"expected --at as steps (500) or epochs (1epoch), got {text!r}")
        return cls(int(found[1]), (found[2] or "").startswith("epoch"))

    def step(self, steps_per_epoch: int) -> int:
        """Return the number of steps done."""
        return self.number * (steps_per_epoch if self.epochs else 1)


def instability(
    *,
    at: Sequence[str] = ("0",),
    points: int = 11,
    networks: Sequence[str] = NETWORKS,
    seeds: Sequence[int] = (),
    listener: Listener = ignore,
    **settings: Unpack[RecipeSettings],
) -> InstabilityDocument:
    """Train a network twice from one state under different orders of the data, and test along the line between both.

    For networks A and B, E(a) is the test error with the weights (1 - a) A + a B, and the instability is

        max over a of E(a) - (E(0) + E(1)) / 2

    Both trainings share their first k steps, optimizer included. The statistics of batch norm are estimated anew at
    every place, from training images, since those of A and B do not describe the networks between them.

    Source: Frankle et al., Linear Mode Connectivity and the Lottery Ticket Hypothesis (ICML 2020), section 2.

    Args:
        at: The numbers k, in steps (`500`) or epochs (`1epoch`). All share the first training, and each has a second.
        points: Places on the line, its ends included.
        networks: `dense` for the dense network, `pruned` for the slim or masked one.
        seeds: Seeds, each with initial weights, a pruned network and orders of its own, of which means and standard
            deviations are stated; none for the recipe's.
        listener: Called during the run.
        **settings: Fields of `Recipe`; `out` is the JSON file to write, beside which plots are drawn.

    Returns:
        The document, which is written to `out`.

    Raises:
        SlimpruneError: If a step fails; see `slimprune.errors` for the subclasses.
    """
    began = time.perf_counter()
    moments = _checked(at, points, networks, seeds)
    resolved, _, notes = checked_recipe(None, Given(), settings)
    recipe = resolved.named()
    if recipe.when in ("during-training", "gradual", "early-bird"):
        raise UsageError(f"expected pruning before a training, not in its course, got --when {recipe.when}")
    out = _checked_out(recipe.out)
    announce(notes, listener)
    recipes = [recipe.model_copy(update={"seed": seed}) for seed in seeds or (recipe.seed,)]
    asked = json.dumps([recipe.hash, [repr(moment) for moment in moments], sorted(networks), list(seeds)])
    with staged_outputs(out, hashlib.sha256(asked.encode()).hexdigest(), more=(JSON,)) as outputs:
        device = str(choose_device(recipe.device))
        work = named_workload(recipes[0], device)
        outputs.resume_from(work.fingerprint)
        if work.metric.scale != SHARES:
            raise UsageError(f"expected a metric that is a share for test errors, got {work.metric.name}")
        check_training(recipe, work)
        steps = _steps_of(moments, recipe, work, networks)
        places = [number / (points - 1) for number in range(points)]
        found = []
        for own in recipes:
            of_seed = work if own is recipes[0] else named_workload(own, device)
            staged = outputs if len(recipes) == 1 else _staged_for(own.seed, outputs)
            subjects = _subjects(own, of_seed, networks, staged, listener)
            found.append(
                [instability_curves(one, steps, places, of_seed, own, staged.stage, listener) for one in subjects]
            )
        document: InstabilityDocument = {
            "schema_version": 1,
            "recipe": recipe.model_dump(mode="json", exclude={"out"}),
            "metric": work.metric.name,
            "places": places,
            "statistics_images": statistics_images(work, recipe),
            "networks": over_seeds([own.seed for own in recipes], found),
            "notes": list(notes),
            "environment": environment(work.device),
            "seconds": time.perf_counter() - began,
        }
        if seeds:
            document["seeds"] = list(seeds)
        draw_instability(document, out.with_suffix(""))
        write_files({out: json.dumps(document, indent=1) + "\n"})
    return document


def _staged_for(seed: int, outputs: Outputs) -> Outputs:
    """Return the outputs with a folder of its own for a seed."""
    stage = outputs.stage / f"seed {seed}"
    stage.mkdir(exist_ok=True)
    return replace(outputs, stage=stage)


def _checked(at: Sequence[str], points: int, networks: Sequence[str], seeds: Sequence[int]) -> list[Moment]:
    """Return the moments of the branches after checking everything that needs no network.

    Raises:
        UsageError: If an option is invalid.
    """
    if points < LEAST_POINTS:
        raise UsageError(f"expected --points of at least {LEAST_POINTS}, got {points}")
    unknown = [name for name in networks if name not in NETWORKS]
    if unknown or not networks:
        raise UsageError(f"expected --network ({', '.join(NETWORKS)}), got {', '.join(unknown) or 'none'}")
    for number, seed in enumerate(seeds):
        if not 0 <= seed < 2**63 or seed in seeds[:number]:
            raise UsageError(f"expected --seeds from 0, each once, got {', '.join(map(str, seeds))}")
    if not at:
        raise UsageError("expected --at as steps (500) or epochs (1epoch), got none")
    return list(dict.fromkeys(map(Moment.parsed, at)))


def _checked_out(out: Path | None) -> Path:
    if out is None or out.suffix != JSON:
        raise UsageError(f"expected --out to end in {JSON}, got {out}")
    check_writable([out, *(out.with_suffix(suffix) for suffix in (".png", ".svg"))])
    return out


def _steps_of(moments: Sequence[Moment], recipe: NamedRecipe, work: Workload, networks: Sequence[str]) -> list[int]:
    """Return the moments as steps, in their order, after checking that each leaves steps to both trainings.

    Raises:
        UsageError: If one does not.
    """
    per_epoch = count_batches(work.train_batches)
    steps = sorted({moment.step(per_epoch) for moment in moments})
    epochs = {"pruned": recipe.epochs // recipe.pruning_rounds, "dense": recipe.dense_epochs or recipe.epochs}
    for network in networks:
        if steps[-1] >= (total := epochs[network] * per_epoch):
            raise UsageError(f"expected --at below the {total} steps of the {network} network, got {steps[-1]}")
    return steps


def _subjects(
    recipe: NamedRecipe, work: Workload, networks: Sequence[str], outputs: Outputs, listener: Listener
) -> list[TrainedTwice]:
    subjects = []
    if "dense" in networks:
        settings, params = dense_settings(recipe, work), count_params(work.model)
        penalty, model = penalty_of(recipe, work), copy.deepcopy(work.model)
        subjects.append(TrainedTwice("dense", model, params, settings, penalty=penalty))
    if "pruned" in networks:
        pruned = pruned_network(recipe, work, outputs, listener)
        kind: Literal["slim", "masked"] = "slim" if pruned.masks is None else "masked"
        module, params = pruned.slimmed.module, pruned.slimmed.plan.slim.params
        settings = training_settings(pruned.recipe, work)
        subjects.append(TrainedTwice(kind, module, params, settings, pruned.teacher, pruned.masks))
    return subjects
