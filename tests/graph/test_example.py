import torch

from slimprune.graph.example import first_samples, inputs_of, random_inputs, shapes_of

EXAMPLE = {"image": torch.zeros(3, 2, 4), "more": [torch.full((3, 1), 4), "text"]}


def test_a_tuple_holds_the_arguments_and_anything_else_is_one():
    assert inputs_of(EXAMPLE) == (EXAMPLE,)
    assert inputs_of((1, 2)) == (1, 2)


def test_shapes_and_first_samples_are_those_of_all_tensors():
    assert shapes_of(EXAMPLE) == [(3, 2, 4), (3, 1)]
    (first,) = first_samples(EXAMPLE)
    assert shapes_of(first) == [(1, 2, 4), (1, 1)]
    assert first["more"][1] == "text"


def test_random_inputs_have_the_examples_structure_range_and_dtypes():
    (drawn,) = random_inputs(EXAMPLE, seed=0, batch=5)
    assert (drawn["image"].shape, drawn["image"].dtype) == ((5, 2, 4), torch.float64)
    assert set(drawn["more"][0].flatten().tolist()) <= set(range(5))
    (single,) = random_inputs(EXAMPLE, seed=0, double=False)
    assert (single["image"].shape, single["image"].dtype) == ((2, 2, 4), torch.float32)
