import xml.etree.ElementTree as ET

from slimprune.report.curves import training_curves

from .documents import TRAINING, document

HISTORY = {"epoch": [1, 2], "lr": [0.1, 0.01], "train_loss": [2.0, 1.0], "test_metric": [0.5, 0.75]}


def test_slim_and_dense_are_drawn_in_the_colours_of_the_page():
    trained = {**TRAINING, "history": HISTORY}
    svg = training_curves(document(training=trained, baselines=[{"name": "dense", **trained}]))
    assert svg is not None
    texts = {element.text for element in ET.fromstring(svg).iter() if element.tag.endswith("text")}
    assert {"slim", "dense", "epoch", "training loss", "top-1 on the test set, %"} <= texts
    assert "var(--ink)" in svg
    assert "#000000" not in svg


def test_the_axis_says_which_images_the_network_was_tested_on():
    svg = training_curves(document(training={**TRAINING, "history": HISTORY, "validation": 0.75}))
    assert svg is not None
    assert "top-1 on the held-out images, %" in svg


def test_equal_trainings_are_drawn_equally():
    trained = document(training={**TRAINING, "history": HISTORY})
    assert training_curves(trained) == training_curves(trained)


def test_nothing_is_drawn_without_a_course():
    assert training_curves(document()) is None
    assert training_curves(document(training=TRAINING)) is None


def test_one_epoch_is_one_tick_and_no_accuracy_is_far_above_all():
    one = {name: values[:1] for name, values in HISTORY.items()}
    svg = training_curves(document(training={**TRAINING, "history": {**one, "test_metric": [0.99]}}))
    assert svg is not None
    texts = [element.text or "" for element in ET.fromstring(svg).iter() if element.tag.endswith("text")]
    assert texts[: texts.index("epoch")] == ["1"]
    figures = [float(text) for text in texts if text.replace(".", "").isdecimal()]
    assert 94 < max(figures) <= 102
