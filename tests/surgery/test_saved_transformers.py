"""Slim models of transformers: what their configuration says, and bundles that are loaded without the dense model."""

import json

import pytest
import torch

import slimprune
from slimprune.errors import DataError

transformers = pytest.importorskip("transformers")
EXAMPLE = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def vit():
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24, image_size=16, patch_size=8
    )
    return transformers.ViTForImageClassification(config)


def test_a_configuration_says_what_is_narrower_and_the_dense_one_says_nothing(tmp_path):
    model = vit()
    slim = slimprune.prune(model, EXAMPLE, ratio=0.5)
    slim.module.save_pretrained(tmp_path)
    note = json.loads((tmp_path / "config.json").read_text())["slimprune"]
    wide = slim.module.vit.layers[0].mlp.fc1.out_features
    assert note["narrowed"]["vit.layers.0.mlp.fc1"]["out_features"] == f"24 -> {wide}"
    assert "slimprune.load(FOLDER)" in note["reload"]
    assert not hasattr(model.config, "slimprune")
    with pytest.raises(RuntimeError):
        transformers.ViTForImageClassification.from_pretrained(tmp_path)


def test_a_bundle_is_loaded_without_the_dense_model(tmp_path):
    slim = slimprune.prune(vit(), EXAMPLE, ratio=0.5)
    slim.save(tmp_path / "vit.slim")
    before = torch.random.get_rng_state()
    again = slimprune.load(tmp_path / "vit.slim")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert type(again) is transformers.ViTForImageClassification
    assert torch.equal(again(EXAMPLE).logits, slim.module.eval()(EXAMPLE).logits)


def test_layers_that_were_exchanged_are_not_those_of_the_configuration(tmp_path):
    def changed():
        model = vit()
        model.vit.layers[0].mlp.activation_fn = torch.nn.ReLU()
        return model

    slim = slimprune.prune(changed(), EXAMPLE, ratio=0.5)
    slim.save(tmp_path / "vit.slim")
    with pytest.raises(
        DataError, match=r"got another vit\.layers\.0\.mlp\.activation_fn: pass the dense model as model="
    ):
        slimprune.load(tmp_path / "vit.slim")
    again = slimprune.load(tmp_path / "vit.slim", model=changed())
    assert torch.equal(again(EXAMPLE).logits, slim.module.eval()(EXAMPLE).logits)
