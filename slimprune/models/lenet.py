"""LeNet-300-100 (LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998, section III.C.4)."""

from torch import nn

from slimprune.models.architecture import CLASSIFICATION, Architecture, Family, InputSpec, refuse_options

HIDDEN = (300, 100)


def build(name: str, options: str, inputs: InputSpec) -> nn.Module:
    """Build lenet-300-100: linear layers of 300, 100 and as many units as classes, with ReLU between them.

    Raises:
        UsageError: If options are given.
    """
    refuse_options(name, options)
    first, second = HIDDEN
    model = nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs.channels * inputs.height * inputs.width, first),
        nn.ReLU(inplace=True),
        nn.Linear(first, second),
        nn.ReLU(inplace=True),
        nn.Linear(second, inputs.classes),
    )
    for module in model:
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return model


FAMILY = Family(
    (Architecture("lenet-300-100", CLASSIFICATION, "two hidden linear layers of 300 and 100 units"),),
    build,
)
