"""ONNX files: export, verification against the torch model, and metadata."""

from slimprune.export.exporter import OnnxFile, export_onnx
from slimprune.export.normalisation import InputForm
from slimprune.export.onnx_file import read_metadata
from slimprune.export.verification import OnnxCheck, verify_onnx

__all__ = ["InputForm", "OnnxCheck", "OnnxFile", "export_onnx", "read_metadata", "verify_onnx"]
