import json
import zipfile

import pytest
import torch
from torch import nn

from slimprune.errors import UnsupportedModelError, VerificationError
from slimprune.export import InputForm, export_program, verify_program
from slimprune.preprocessing import Preprocessing

from .cases import Classifier, images, seeded

HOW = Preprocessing(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), height=8, width=8)


@pytest.mark.parametrize("kind", ["normalized", "unit", "uint8"])
def test_a_program_computes_what_the_model_does_for_any_batch(tmp_path, kind):
    model, form = seeded(Classifier), InputForm(kind, HOW)
    export_program(model, images(2), tmp_path / "a.pt2", form)
    samples = form.normalised(form.pixels(images(7)))
    check = verify_program(model, tmp_path / "a.pt2", samples, form)
    assert check.max_abs_diff < 1e-5
    assert (check.top1_agreement, check.samples, check.batches, check.opset) == (1.0, 7, (1, 2, 5), 0)
    assert model.training


def test_the_archive_holds_metadata_and_no_pickle(tmp_path):
    export_program(seeded(Classifier), images(2), tmp_path / "a.pt2", InputForm("unit", HOW), {"recipe": "abc"})
    with zipfile.ZipFile(tmp_path / "a.pt2") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    assert not [
        name for name, data in files.items() if name.endswith((".pkl", ".py")) or data.startswith((b"\x80", b"PK"))
    ]
    (stated,) = [json.loads(data) for name, data in files.items() if name.endswith("slimprune.json")]
    assert (stated["slimprune.recipe"], stated["slimprune.input"]) == ("abc", "unit")


def test_a_program_of_another_model_is_refused(tmp_path):
    model = seeded(Classifier)
    export_program(model, images(2), tmp_path / "a.pt2", InputForm())
    with torch.no_grad():
        model.head.bias[0] += 1
    with pytest.raises(VerificationError, match="expected outputs within"):
        verify_program(model, tmp_path / "a.pt2", images(3), InputForm())


def test_a_model_that_needs_a_fixed_batch_is_refused(tmp_path):
    class Fixed(nn.Module):
        def forward(self, x):
            return x.reshape(2, -1)[:, :4] if x.sum() > 0 else x.reshape(2, -1)[:, 1:5]

    with pytest.raises(UnsupportedModelError, match=r"expected a model that torch.export accepts with a free batch"):
        export_program(Fixed(), images(2), tmp_path / "a.pt2", InputForm())
    assert list(tmp_path.iterdir()) == []
