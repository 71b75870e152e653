"""The plot and the page of `instability`."""

from slimprune.files import InstabilityDocument
from slimprune.report import draw_instability, instability_page
from slimprune.report.instability import instability_figure


def document() -> InstabilityDocument:
    return {
        "schema_version": 1,
        "recipe": {"arch": "a $net$\x1b", "data": "digits", "seed": 0},
        "metric": "top1",
        "places": [0, 0.5, 1],
        "statistics_images": 4096,
        "networks": [
            {
                "network": network, "params": 20_000, "epochs": 2, "steps_per_epoch": 100, "curves": [
                    {"step": 0, "epoch": 0, "errors": [0.1, 0.6, 0.2], "trained": [0.1, 0.2], "instability": 0.45,
                     "distance": 12.346},
                    {"step": 100, "epoch": 1, "errors": [0.1, 0.15, 0.1], "trained": [0.1, 0.1], "instability": 0.05,
                     "distance": 3},
                ],
            }
            for network in ("dense", "masked")
        ],
        "notes": [],
        "environment": {"device": "cpu"},
        "seconds": 1,
    }  # fmt: skip


def test_both_files_are_written_and_equal_each_time(tmp_path):
    for name in ("a.instability", "b"):
        draw_instability(document(), tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.instability.png",
        "a.instability.svg",
        "b.png",
        "b.svg",
    ]
    assert (tmp_path / "a.instability.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert b"\x1b" not in (tmp_path / "b.svg").read_bytes()


def test_every_curve_is_within_the_shared_axis():
    figure = instability_figure(document())
    for axes in figure.axes:
        low, high = axes.get_ylim()
        assert low == 0
        assert high > 60
        assert [list(line.get_ydata()) for line in axes.lines] == [[10, 60, 20], [10, 15, 10]]
    assert figure.axes[0].get_ylabel() == "test error (100 - top-1), %"
    labels = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert labels == ["step 0: 45.0 points", "step 100 (1 epoch): 5.0 points"]


def test_several_seeds_are_means_with_their_spread():
    found = document()
    found["seeds"] = [0, 1]
    for network in found["networks"]:
        for curve in network["curves"]:
            curve["spread"] = {"errors": [0.01, 0.02, 0.01], "instability": 0.04}
    figure = instability_figure(found)
    assert figure.get_suptitle().endswith("mean ± one sd of seeds 0, 1")
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == 62  # 60 + 2
    assert figure.axes[0].get_legend().get_texts()[0].get_text() == "step 0: 45.0 ± 4.0 points"
    text = " ".join(instability_page(found, 100).split())
    assert "Means of 2 seeds." in text
    assert "45.00 ± 4.00 points" in text


def test_the_page_names_what_was_done():
    text = instability_page(document(), 100)
    assert "statistics of batch norm of 4,096 training images each" in " ".join(text.split())
    row = next(line.split() for line in text.splitlines() if "masked" in line)
    assert " ".join(row) == "masked step 0 10.00 %, 20.00 % 60.00 % 45.00 points 12.35"
    assert "distance" not in instability_page(document(), 60)


def test_a_network_without_batch_norm_has_no_statistics():
    assert "batch norm" not in instability_page({**document(), "statistics_images": 0}, 100)
