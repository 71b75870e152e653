"""What the command line refuses: one line, the right exit code, nothing left behind."""

import json
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors.torch import save_file

import slimprune.cli.commands.list  # noqa: F401  (patched below)
from tests.commands import Run, error_line, listing
from tests.conftest import Compressed, tiny_images


def make_bad_things(folder: Path) -> None:
    """Data and recipes that cannot be used."""
    files = {"no.yaml": "a: [1", "list.yaml": "- arch", "field.yaml": "epoch: 3", "type.yaml": "epochs: many"}
    files["shape.yaml"] = "shape: [3, 32, 32]"
    files["both.yaml"] = "and: {macs: 0.5}\nalso: {macs: 0.5}"
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "is.onnx").mkdir()
    for part in ("train", "val"):
        (folder / "empty" / part / "cats").mkdir(parents=True)
        (folder / "corrupt" / part / "cats").mkdir(parents=True)
        (folder / "corrupt" / part / "cats" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nbut no more")
    (folder / "floats").mkdir()
    for part in ("train", "test"):
        images, labels = tiny_images(4).float(), torch.arange(4) % 2
        save_file({"images": images, "labels": labels}, folder / "floats" / f"{part}.safetensors")


BAD_INPUT = [
    ("{base} --ratio 0", 2, "ratio: expected a share in (0, 1), got '0'"),
    ("{base} --validation 1", 2, "validation: expected a share in (0, 1), got '1'"),
    ("{base} --amp --auto-amp", 2, "expected either --amp or --auto-amp, got both"),
    ("{base} --ratio 1", 2, "ratio: expected a share in (0, 1), got '1'"),
    ("{base} --ratio 1.3", 2, "ratio: expected a share in (0, 1), got '1.3'"),
    ("{base} --ratio nan", 2, "ratio: expected a finite number, got 'nan'"),
    ("{base} --ratio abc", 2, "ratio: expected a valid number, got 'abc'"),
    ("{base} --epochs 0", 2, "epochs: expected greater than or equal to 1, got '0'"),
    ("{base} --seed 99999999999999999999", 2, "seed: expected less than"),
    ("{base} --arch vg19", 2, "got 'vg19' (did you mean vgg19"),
    ("{base} --arch vgg19:depth=3", 2, "expected no options for 'vgg19', got 'depth=3'"),
    ("{base} --data digts", 2, "got 'digts' (did you mean digits?)"),
    ("{base} --criterion snap", 2, "got 'snap' (did you mean snip"),
    ("{base} --criterion force --gate norm", 2, "expected a gate for force (consumer), got 'norm'"),
    ("{base} --rule fair", 2, "expected a rule (global, "),
    ("{base} --rule profile:score=1", 2, "), got 'profile:score=1' (did you mean profile:score=X,reuse=Y?)"),
    ("{base} --rule profile:score=0,reuse=9", 2, "expected reuse of a profile in [-4, 4], got 9"),
    ("{base} --and macs", 2, "and.macs: expected a valid number, got ''"),
    ("{base} --and macs=2", 2, "and.macs: expected a share in (0, 1), got '2'"),
    ("{base} --and flops=0.5", 2, "and.flops: expected 'params', 'macs', 'channels' or 'latency', got 'flops'"),
    ("{base} --and macs=0.5,macs=0.6", 2, "and: expected each quantity once, got 'macs=0.5,macs=0.6'"),
    ("{base} --of params --and params=0.5", 2, "expected each quantity once in a budget, got params twice"),
    ("{base} --config both.yaml", 2, "expected and once, got also as well"),
    ("{base} --also macs=0.5", 2, "No such option"),
    ("--verison", 2, "No such option"),
    ("compres --out x.onnx", 2, "No such command 'compres'"),
    ("run no.yaml --epochs 0", 2, "recipe no.yaml is not YAML"),
    ("run type.yaml --epochs 0", 2, "epochs: expected greater than or equal to 1, got '0'"),
    ("{base} --when later", 2, "'rewind', 'gradual' or 'early-bird', got 'later'"),
    ("{base} --when trained", 2, "expected --weights of the trained network beside --when trained, got none"),
    ("{base} --reset-head", 2, "expected --weights or --pretrained beside --reset-head, got neither"),
    ("{base} --pretrained --weights w.pth", 2, "expected --weights or --pretrained, got both (--weights w.pth)"),
    ("{base} --dense-epochs 0", 2, "expected dense_epochs of at least 1 for a network without given weights, got 0"),
    ("{base} --when rewind --rewind-step 6", 2, "expected rewind_step within the 5 steps of the dense training, got 6"),
    ("plan --arch {arch} --data {data} --when rewind", 2, "expected when: before-training or trained to plan"),
    ("{base} --init random", 2, "init: expected 'keep', 'reinit' or 'rescale', got 'random'"),
    ("{base} --twin reinit", 2, "twin: expected 'shuffle' or 'invert', got 'reinit'"),
    ("{base} --criterion prospr --rounds 3", 2, "criterion prospr has no option 'rounds'"),
    ("{base} --of flops", 2, "of: expected 'params', 'macs', 'channels' or 'latency', got 'flops'"),
    ("{base} --round-to 0", 2, "round_to: expected a whole number of at least 1, or auto, got '0'"),
    ("{base} --round-to some", 2, "round_to: expected a whole number of at least 1, or auto, got 'some'"),
    ("{base} --engine torch", 2, "expected engine beside a latency budget or round-to auto only, got engine torch"),
    ("{base} --bench-batch 4", 2, "expected bench-batch beside a latency budget or round-to auto only"),
    ("{base} --bench-threads 1 --round-to 8", 2, "expected bench-threads beside a latency budget or round-to auto"),
    ("{base} --of latency --bench-batch 0", 2, "bench_batch: expected greater than or equal to 1, got '0'"),
    ("{base} --of latency --bench-threads 0", 2, "bench_threads: expected greater than or equal to 1, got '0'"),
    ("{base} --of latency --engine tensorrt", 2, "expected an engine (torch, torch-nhwc, "),
    ("{base} --and latency=0.5 --engine torch-captured --device cpu", 2, "torch-captured needs a CUDA device, got cpu"),
    ("{base} --of latency --engine onnxruntime-cuda --device cpu", 2, "onnxruntime-cuda needs a CUDA device, got cpu"),
    ("{base} --round-to auto --engine train --bench-batch 1", 2, "a batch of at least 2 for engine train, got 1"),
    ("{base} --gate left", 2, "gate: expected 'consumer', 'norm' or 'producer', got 'left'"),
    ("{base} --dtype float16", 2, "dtype: expected 'float32' or 'float64', got 'float16'"),
    ("{base} --device tpu", 2, "device: expected auto, cpu, cuda, cuda:N, mps, xpu or xpu:N, got 'tpu'"),
    ("compress --data {data} --out x.onnx", 2, "expected an architecture (--arch), got none"),
    ("compress --arch {arch} --data {data}", 2, "expected an ONNX file to write (--out), got none"),
    ("{base} --out is.onnx", 2, "expected to write a file, got the folder is.onnx"),
    ("{base} --out no.yaml/new/x.onnx", 2, "cannot write no.yaml/new/x.onnx: Not a directory"),
    ("{base} --out x.pt", 2, "expected --out to end in .onnx, or in .slim for a bundle alone, got x.pt"),
    ("{base} --ratioo 0.5", 2, "No such option"),
    ("{base} surplus", 2, "Got unexpected extra argument"),
    ("compres", 2, "No such command 'compres'. Did you mean 'compress'"),
    ("list colours", 2, "expected a list (archs, data, criteria, "),
    ("export x.slim", 2, "Missing option '--out'"),
    ("{base} --protect body.*", 2, "--protect expects the name or pattern of a layer (0, 3, 8, ...), got 'body.*'"),
    ("{base} --criterion 3sp --steps 3", 2, "criterion 3sp has no option 'steps'"),
    ("{base} --config none.yaml", 2, "recipe none.yaml cannot be read: No such file or directory"),
    ("{base} --config no.yaml", 2, "recipe no.yaml is not YAML"),
    ("{base} --config list.yaml", 2, "recipe list.yaml: expected a mapping of fields, got list"),
    ("{base} --config field.yaml", 2, "unknown field 'epoch' (did you mean 'epochs'?)"),
    ("run type.yaml", 2, "epochs: expected a valid integer, got 'many'"),
    ("{base} --arch unet --data digits", 2, "for classification (the task of digits), got unet"),
    ("{base} --arch {file}:nothing", 2, "expected a factory 'nothing' in "),
    ("{base} --arch nowhere.py:net", 2, "expected a Python file, found none at 'nowhere.py'"),
    ("{base} --arch no_such_package:net", 2, "found no module 'no_such_package'"),
    ("{base} --ratio 0.999", 3, "a ratio of 0.9687 at most"),
    ("{base} --floor 0.9", 3, "the floor (90% of the channels"),
    ("{base} --and macs=0.999", 3, "cannot remove 0.999 of macs: the floor"),
    ("{base} --protect *", 3, "may be removed, got none (0: asked for by --protect *; 3: asked for"),
    ("plan --arch {arch} --data {data} --ratio 0.999", 3, "a ratio of 0.9687 at most"),
    ("{base} --arch {file}:raises", 4, "raised RuntimeError: weights are on another disk"),
    ("{base} --arch {file}:no_module", 4, "to return an nn.Module, got int"),
    ("{base} --arch {file}:greedy", 4, "to require at most num_classes and in_channels, got depth"),
    ("{base} --arch {file}:frozen", 4, "expected at least one trainable parameter, got a fully frozen model"),
    ("{base} --arch {file}:one_class", 4, "expected Sequential to give an output of shape (2, 2), got (2, 1)"),
    ("{base} --arch {file}:bare", 4, "expected Flatten to give an output of shape (2, 2), got (2, 768)"),
    ("{base} --arch {file}:picky", 4, "Picky fails on inputs (2, 3, 16, 16): no images of this kind, please"),
    ("inspect --arch vgg11 --config shape.yaml", 2, "unknown field 'shape'"),
    ("{base} --data folder:~nobody-here/x", 6, "expected a folder 'train' in '~nobody-here/x', found none"),
    ("{base} --data tensors:~nobody-here/x", 6, "~nobody-here/x/train.safetensors"),
    ("{base} --data folder:nowhere", 6, "expected a folder 'train' in 'nowhere', found none"),
    ("{base} --data folder:empty", 6, "expected images in the folders of 'empty/train', found none"),
    ("{base} --data folder:corrupt", 6, "corrupt/train/cats/a.png"),
    ("{base} --data tensors:nowhere", 6, "nowhere/train.safetensors"),
    ("{base} --data tensors:floats", 6, "expected non-empty uint8 images [N, C, H, W] in 'floats/train.safetensors'"),
    ("{base} --weights none.safetensors", 6, "weights none.safetensors cannot be read: No such file or directory"),
    ("{base} --weights no.yaml", 6, "weights no.yaml: expected a file .safetensors, .pth, "),
    ("{base} --weights is.onnx", 6, "weights is.onnx: expected one safetensors file in the folder or an index, got 0"),
    ("{base} --weights floats/train.safetensors", 6, "weights floats/train.safetensors: expected the tensors of this "),
    ("{base} --lr 1e30", 1, "training stopped: expected a finite loss, got nan at epoch 1, step 2 (lr 1e+30)"),
    ("verify no.slim no.yaml", 2, "expected the folder of a bundle, got no.slim"),
    ("export no.slim --out new/x.onnx", 2, "expected the folder of a bundle, got no.slim"),
    ("verify {bundle} none.onnx", 2, "expected an ONNX file, got none.onnx"),
    ("verify {bundle} no.yaml", 5, "expected a readable ONNX file no.yaml"),
    ("verify {bundle} {onnx}", 2, "allow it with --trust-code"),
    ("verify {bundle} {onnx} --trust-code --data digits", 5, "expected an input for samples"),
    ("verify is.onnx {onnx}", 5, "bundle is.onnx cannot be read"),
    ("export {bundle} --trust-code --out x.slim", 2, "expected --out to end in .onnx or .pt2, got x.slim"),
    ("export {bundle} --trust-code --out new/x.pt", 2, "expected --out to end in .onnx or .pt2, got new/x.pt"),
    ("export {bundle} --trust-code --out x.onnx --format pt2", 2, "expected --out to end in .pt2 beside --format"),
    ("export {bundle} --trust-code --out x.onnx --format tf", 2, "expected format (onnx, pt2), got 'tf'"),
    ("export {bundle} --trust-code --out x.pt2 --precision int8", 2, "expected --out to end in .onnx for int8, got"),
    ("export {bundle} --trust-code --out is.onnx", 2, "expected to write a file, got the folder is.onnx"),
    ("export {bundle} --trust-code --data tensors:nowhere --out new/x.onnx", 6, "nowhere/train.safetensors"),
    ("predict none.onnx x.png", 2, "expected an ONNX file, got none.onnx"),
    ("predict no.yaml x.png", 5, "expected a readable ONNX file no.yaml, got "),
    ("predict {onnx} x.png", 6, "expected image files at x.png, found none"),
    ("predict {onnx} empty", 6, "expected image files at empty, found none"),
    ("predict {onnx} corrupt", 6, "expected a readable image in corrupt/train/cats/a.png, got "),
    ("predict {onnx} corrupt --top 0", 2, "expected top of at least 1, got 0"),
    ("{base} --class-names a,b,c", 2, "expected 2 class names, as tensors:"),
    ("{base} --class-names absent.txt", 2, "class_names: expected a text file that exists, or names with commas"),
    ("{base} --class-names type.yaml", 2, "has classes, got 1"),
    ("{base} --mean 0.5", 2, "expected 3 numbers of mean, one per channel, got 1"),
    ("{base} --mean 0.5,0.5,0.5", 2, "expected 3 numbers of std, one per channel, got 0"),
    ("{base} --mean 0,0,0 --std 1,1,255", 2, "expected a std in (0, 1] per channel, of pixels in 0..1, got 1, 1, 255"),
    ("{base} --mean grey --std 1", 2, "mean.0: expected a valid number, got 'grey'"),
    ("{base} --input bytes", 2, "input: expected 'unit', 'normalized' or 'uint8', got 'bytes'"),
    ("export {bundle} --trust-code --input bytes --out x.onnx", 2, "input: expected 'unit', 'normalized' or 'uint8'"),
    ("bench no.slim", 2, "expected the folder of a bundle, got no.slim"),
    ("bench is.onnx", 5, "bundle is.onnx cannot be read"),
    ("bench {bundle}", 2, "allow it with --trust-code"),
    ("{bench} --engine tensorrt", 2, "expected an engine (torch, torch-nhwc, torch-captured, onnxruntime, "),
    ("{bench} --engine torch,tensorrt", 2, "), got 'tensorrt'"),
    ("{bench} --engine torch-captured --device cpu", 2, "engine torch-captured needs a CUDA device, got cpu"),
    ("{bench} --engine onnxruntime-cuda --device cpu", 2, "engine onnxruntime-cuda needs a CUDA device, got cpu"),
    ("{bench} --engine train --batch 1", 2, "expected a batch of at least 2 for engine train, got [1]"),
    ("{bench} --batch 0", 2, "expected batches of at least 1, got [0]"),
    ("{bench} --batch 1,-8", 2, "expected batches of at least 1, got [1, -8]"),
    ("{bench} --batch many", 2, "expected batches as whole numbers (1,8,32), got 'many'"),
    ("{bench} --batch 1,", 2, "expected batches as whole numbers (1,8,32), got '1,'"),
    ("{bench} --threads 0", 2, "expected threads of at least 1, got 0"),
    ("{bench} --samples 7", 2, "expected samples of at least 8 pairs, got 7"),
    ("{bench} --seconds 0", 2, "expected a finite number of seconds above 0, got 0"),
    ("{bench} --device tpu", 2, "expected device cpu, cuda, cuda:N, mps, xpu or xpu:N, got tpu"),
    ("{bench} --against no.slim", 2, "expected the folder of a bundle, got no.slim"),
    ("{bench} --against is.onnx", 5, "bundle is.onnx cannot be read"),
    ("{bench} --out new/x.txt", 2, "expected --out to end in .json, got new/x.txt"),
    ("{bench} --out no.yaml/x.json", 2, "cannot write no.yaml/x.json: no.yaml is no folder that can be written to"),
    ("{bench} --report none.json", 2, "expected a report NAME.report.json, got none.json"),
    ("{bench} --report no.yaml", 2, "expected a report NAME.report.json, got no.yaml"),
    ("{bench} --report {onnx}", 2, "expected a report NAME.report.json, got"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "code", "fragment"), BAD_INPUT, ids=[case[0] for case in BAD_INPUT])
def test_bad_input_ends_in_one_line_and_leaves_nothing(
    folder: Path,
    slimprune: Callable[..., Run],
    flags: list[str],
    arch: str,
    data: str,
    compressed: Compressed,
    arguments: str,
    code: int,
    fragment: str,
) -> None:
    make_bad_things(folder)
    before = listing(folder)
    places = {"arch": arch, "data": data, "file": arch.removesuffix(":net")}
    outputs: dict[str, object] = {"bundle": compressed.bundle, "onnx": compressed.onnx}
    outputs["bench"] = f"bench {compressed.bundle} --trust-code"
    base = shlex.join(["compress", *flags, "--out", "new/er/x.onnx"])
    result = slimprune(*shlex.split(arguments.format(base=base, **places, **outputs)))
    assert fragment in error_line(result)
    assert result[0] == code
    assert listing(folder) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="cuda is present")
def test_a_device_that_is_absent_is_refused(folder: Path, slimprune: Callable[..., Run], flags: list[str]) -> None:
    result = slimprune("compress", *flags, "--out", "x.onnx", "--device", "cuda")
    assert "expected device cuda to be present" in error_line(result)
    assert (result[0], listing(folder)) == (2, [])


def test_the_traceback_is_shown_on_demand_only(folder: Path, slimprune: Callable[..., Run], flags: list[str]) -> None:
    bad = ("compress", *flags, "--out", "x.onnx", "--ratio", "2")
    assert "Traceback" not in slimprune(*bad)[2]
    code, out, err = slimprune(*bad, "--debug")
    assert (code, out) == (2, "")
    assert "Traceback" in err
    assert err.splitlines()[-1] == "error: ratio: expected a share in (0, 1), got '2'"


def test_an_error_that_nobody_expected_is_one_line_too(
    slimprune: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(kind: str) -> None:
        error = RuntimeError("two\nlines")
        error.add_note("goes on")
        raise error

    monkeypatch.setattr(sys.modules["slimprune.cli.commands.list"], "available", broken)
    result = slimprune("list", "archs")
    assert result[0] == 1
    assert error_line(result) == "error: unexpected RuntimeError: two lines (--debug shows where); goes on"


@pytest.mark.parametrize("command", ["compress", "list", "inspect --shape 3,8,8 --arch"])
def test_control_characters_in_names_do_not_reach_the_terminal(slimprune: Callable[..., Run], command: str) -> None:
    result = slimprune(*command.split(), "a\x1b[2J\x1b]0;title\x07\u202eb")
    assert "\x1b" not in error_line(result)
    assert "\u202e" not in error_line(result)
    assert r"a\x1b[2J\x1b]0;title\x07\u202eb" in error_line(result)


def test_a_report_that_names_a_file_outside_its_folder_is_refused(
    folder: Path, slimprune: Callable[..., Run], compressed: Compressed
) -> None:
    document = {**compressed.document, "pictures": [{"title": "one", "file": "../../../../etc/hostname"}]}
    Path("x.report.json").write_text(json.dumps(document))
    result = slimprune("bench", compressed.bundle, "--trust-code", "--report", "x.report.json")
    assert "expected the name of a PNG file in the report's folder, got '../../" in error_line(result)
    assert (result[0], listing(folder)) == (5, ["x.report.json"])


@pytest.mark.parametrize("name", ["weights.safetensors", "slim.json", "README.md", "metrics.jsonl"])
@pytest.mark.parametrize("place", [0.0, 0.5, 0.99])
def test_a_bundle_with_a_flipped_byte_is_refused(
    folder: Path, slimprune: Callable[..., Run], compressed: Compressed, name: str, place: float
) -> None:
    shutil.copytree(compressed.bundle, "b.slim")
    altered = bytearray(Path("b.slim", name).read_bytes())
    altered[int(place * len(altered))] ^= 1
    Path("b.slim", name).write_bytes(altered)
    for command in (("verify", "b.slim", compressed.onnx), ("export", "b.slim", "--out", "x.onnx")):
        result = slimprune(*command, "--trust-code")
        assert "bundle b.slim" in error_line(result)
        assert result[0] == 5
    assert not Path("x.onnx").exists()


def tampered(source: Path, *, sealed: bool) -> bytes:
    """The file with one weight changed, saved by onnx; with slimprune's metadata or without any."""
    model = onnx.load(source)
    # The weights of the last layer: a change must show in the output.
    weight = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("8.weight"))
    values = numpy_helper.to_array(weight).copy()
    values[0, 0] += 1
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    if not sealed:
        del model.metadata_props[:]
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("alter", "fragment"),
    [
        (lambda source: tampered(source, sealed=True), "SHA-256"),
        (lambda source: tampered(source, sealed=False), "expected outputs within 0.0001 of torch's"),
        (lambda source: source.read_bytes()[:-100], "x.onnx"),
        (lambda source: source.read_bytes()[:1000], "x.onnx"),
        (lambda source: b"", "x.onnx"),
    ],
    ids=["one weight", "one weight and no metadata", "end missing", "most missing", "empty"],
)
def test_an_altered_onnx_file_is_refused(
    folder: Path,
    slimprune: Callable[..., Run],
    compressed: Compressed,
    alter: Callable[[Path], bytes],
    fragment: str,
) -> None:
    Path("x.onnx").write_bytes(alter(compressed.onnx))
    result = slimprune("verify", compressed.bundle, "x.onnx", "--trust-code")
    assert fragment in error_line(result)
    assert result[0] == 5
