"""ONNX files and programs of torch.export: writing, conversion, verification against the torch model, metadata."""

from slimprune.export.conversion import convert_onnx
from slimprune.export.exporter import OnnxFile, export_onnx
from slimprune.export.normalisation import InputForm
from slimprune.export.onnx_file import read_metadata
from slimprune.export.program import export_program, verify_program
from slimprune.export.quantisation import Calibration
from slimprune.export.runner import OnnxRunner
from slimprune.export.verification import OnnxCheck, verify_onnx

__all__ = [
    "Calibration",
    "InputForm",
    "OnnxCheck",
    "OnnxFile",
    "OnnxRunner",
    "convert_onnx",
    "export_onnx",
    "export_program",
    "read_metadata",
    "verify_onnx",
    "verify_program",
]
