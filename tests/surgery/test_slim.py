from dataclasses import replace

import pytest
import torch

from slimprune.budget import Budget, CostModel, allocate
from slimprune.errors import UsageError, VerificationError
from slimprune.graph import find_groups
from slimprune.measure import count_params
from slimprune.preprocessing import Preprocessing
from slimprune.surgery import Origin, SlimModel, load, prove, read, slim
from tests.networks import EXAMPLE, TOYS, Flatten, Residual, toy


def planned(kind, ratio=0.5):
    model = toy(kind)
    groups = find_groups(model, EXAMPLE)
    return model, allocate(None, groups, Budget(ratio), CostModel.of(model, groups, EXAMPLE), rule="uniform")


@pytest.mark.parametrize("kind", TOYS)
def test_a_slim_model_is_smaller_and_proven(kind):
    model, plan = planned(kind)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = slim(model, plan)
    proof = prove(model, found, EXAMPLE)
    assert count_params(found.module) == plan.slim.params < plan.dense.params
    assert proof.passed
    assert proof.max_rel_diff <= 1e-9
    assert found.proof is None
    assert found.with_proof(proof).proof == proof
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_it_can_be_proven_after_training_too():
    model, plan = planned(Residual)
    found = slim(model, plan)
    with torch.no_grad():
        for parameter in found.module.parameters():
            parameter.add_(torch.randn_like(parameter))
    assert prove(model, found, EXAMPLE, trained=True).passed
    assert "does not hold the weights of the kept channels" in prove(model, found, EXAMPLE).reason


def test_a_failed_proof_is_an_error():
    model, plan = planned(Residual)
    found = slim(model, plan)
    wrong = SlimModel(slim(model, planned(Residual, 0.7)[1]).module, plan)
    with pytest.raises(VerificationError, match="not proven equal to the silenced dense one: "):
        found.with_proof(prove(model, wrong, EXAMPLE))


def test_nothing_removed_is_proven_trivially():
    model, plan = planned(Residual, 0.0001)
    assert prove(model, slim(model, plan), EXAMPLE).max_rel_diff < 1e-12


def test_other_channels_of_the_same_number_are_found():
    model, plan = planned(Residual)
    shifted = {group: kept if group == "head" else kept + 1 for group, kept in plan.kept.items()}
    other = slim(model, replace(plan, kept=shifted))
    assert "does not hold the weights" in prove(model, SlimModel(other.module, plan), EXAMPLE).reason


def test_a_plan_of_another_model_is_refused():
    _, plan = planned(Residual)
    with pytest.raises(UsageError, match="expected a plan of this model, got one whose group stem touches"):
        slim(toy(Flatten), plan)
    wrong = replace(plan, kept={**plan.kept, "stem": torch.tensor([0, 9])})
    with pytest.raises(UsageError, match=r"expected channels of stem in 0 \.\.\. 5, got"):
        slim(toy(Residual), wrong)


def test_it_is_saved_as_it_was_trained(tmp_path):
    model, plan = planned(Residual)
    found = slim(model, plan)
    with torch.no_grad():
        found.module.head.bias.add_(1)
    found.save(tmp_path / "a.slim")
    found.save(tmp_path / "a.slim", results={"top1": 0.5})  # a bundle is replaced
    assert read(tmp_path / "a.slim").results == {"top1": 0.5}
    inputs = torch.randn(2, 3, 8, 8)
    assert torch.equal(load(tmp_path / "a.slim", model=toy(Residual))(inputs), found.module.eval()(inputs))
    average = torch.optim.swa_utils.AveragedModel(found.module)
    found.save(tmp_path / "b.slim", module=average.module)
    with pytest.raises(UsageError, match=r"the tensors of the slim module, stem.weight of shape .*, got None"):
        found.save(tmp_path / "c.slim", module=average)
    with pytest.raises(UsageError, match=r"stem.weight of shape \(4, 3, 3, 3\), got \(6, 3, 3, 3\)"):
        found.save(tmp_path / "c.slim", module=model)
    assert not (tmp_path / "c.slim").exists()


def test_a_preprocessing_goes_along_until_the_bundle_is_replaced(tmp_path):
    model, plan = planned(Residual)
    found = replace(slim(model, plan), origin=Origin.of_object(EXAMPLE, model(EXAMPLE)))
    preprocessing = Preprocessing((0.5, 0.4, 0.3), (0.2, 0.2, 0.2), 8, 8, class_names=("a", "b", "c", "d"))
    found.save(tmp_path / "a.slim", preprocessing=preprocessing)
    assert read(tmp_path / "a.slim").preprocessing == preprocessing
    found.save(tmp_path / "a.slim")
    assert read(tmp_path / "a.slim").preprocessing is None
    with pytest.raises(UsageError, match="of images with 3 channels, got one of 1"):
        found.save(tmp_path / "b.slim", preprocessing=Preprocessing((0.5,), (0.2,), 8, 8))


def test_other_files_are_not_written_over(tmp_path):
    model, plan = planned(Residual)
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(UsageError, match="expected a new or empty folder, or one of a bundle, got"):
        slim(model, plan).save(tmp_path)
    with pytest.raises(UsageError, match=r"cannot write \S+README\.md"):
        slim(model, plan).save(tmp_path / "README.md")
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_slim_model_says_what_was_removed():
    model, plan = planned(Residual)
    found = slim(model, plan)
    lines = str(found.with_proof(prove(model, found, EXAMPLE))).splitlines()
    assert [line.split()[0] for line in lines] == ["removed", "channels", "parameters", "MACs", "proof"]
    assert f"{plan.dense.params:,} -> {plan.slim.params:,}" in lines[2]
    assert str(found).endswith("none yet")
