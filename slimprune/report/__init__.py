"""Result objects to JSON, Markdown and the rows of the terminal's tables."""

from slimprune.export import OnnxCheck
from slimprune.report.result import Measured, Report, Saliency
from slimprune.report.tables import facts, markdown, summary_rows, width_rows

__all__ = ["Measured", "OnnxCheck", "Report", "Saliency", "facts", "markdown", "summary_rows", "width_rows"]
