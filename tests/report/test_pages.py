import base64
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

from slimprune.report import comparison_html, report_html
from slimprune.report.pages import inspection_html, inspection_svg
from tests.networks import Concat, Residual

from . import comparisons
from .documents import ONNX, SALIENCY, SEARCH, TRAINING, document
from .inspections import inspected, with_reason
from .test_curves import HISTORY
from .test_latency import ALIKE, ROW

VOID = {"meta", "img", "br", "wbr", "link", "input"}
HOSTILE = '<script>alert("x")</script><b> & </body>'
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")


class Page(HTMLParser):
    """Tags must be closed in order; collects what is referred to and what is written."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.addresses, self.texts, self.cells = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "xlink:href", "srcset")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.open and self.open[-1] == "td":
            self.cells.append(data)


def check_self_contained(text):
    """Refers to nothing but itself, and names no address beside that of SVG's language."""
    page = Page(text)
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in page.addresses)
    assert set(re.findall(r"https?://[^\s\"'<)]*", text)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\((?!#)", text)
    return page


def full(**changes):
    trained = {**TRAINING, "history": HISTORY}
    return document(
        saliency={**SALIENCY, "stability": 0.5}, search=SEARCH, training=trained,
        baselines=[{"name": "dense", **trained}], onnx=ONNX, latency=[ROW, ALIKE], warnings=["mostly noise"], **changes,
    )  # fmt: skip


def test_a_full_report_has_all_its_parts(tmp_path):
    page = check_self_contained(report_html(full(), tmp_path))
    headings = [text for text in page.texts if text in HEADINGS]
    assert headings == HEADINGS
    assert "12.50 (12.10-12.88)" in page.texts
    assert "16 of 64" in page.texts
    assert "mostly noise" in page.texts
    assert page.tags.count("svg") == 1


HEADINGS = [
    "Dense against slim", "Width of every layer", "Training", "Latency", "Protected layers", "Stability of the ranking",
    "Circumstances",
]  # fmt: skip


def test_a_report_leaves_out_what_was_not_done(tmp_path):
    page = check_self_contained(report_html(document(protected=[]), tmp_path))
    assert [text for text in page.texts if text in HEADINGS] == [HEADINGS[0], HEADINGS[1], HEADINGS[-1]]


def test_bars_are_as_long_as_the_layers_are_wide(tmp_path):
    text = report_html(document(), tmp_path)
    # stem 64 of at most 64 wide, a quarter of it kept; head 10 of 64, whole
    assert 'style="width:100.0%"><i style="width:25.0%">' in text
    assert '"bar whole" style="width:15.62%"><i style="width:100.0%">' in text


def test_pictures_are_part_of_the_page(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "one.png").write_bytes(PNG)
    named = [{"title": HOSTILE, "file": "pictures/one.png"}, {"title": "gone", "file": "two.png"}]
    page = check_self_contained(report_html(full(pictures=named), tmp_path))
    assert page.addresses.count(f"data:image/png;base64,{base64.b64encode(PNG).decode()}") == 1
    assert "the file is not there" in page.texts
    assert page.tags.count("img") == 1


def test_hostile_names_cannot_break_a_report(tmp_path):
    widths = [{"group": "0", "layer": HOSTILE, "dense": 4, "slim": 2}]
    recipe = {**document()["recipe"], "arch": HOSTILE}
    protected = [{"layer": HOSTILE, "reason": HOSTILE}]
    page = check_self_contained(report_html(full(widths=widths, recipe=recipe, protected=protected), tmp_path))
    assert "script" not in page.tags
    assert page.texts.count(HOSTILE) >= 3


def test_a_comparison_shows_the_rows_best_first():
    page = check_self_contained(comparison_html(comparisons.document(title=HOSTILE)))
    names = [text for text in page.cells if text in ROWS]
    assert names == ["dense", "prospr (winner)", "uniform at equal MACs", "prospr: shuffle", "magnitude",
                     "uniform at equal params", "prospr: reinit"]  # fmt: skip
    assert "script" not in page.tags
    assert "91.00 ± 1.41" in page.texts


ROWS = {"dense", "prospr (winner)", "prospr: shuffle", "prospr: reinit", "uniform at equal MACs", "magnitude",
        "uniform at equal params"}  # fmt: skip


def test_published_figures_stand_in_a_column_of_their_own():
    paper = [{"row": "prospr", "budget": comparisons.BUDGET, "top1": 93.32, "miou": None, "source": "Table 2"}]
    assert "93.32 (Table 2)" in Page(comparison_html(comparisons.document(paper=paper))).texts
    assert "paper" not in Page(comparison_html(comparisons.document())).texts


@pytest.mark.parametrize("kind", [Residual, Concat])
def test_an_inspected_model_as_a_page_and_as_a_drawing(kind):
    page = check_self_contained(inspection_html(inspected(kind)))
    drawing = inspection_svg(inspected(kind))
    check_self_contained(drawing)
    titles = [element for element in ET.fromstring(drawing).iter() if element.tag.endswith("title")]
    nodes = inspected(kind)["flow"]["nodes"]
    assert len(titles) == 1 + len([node for node in nodes if "BatchNorm" not in node["type"]])
    assert page.tags.count("tbody") == len(inspected(kind)["groups"])
    assert any("whole: model output" in text for text in page.texts)


def test_hostile_layers_and_reasons_cannot_break_a_drawing():
    document = with_reason(inspected(Concat), HOSTILE, "<b>")
    page = check_self_contained(inspection_html(document))
    assert page.tags.count("script") == 1  # the page's own
    assert "b" not in page.tags
    assert HOSTILE in page.texts
    drawing = inspection_svg(document)
    assert not [element.tag for element in ET.fromstring(drawing).iter() if element.tag.endswith(("}b", "}script"))]
    assert "&lt;b&gt;" in drawing
