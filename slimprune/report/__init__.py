"""Result objects to JSON, Markdown and text for the terminal."""

from slimprune.export import OnnxCheck
from slimprune.report.result import Measured, Report, Saliency, check_to_json
from slimprune.report.tables import facts, markdown, protected_rows, summary_rows, verification, width_rows
from slimprune.report.terminal import named_lines, page

__all__ = [
    "Measured",
    "OnnxCheck",
    "Report",
    "Saliency",
    "check_to_json",
    "facts",
    "markdown",
    "named_lines",
    "page",
    "protected_rows",
    "summary_rows",
    "verification",
    "width_rows",
]
