import pytest

from slimprune.export import export_onnx

from .cases import Classifier, images, seeded


@pytest.fixture(scope="session")
def classifier():
    return seeded(Classifier)


@pytest.fixture(scope="session")
def written(classifier, tmp_path_factory):
    """An exported classifier; the tests copy it before they damage it."""
    path = tmp_path_factory.mktemp("written") / "model.onnx"
    export_onnx(classifier, images(1), path, metadata={"recipe": "abc"})
    return path
