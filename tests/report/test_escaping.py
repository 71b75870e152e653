"""Names from files have no effect on pages: neither as HTML, nor as Markdown, nor as control characters."""

import re
import xml.etree.ElementTree as ET

import pytest

from slimprune.report import (
    comparison_html,
    comparison_markdown,
    draw_comparison,
    latency_markdown,
    markdown,
    report_html,
)
from slimprune.report.escaping import for_markdown, for_pages
from tests.report import comparisons
from tests.report.documents import document
from tests.report.test_latency import DOCUMENT
from tests.report.test_pages import PNG, Page

HOSTILE = "<script>a</script>\n<img src=x onerror=a><svg onload=a>[x](javascript:a)![x](http://x/) `b` \x1b[2J $\\frac"


def poisoned(value):
    """A document in which every free text, and every key of free facts, is hostile."""
    value["recipe"] = {**value["recipe"], "arch": HOSTILE, "data": HOSTILE, "note": HOSTILE, HOSTILE: "x"}
    value["environment"] = {**value["environment"], HOSTILE: HOSTILE}
    value["rule"], value["warnings"] = HOSTILE, [HOSTILE]
    value["widths"] = [{**row, "layer": row["layer"] + HOSTILE} for row in value["widths"]]
    value["protected"] = [{"layer": HOSTILE, "reason": HOSTILE}]
    value["pictures"] = [{"title": HOSTILE, "file": "a b)](x.png"}]
    return value


def assert_harmless(text):
    assert not any(tag in text for tag in ("<script>", "<img src=x", "<svg onload"))
    assert "\x1b" not in text


def assert_no_link(text):
    assert not re.search(r"(?<!\\)\[x\]", text)


def test_markdown_of_a_report():
    text = markdown(poisoned(document()))
    assert_harmless(text)
    assert_no_link(text)
    assert "(a%20b%29%5D%28x.png)" in text


def test_the_page_of_a_report(tmp_path):
    text = report_html(poisoned(document()), tmp_path)
    Page(text)
    assert_harmless(text)


def test_markdown_of_times():
    text = latency_markdown({**DOCUMENT, "bundle": HOSTILE, "environment": {HOSTILE: HOSTILE}})
    assert_harmless(text)
    assert_no_link(text)


def test_a_comparison(tmp_path):
    found = comparisons.document(title=HOSTILE)
    for table in found["tables"]:
        table["rows"] = [{**row, "row": f"{HOSTILE}{number}"} for number, row in enumerate(table["rows"])]
    assert_harmless(comparison_html(found))
    assert_harmless(comparison_markdown(found))
    assert_no_link(comparison_markdown(found))
    draw_comparison(found, tmp_path / "compare")
    ET.parse(tmp_path / "compare.svg")


def test_only_texts_change():
    plain = {"a": [1, None, True, 0.5], "b": ("x & y", "a_b*c", "&amp;")}
    assert for_pages(plain) == plain
    assert for_markdown(plain) == {**plain, "b": ("x & y", "a_b*c", "&amp;amp;")}


@pytest.fixture
def hidden(tmp_path):
    """A picture and a text outside the report's folder."""
    (tmp_path / "secret.txt").write_text("host name")
    (tmp_path / "secret.png").write_bytes(PNG)
    (tmp_path / "report").mkdir()
    return tmp_path / "report"


@pytest.mark.parametrize(
    "name", ["../secret.txt", "../secret.png", "link.png", "text.png", "folder.png", "/etc/hostname"]
)
def test_only_images_of_the_reports_folder_become_part_of_a_page(hidden, name):
    (hidden / "link.png").symlink_to(hidden.parent / "secret.png")
    (hidden / "text.png").write_text("no image")
    (hidden / "folder.png").mkdir()
    text = report_html({**document(), "pictures": [{"title": "one", "file": name}]}, hidden)
    assert "data:image" not in text
    assert "the file is not there" in text
    (hidden / "own.png").write_bytes(PNG)
    assert "data:image/png" in report_html({**document(), "pictures": [{"title": "one", "file": "own.png"}]}, hidden)
