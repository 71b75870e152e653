import torch

from slimprune.graph.channel_ids import ChannelUnionFind
from slimprune.graph.propagation import Flow, TensorSource


def known(tensor, name="weight"):
    flow = Flow(ChannelUnionFind())
    flow.set_source(tensor, TensorSource.of(name, tensor))
    return flow


def test_the_dimension_that_an_axis_follows():
    source = TensorSource.of("weight", torch.zeros(4, 3, 1, 1))
    assert [source.dim_along(axis) for axis in range(4)] == [0, 1, 2, 3]
    turned = source.mapped(lambda steps: steps.flatten(1).t())
    assert [turned.dim_along(axis) for axis in range(2)] == [1, 0]
    mixed = source.mapped(lambda steps: steps.reshape(2, 6))
    assert [mixed.dim_along(axis) for axis in range(2)] == [None, 1]  # a row holds parts of two rows


def test_a_part_of_a_parameter_has_its_places():
    weight = torch.zeros(6, 3)
    flow = known(weight)
    part = weight[2:4]
    flow.set_source(part, flow.source(weight).mapped(lambda steps: steps[2:4]))
    assert torch.equal(flow.places(part, 0, "producer"), flow.places(weight, 0, "producer")[2:4])
    assert flow.places(torch.zeros(2, 2), 0, "producer") is None


def test_elements_of_a_parameter_have_numbers_of_their_own():
    weight = torch.zeros(2, 3)
    flow = known(weight)
    assert len(flow.ids(weight).unique()) == 6
    assert not flow.ids(torch.zeros(2, 3)).any()


def test_tensors_of_the_model_stay_what_they_are():
    weight = torch.zeros(2, 3)
    flow = known(weight)
    flow.set_ids(weight, torch.ones(2, 3, dtype=torch.int64))
    assert flow.source(weight).name == "weight"
