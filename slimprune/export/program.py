"""Export of a torch model as a program of torch.export (`.pt2`), and its verification."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from slimprune.errors import UnsupportedModelError, kind_and_line
from slimprune.export.exporter import BATCH, cpu_copy
from slimprune.export.full_precision import without_autocast
from slimprune.export.normalisation import InputForm
from slimprune.export.onnx_file import PREFIX, write_bytes
from slimprune.export.verification import OnnxCheck, Pair, check_arguments, judged
from slimprune.preprocessing import as_metadata

SUFFIX = ".pt2"
METADATA_FILE = "slimprune.json"
"""Name of the extra file with the metadata in the archive."""


@without_autocast()
def export_program(
    model: nn.Module, example: Tensor, path: Path, form: InputForm, metadata: Mapping[str, str] | None = None
) -> None:
    """Write the model, as it computes in eval mode and float32, as a program that `torch.export.load` reads.

    The program has one input with a free batch dimension. The file holds graph, weights and metadata, no pickle.

    Args:
        model: Model to export; it is copied to the CPU and left unchanged.
        example: Inputs [N, ...] of the model, normalised, N >= 1.
        path: Path of the file; an existing file is replaced atomically.
        form: What the program takes; it normalises its input itself if the form says so.
        metadata: Properties, written as `slimprune.<key>` to the extra file `slimprune.json`.

    Raises:
        UnsupportedModelError: If torch.export cannot export the model with a free batch dimension.
        UsageError: If the example does not fit the form, or the path cannot be written to.
    """
    form.check(example)
    whole = form.wrapped(cpu_copy(model))
    sample = example[:1].detach().to("cpu", torch.float32)
    # The exporter would treat a batch of one as a constant.
    inputs = form.pixels(sample.expand(2, *sample.shape[1:]).contiguous())
    described = {} if form.preprocessing is None else as_metadata(form.stated())
    stated = {PREFIX + key: value for key, value in {**described, **(metadata or {})}.items()}
    try:
        program = torch.export.export(whole, (inputs,), dynamic_shapes=({0: torch.export.Dim(BATCH)},))
        # Example inputs would be written as a pickle.
        program.example_inputs = None
        with TemporaryDirectory() as folder:
            file = Path(folder) / "model.pt2"
            torch.export.save(program, file, extra_files={METADATA_FILE: json.dumps(stated, sort_keys=True)})
            data = file.read_bytes()
    except (RuntimeError, ValueError, TypeError) as error:
        rule = "expected a model that torch.export accepts with a free batch dimension"
        raise UnsupportedModelError(f"{rule}, got {kind_and_line(error)}") from error
    write_bytes(path, data)


@without_autocast()
def verify_program(
    model: nn.Module, path: Path, samples: Tensor, form: InputForm, *, batches: Sequence[int] = (1, 2, 5)
) -> OnnxCheck:
    """Check that a program gives the model's outputs; see `verify_onnx`.

    Args:
        model: Reference model; it is left unchanged.
        path: Path of a file that this process wrote: reading one of unknown origin is as safe as torch.export makes it.
        samples: Inputs [N, ...] of the model, normalised, N >= 1.
        form: What the program takes.
        batches: Batch sizes, each at least 1.

    Raises:
        VerificationError: If outputs differ by more than 1e-4, relative to the largest output if that is above 1, or in
            a prediction.
    """
    tolerance = 1e-4
    check_arguments(samples, batches, tolerance)
    loaded = torch.export.load(path).module()

    def run(parts: Sequence[Tensor], expected: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([loaded(part) for part in parts])

    samples = samples.detach().to("cpu", torch.float32).contiguous()
    found = Pair(run, cpu_copy(model), form, tolerance).compared(samples, batches)
    judged([found], path)
    return OnnxCheck(path, 0, found[0], found[1], len(samples), tuple(batches))
