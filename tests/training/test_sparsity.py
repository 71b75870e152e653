"""Weights that are held at zero, with the optimizer's state."""

import copy

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from slimprune.errors import UsageError, VerificationError
from slimprune.training import Penalty, TrainSettings, top1, train
from slimprune.training.bf16_weights import Bf16Weights
from slimprune.training.sparsity import HeldWeights, digest_of_masks

from .cases import Images, Shuffled, assert_same_state, convolutional, network


def masks_of(model, names=("0.weight", "4.weight", "7.weight"), seed=3):
    generator = torch.Generator().manual_seed(seed)
    own = dict(model.named_parameters())
    return {name: torch.rand(own[name].shape, generator=generator) < 0.3 for name in names}


def assert_zero(tensors, masks):
    for name, mask in masks.items():
        assert not tensors[name][~mask].any(), name
        assert tensors[name][mask].all(), name


@pytest.mark.parametrize("options", [{}, {"optimizer": "adamw"}, {"amp": True}, {"fast": False}, {"ema": 0.9}], ids=str)
def test_masked_weights_and_their_momentum_stay_zero(options, tmp_path):
    model = convolutional()
    masks, first = masks_of(model), copy.deepcopy(model.state_dict())
    settings = TrainSettings(2, lr=0.01, weight_decay=0.01, **options)
    train(model, Images(), Images(), settings, loss=cross_entropy, metric=top1, masks=masks, checkpoint=tmp_path)
    assert_zero(model.state_dict(), masks)
    assert all(not torch.equal(model.state_dict()[name][mask], first[name][mask]) for name, mask in masks.items())
    stored = load_file(next(tmp_path.rglob("*.safetensors")))
    prefixes = ["exp_avg.", "exp_avg_sq."] if options.get("optimizer") == "adamw" else ["momentum."]
    for prefix in ["model.", *prefixes, *(["averaged."] if "ema" in options else [])]:
        assert all(not stored[prefix + name][~mask].any() for name, mask in masks.items()), prefix


def test_penalties_move_no_masked_weight():
    model = convolutional()
    masks = masks_of(model)
    penalty = Penalty("sum", 0.1, lambda own: sum(weight.sum() for weight in own.parameters()))
    train(
        model, Images(), Images(), TrainSettings(1, lr=0.01), loss=cross_entropy, metric=top1, masks=masks,
        penalty=penalty,
    )  # fmt: skip
    assert_zero(model.state_dict(), masks)


def test_lowered_weights_hand_over_their_gradients_before_they_are_masked():
    """As on CUDA: the optimizer's weights are not those of the forward pass."""
    model = convolutional()
    masks = masks_of(model)
    held, lowered = HeldWeights.of(model, masks), Bf16Weights(model)
    with lowered.in_use(), torch.autocast("cpu", torch.bfloat16):
        model(Images().inputs[:4]).square().sum().backward()
    held.mask_gradients()
    assert all(not dict(model.named_parameters())[name].grad[~mask].any() for name, mask in masks.items())


class KilledError(Exception):
    pass


def test_a_resumed_training_ends_with_equal_weights(tmp_path):
    settings, whole, resumed = TrainSettings(3, lr=0.05), network(), network()
    masks = masks_of(whole, ("0.weight", "4.weight"))

    def run(model, folder, **options):
        train(
            model, Shuffled(), Shuffled(), settings, loss=cross_entropy, metric=top1, masks=masks, checkpoint=folder,
            **options,
        )  # fmt: skip

    def kill(done):
        if done == 4:  # of 3 steps an epoch
            raise KilledError

    run(whole, tmp_path / "whole")
    with pytest.raises(KilledError):
        run(resumed, tmp_path / "killed", after_step=kill)
    resumed = network(seed=1)  # what is not in the checkpoint would show
    run(resumed, tmp_path / "killed")
    assert_same_state(whole, resumed)


def test_a_checkpoint_of_other_masks_is_refused(tmp_path):
    model, settings = network(), TrainSettings(1, lr=0.05)

    def run(seed):
        masks = masks_of(model, ("0.weight",), seed)
        train(
            model, Shuffled(), Shuffled(), settings, loss=cross_entropy, metric=top1, masks=masks, checkpoint=tmp_path
        )

    run(1)
    with pytest.raises(VerificationError, match="masks"):
        run(2)


def test_the_digest_depends_on_every_entry_and_name():
    mask = torch.ones(2, 3, dtype=torch.bool)
    other = mask.clone()
    other[1, 1] = False
    given = [{"a": mask}, {"b": mask}, {"a": other}, {"a": mask.view(3, 2)}]
    assert len({digest_of_masks(masks) for masks in given}) == 4


@pytest.mark.parametrize(("name", "found"), [("9.weight", "nothing"), ("4.weight", r"\(3, 16\)")])
def test_masks_of_another_model_are_refused(name, found):
    masks = {name: torch.ones(2, 2, dtype=torch.bool)}
    with pytest.raises(UsageError, match=rf"a parameter {name} of shape \(2, 2\) to mask, got {found}"):
        train(network(), Shuffled(), Shuffled(), TrainSettings(1), loss=cross_entropy, metric=top1, masks=masks)
