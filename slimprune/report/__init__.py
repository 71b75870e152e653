"""Results as JSON, Markdown, HTML, plots and text for the terminal."""

from slimprune.report.comparison import comparison_markdown, comparison_page
from slimprune.report.figures import scale_of_metric
from slimprune.report.inspection import Inspection
from slimprune.report.instability import draw_instability, instability_page
from slimprune.report.latency import latency_markdown, latency_table
from slimprune.report.layer_plots import draw_layers
from slimprune.report.markdown_table import markdown_table
from slimprune.report.pages import comparison_html, report_html
from slimprune.report.pictures import draw_masks
from slimprune.report.plots import draw_comparison
from slimprune.report.precision import alarms
from slimprune.report.summary import best_row, comparison_document
from slimprune.report.tables import facts, markdown, protected_rows, summary_rows, verification, width_rows
from slimprune.report.terminal import latency_page, page
from slimprune.report.text import named_lines, paragraph
from slimprune.report.tree import inspection_page

__all__ = [
    "Inspection",
    "alarms",
    "best_row",
    "comparison_document",
    "comparison_html",
    "comparison_markdown",
    "comparison_page",
    "draw_comparison",
    "draw_instability",
    "draw_layers",
    "draw_masks",
    "facts",
    "inspection_page",
    "instability_page",
    "latency_markdown",
    "latency_page",
    "latency_table",
    "markdown",
    "markdown_table",
    "named_lines",
    "page",
    "paragraph",
    "protected_rows",
    "report_html",
    "scale_of_metric",
    "summary_rows",
    "verification",
    "width_rows",
]
