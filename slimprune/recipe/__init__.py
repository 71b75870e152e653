"""The validated description of a run: a typed object made from YAML or flags, whose hash identifies the run."""

from slimprune.recipe.defaults import (
    BENCH_BATCH,
    CRITERION_OPTIONS,
    DEFAULT_CRITERIA,
    DEFAULT_RULES,
    DENSE_TASKS,
    EARLY_BIRD_CRITERION,
    SCORED_RULES,
    WEIGHT_CRITERIA,
    names_segmentation,
)
from slimprune.recipe.effects import without_effect
from slimprune.recipe.fields import NamedRecipe, Recipe, ResolvedRecipe
from slimprune.recipe.reading import make_recipe, read_recipe, validated
from slimprune.recipe.settings import RecipeSettings, SettingsBesideTask
from slimprune.recipe.wording import PANELS, default_text

__all__ = [
    "BENCH_BATCH",
    "CRITERION_OPTIONS",
    "DEFAULT_CRITERIA",
    "DEFAULT_RULES",
    "DENSE_TASKS",
    "EARLY_BIRD_CRITERION",
    "PANELS",
    "SCORED_RULES",
    "WEIGHT_CRITERIA",
    "NamedRecipe",
    "Recipe",
    "RecipeSettings",
    "ResolvedRecipe",
    "SettingsBesideTask",
    "default_text",
    "make_recipe",
    "names_segmentation",
    "read_recipe",
    "validated",
    "without_effect",
]
