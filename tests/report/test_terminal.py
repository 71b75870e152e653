import pytest

from slimprune.report import page
from slimprune.report.terminal import width_grid

from .documents import ONNX, SALIENCY, TRAINING, document


def test_the_page_ends_with_widths_and_dense_against_slim() -> None:
    text = page(document(saliency=SALIENCY, training=TRAINING, onnx=ONNX, warnings=["mind this"]))
    assert text.split("\n\n")[1:] == [
        "stem        64 -> 16     body.conv2  64 -> 16     head        10 -> 10 *",
        "                     dense            slim     change\n"
        "─────────────────────────────────────────────────────\n"
        "channels             1,200             300   -75.00 %\n"
        "parameters       4,000,000         998,000   -75.05 %\n"
        "MACs         1,000,000,000   1,000,000,000       none\n"
        "weights            16.0 MB          4.8 kB   -99.97 %\n"
        "ONNX file                           4.4 kB\n"
        "top-1          not trained         93.46 %",
    ]
    assert "protected *  head: model output\nnote         mind this\n" in text


@pytest.mark.parametrize("columns", [80, 120])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    widths = [{"group": "0", "layer": f"layer{i}.conv", "dense": 512, "slim": 7} for i in range(50)]
    text = page(document(widths=widths, warnings=["many words " * 30], training=TRAINING, onnx=ONNX), columns)
    assert max(map(len, text.splitlines())) <= columns


def test_widths_run_downwards_and_are_aligned() -> None:
    rows = [("a", "8", "7"), ("bb", "16", "2 *"), ("c", "128", "64"), ("d", "4", "4"), ("e", "5", "5")]
    assert width_grid(rows, columns=36).splitlines() == [
        "a     8 -> 7     d     4 -> 4",
        "bb   16 -> 2 *   e     5 -> 5",
        "c   128 -> 64",
    ]
    assert len(width_grid(rows, columns=10).splitlines()) == 5
