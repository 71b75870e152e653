import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import slimprune
from slimprune.errors import DataError, UnsupportedModelError, UsageError
from slimprune.graph import find_groups, free_groups
from slimprune.models import (
    InputSpec,
    Preprocessing,
    architectures,
    build,
    fill,
    pretrained_preprocessing,
    pretrained_weights,
    task_of,
)

from .asserts import assert_maps

INPUTS = InputSpec(3, 32, 32, 5)

SMALL: dict[str, Any] = {
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
    "convnext": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
    "vit": {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24, "patch_size": 8,
    },
    "segformer": {
        "num_encoder_blocks": 2, "depths": [1, 1], "hidden_sizes": [8, 16], "sr_ratios": [2, 1], "mlp_ratios": [2, 2],
        "num_attention_heads": [1, 2], "patch_sizes": [7, 3], "strides": [4, 2], "decoder_hidden_size": 16,
    },
}  # fmt: skip


def config_of(kind: str, **changes: Any) -> Any:
    task = "SegformerForSemanticSegmentation" if kind == "segformer" else "AnyForImageClassification"
    return transformers.AutoConfig.for_model(kind, **SMALL[kind], architectures=[task], **changes)


def folder_of(kind: str, folder: Path, **changes: Any) -> Path:
    """A folder with `config.json`, as it is on the hub."""
    config_of(kind, **changes).save_pretrained(folder)
    return folder


def trained(folder: Path, labels: int = 1000) -> transformers.PreTrainedModel:
    """A folder with the weights of a small ResNet."""
    torch.manual_seed(1)
    model = transformers.ResNetForImageClassification(config_of("resnet", num_labels=labels))
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize(
    ("kind", "removable"),
    [("resnet", 4), ("convnext", 4), ("vit", 2)],
)
def test_classifiers_are_built_for_the_data_and_can_be_slimmed(tmp_path: Path, kind: str, removable: int):
    model = build(f"hf:{folder_of(kind, tmp_path)}", INPUTS)
    assert_maps(model, INPUTS, 5)
    assert len(free_groups(find_groups(model, torch.zeros(2, 3, 32, 32)))) >= removable


def test_a_segmenter_gives_logits_of_the_images_size(tmp_path: Path):
    inputs = InputSpec(1, 32, 48, 2)
    assert_maps(build(f"hf:{folder_of('segformer', tmp_path)}", inputs), inputs, 2, 32, 48)


def test_pretrained_weights_of_a_folder(tmp_path: Path):
    expected = trained(tmp_path).state_dict()
    arch = f"hf:{tmp_path}"
    found, model = pretrained_weights(arch, INPUTS), build(arch, INPUTS)
    with pytest.raises(DataError, match=r"expected 5 outputs of the head model.classifier.1, got 1000"):
        fill(model, found, "w", outputs=5, reset_head=False)
    assert fill(model, found, "w", outputs=5, reset_head=True) == [
        "model.classifier.1.weight",
        "model.classifier.1.bias",
    ]
    name = "resnet.embedder.embedder.convolution.weight"
    assert torch.equal(model.get_parameter(f"model.{name}"), expected[name])


def test_a_bundle_needs_the_folder_no_more(tmp_path: Path, data: str):
    folder = tmp_path / "resnet"
    trained(folder, labels=2)
    settings: dict[str, Any] = {"data": data, "ratio": 0.3, "epochs": 1, "batch_size": 8, "score_batch": 8, "draws": 1}
    slimprune.compress(f"hf:{folder}", pretrained=True, **settings, out=tmp_path / "r.slim")
    (folder / "config.json").unlink()
    slim = slimprune.load(tmp_path / "r.slim")
    assert slim(torch.zeros(2, 3, 16, 16)).shape == (2, 2)
    described = json.loads((tmp_path / "r.slim" / "slim.json").read_text())
    assert "architecture.json" in described["sha256"]


def test_the_form_is_listed():
    assert "hf:FOLDER_OR_ID" in [architecture.name for architecture in architectures()]
    assert task_of("hf:microsoft/resnet-18") is None


def test_how_images_are_prepared(tmp_path: Path):
    folder_of("resnet", tmp_path)
    assert pretrained_preprocessing(f"hf:{tmp_path}") is None
    stated = {
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.2, 0.2, 0.2],
        "resample": 3,
        "size": {"shortest_edge": 9},
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stated))
    expected = Preprocessing((0.5, 0.4, 0.3), (0.2, 0.2, 0.2), 9, "bicubic")
    assert pretrained_preprocessing(f"hf:{tmp_path}") == expected
    (tmp_path / "preprocessor_config.json").write_text("[]")
    assert pretrained_preprocessing(f"hf:{tmp_path}") is None


@pytest.mark.parametrize("name", ["", "resnet", "./absent", "/absent/folder", "a/b/c"])
def test_neither_a_folder_nor_an_id(name: str):
    with pytest.raises(UsageError, match=r"expected hf:FOLDER with a config.json or hf:OWNER/NAME, got 'hf:"):
        build(f"hf:{name}", INPUTS)


def test_an_id_that_is_not_in_the_cache_says_what_to_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataError) as caught:
        build("hf:microsoft/resnet-18", INPUTS)
    address = "https://huggingface.co/microsoft/resnet-18/resolve/main/config.json"
    assert f"download {address} into a folder and name it by hf:FOLDER" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, DataError, "expected config.json in the folder .*, found none"),
        ("{", DataError, r"configuration .*config.json cannot be read: "),
        ('{"model_type": "no-such-type"}', DataError, r"configuration .*config.json cannot be read: "),
        (
            '{"model_type": "bert"}',
            UnsupportedModelError,
            r"transformers cannot build hf:.* for 3 channels, 32x32 pixels",
        ),
        (
            '{"model_type": "mine", "auto_map": {"AutoConfig": "code.Mine"}}',
            DataError,
            r"configuration .*config.json cannot be read: ",
        ),
    ],
)
def test_configurations_that_are_refused(tmp_path: Path, content: str | None, error: type[Exception], message: str):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
        (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')")
    with pytest.raises(error, match=message) as caught:
        build(f"hf:{tmp_path}", INPUTS)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("content", [None, b"garbage"])
def test_weights_that_are_missing_or_damaged(tmp_path: Path, content: bytes | None):
    folder_of("resnet", tmp_path)
    if content is not None:
        (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(DataError, match=r"(expected model.safetensors in the folder|weights of hf:.* cannot be read)"):
        pretrained_weights(f"hf:{tmp_path}", INPUTS)


def test_without_transformers_it_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=r"expected transformers for 'hf:a/b', found none: pip install 'slimprune\["):
        build("hf:a/b", INPUTS)
