import json

import pytest

from slimprune.errors import UsageError, VerificationError
from slimprune.preprocessing import Preprocessing, Stated, as_configs, as_metadata, from_configs, from_metadata

HOW = Preprocessing((0.1, 0.2, 0.3), (0.4, 0.5, 1 / 3), 32, 48, "bicubic", ("a", "b, c", "é"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"std": (0.5,)}, "expected 3 numbers of std, one per channel, got 1"),
        ({"mean": (), "std": ()}, "expected 1 numbers of mean, one per channel, got 0"),
        (
            {"mean": (123.7, 116.3, 103.5)},
            r"a mean in \[0, 1\] per channel, .*, got 123.7, 116.3, 103.5",
        ),
        ({"std": (0.5, 0, 0.5)}, r"a std in \(0, 1\] per channel, of pixels in 0..1, got 0.5, 0, 0.5"),
        ({"height": 0}, "expected height and width of at least 1, got 0x48"),
        ({"interpolation": "area"}, "expected an interpolation .nearest, lanczos, bilinear, bicubic., got 'area'"),
    ],
)
def test_values_out_of_range_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        Preprocessing(**{**vars(HOW), **changes})


@pytest.mark.parametrize(("channels", "order"), [(1, "L"), (3, "RGB"), (4, None)])
def test_the_channel_order_follows_from_the_channels(channels, order):
    assert Preprocessing((0.5,) * channels, (0.5,) * channels, 8, 8).channel_order == order


def test_metadata_say_it_all():
    metadata = as_metadata(Stated("uint8", HOW, 8))
    assert from_metadata(metadata) == Stated("uint8", HOW, 8)
    assert json.loads(metadata["mean"]) == [0.1, 0.2, 0.3]
    assert metadata["channel_order"] == "RGB"
    assert from_metadata({}) == Stated("normalized", None, None)
    assert from_metadata(as_metadata(Stated("normalized"))) == Stated("normalized", None, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": "bytes"}, r"expected metadata input \(unit, normalized, uint8\), got 'bytes'"),
        ({"mean": None}, "expected metadata mean beside input uint8, got none"),
        ({"std": None}, "expected metadata std beside mean, got none"),
        ({"std": "0.5, 0.5"}, "expected metadata std as JSON, got '0.5, 0.5'"),
        ({"std": "[0.5]"}, "expected 3 numbers of std"),
        ({"std": '["a", "b", "c"]'}, "expected metadata of lists and numbers, got could not convert"),
        ({"width": "null"}, "expected metadata of lists and numbers, got int"),
        ({"size_step": "0"}, "expected metadata size_step of at least 1, got '0'"),
    ],
)
def test_metadata_that_cannot_be_read_are_refused(changes, message):
    metadata = {**as_metadata(Stated("uint8", HOW, 8)), **changes}
    with pytest.raises(VerificationError, match=message):
        from_metadata({key: value for key, value in metadata.items() if value is not None})


def test_hugging_face_s_files_say_it_all_too():
    configs = json.loads(json.dumps(as_configs(HOW)))
    assert from_configs(configs["preprocessor_config.json"], configs["config.json"]) == HOW
    assert configs["config.json"]["label2id"] == {"a": 0, "b, c": 1, "é": 2}
    unnamed = Preprocessing((0.5,), (0.5,), 8, 8)
    assert from_configs(as_configs(unnamed)["preprocessor_config.json"], None) == unnamed
    assert as_configs(unnamed).keys() == {"preprocessor_config.json"}
