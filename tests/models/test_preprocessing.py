import pytest

from slimprune.errors import UsageError
from slimprune.models import Preprocessing, pretrained_preprocessing

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("arch", "expected"),
    [
        ("resnet18", Preprocessing(*IMAGENET, 224, "bilinear")),
        ("vgg11", Preprocessing(*IMAGENET, 224, "bilinear")),
        ("mobilenet_v2", Preprocessing(*IMAGENET, 224, "bilinear")),
        ("vit_h_14", Preprocessing(*IMAGENET, 518, "bicubic")),
        ("inception_v3", Preprocessing(*HALF, 299, "bilinear")),
        ("fcn_resnet50", Preprocessing(*IMAGENET, 520, "bilinear")),
        ("timm:resnet18", Preprocessing(*IMAGENET, 224, "bicubic")),
        ("timm:resnet18.tv_in1k", Preprocessing(*IMAGENET, 224, "bilinear")),
        ("timm:mobilenetv3_small_050", Preprocessing(*IMAGENET, 224, "bicubic")),
        ("resnet20", None),
        ("unet:depth=3", None),
        ("net.py:net", None),
    ],
)
def test_how_images_are_prepared_for_pretrained_weights(arch: str, expected: Preprocessing | None):
    assert pretrained_preprocessing(arch) == expected


def test_an_unknown_name_is_refused():
    with pytest.raises(UsageError, match="expected an architecture"):
        pretrained_preprocessing("resnet19")
