"""`slimprune compare`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slimprune.cli.options import OUTPUT, Debug, Json, Quiet, TrustRecipe
from slimprune.errors import UsageError

if TYPE_CHECKING:
    from slimprune.comparison import OnCluster

_on_cluster = partial(typer.Option, rich_help_panel="On a cluster")


def command(
    recipe: Annotated[Path, typer.Argument(help="YAML file of a grid: rows, budgets and seeds", metavar="GRID")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="folder to fill (default: the recipe's name)", metavar="DIR", rich_help_panel=OUTPUT
        ),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", help="networks to train at once on this machine (default: 1)", metavar="N")
    ] = None,
    on: Annotated[
        str | None, _on_cluster("--on", help="train on ray, ray:HOST:PORT or slurm", metavar="CLUSTER")
    ] = None,
    cpus: Annotated[
        float | None, _on_cluster("--cpus-per-cell", help="CPU cores of a network (default: 1)", metavar="N")
    ] = None,
    gpus: Annotated[
        float | None, _on_cluster("--gpus-per-cell", help="GPUs of a network, such as 0.25 (default: 0)", metavar="N")
    ] = None,
    minutes: Annotated[
        int | None, _on_cluster("--minutes-per-cell", help="time limit on slurm (default: 60)", metavar="N")
    ] = None,
    partition: Annotated[
        str | None, _on_cluster("--slurm-partition", help="partition of slurm", metavar="NAME")
    ] = None,
    trust_code: TrustRecipe = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fill a folder with the tables of a comparison."""
    from slimprune import comparison
    from slimprune.cli.progress import listening
    from slimprune.cli.running import columns, own_stdout, show
    from slimprune.report import comparison_page, paragraph

    folder, cluster = out or Path(recipe.stem), _cluster(on, jobs, cpus, gpus, minutes, partition)
    with own_stdout(), listening(quiet, cells=True) as listener:
        document = comparison.compare(
            recipe, out=folder, jobs=1 if jobs is None else jobs, on=cluster, trust_code=trust_code, listener=listener
        )

    def text() -> str:
        written = f"{folder} holds compare.html and .md (all columns), .json, .svg and .png"
        return f"{paragraph(written, columns())}\n{comparison_page(document, columns())}"

    show(document, text, as_json, quiet)


def _cluster(
    on: str | None,
    jobs: int | None,
    cpus: float | None,
    gpus: float | None,
    minutes: int | None,
    partition: str | None,
) -> "OnCluster | None":
    """Return the cluster that the options describe; None if they name none.

    Raises:
        UsageError: If options contradict each other or are without effect.
    """
    from slimprune.comparison import OnCluster

    named = {
        "--cpus-per-cell": cpus,
        "--gpus-per-cell": gpus,
        "--minutes-per-cell": minutes,
        "--slurm-partition": partition,
    }
    given = [name for name, value in named.items() if value is not None]
    if on is None and given:
        raise UsageError(f"expected --on beside {' and '.join(given)}, got none")
    if on is None:
        return None
    if jobs is not None:
        raise UsageError(f"expected --jobs or --on, got --jobs {jobs} and --on {on}")
    return OnCluster(on, 1 if cpus is None else cpus, 0 if gpus is None else gpus, minutes, partition)
