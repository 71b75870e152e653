"""ONNX files: export, conversion to lower precision, verification against the torch model, and metadata."""

from slimprune.export.conversion import convert_onnx
from slimprune.export.exporter import OnnxFile, export_onnx
from slimprune.export.normalisation import InputForm
from slimprune.export.onnx_file import read_metadata
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
    "read_metadata",
    "verify_onnx",
]
