"""`slimprune plan`."""

from typing import Any

from slimprune.cli.flags import takes_recipe
from slimprune.cli.options import Config, Debug, Json, Quiet, TrustRecipe


@takes_recipe
def command(
    settings: dict[str, Any],
    config: Config = None,
    trust_code: TrustRecipe = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show the widths that `compress` would build."""
    from slimprune import pipeline
    from slimprune.cli.running import merged, run_and_show

    run_and_show(pipeline.plan, merged(config, settings, trust_code=trust_code), as_json, quiet)
