"""What a run found, as plain frozen values and as the document that is written to disk."""

from slimprune.results.accuracies import Accuracies, Round
from slimprune.results.deployed import DeployedFile, Precisions, check_to_json
from slimprune.results.masks import Masks
from slimprune.results.measured import Measured, SecondOpinion, differ
from slimprune.results.report import Picture, Report
from slimprune.results.trained import Judged, further_to_json
from slimprune.results.warnings import misses_latency
from slimprune.results.widths import EarlyBird, Saliency, Search, SearchTrial, Sharing

__all__ = [
    "Accuracies",
    "DeployedFile",
    "EarlyBird",
    "Judged",
    "Masks",
    "Measured",
    "Picture",
    "Precisions",
    "Report",
    "Round",
    "Saliency",
    "Search",
    "SearchTrial",
    "SecondOpinion",
    "Sharing",
    "check_to_json",
    "differ",
    "further_to_json",
    "misses_latency",
]
