from slimprune.models import InputSpec
from slimprune.models.lenet import build

from .asserts import assert_maps, parameter_count


def test_parameters_and_outputs():
    inputs = InputSpec(1, 28, 28, 10)
    model = build("lenet-300-100", "", inputs)
    # The 266,610 of the network on MNIST.
    assert parameter_count(model) == 784 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10 == 266_610
    assert_maps(model, inputs, 10)
