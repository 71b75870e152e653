"""Calls of ONNX files by the runtimes that people deploy with."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import onnxruntime
from torch import Tensor

from slimprune.export import convert_onnx
from slimprune.onnx_sessions import ERRORS, session_options
from slimprune.timing.sampling import Call
from slimprune.timing.subject import Place, Subject

CUDA_PROVIDER = "CUDAExecutionProvider"


def onnx_on_cpu(subject: Subject, inputs: Tensor, place: Place) -> Call:
    """Return a call of onnxruntime on the CPU."""
    session = _session(subject, place, "CPUExecutionProvider")
    feed = {session.get_inputs()[0].name: inputs.numpy()}
    return lambda: session.run(None, feed)


def onnx_on_cuda(subject: Subject, inputs: Tensor, place: Place) -> Call:
    """Return a call of onnxruntime on CUDA whose inputs and outputs stay on the device."""
    session, index = _session(subject, place, CUDA_PROVIDER), place.device.index or 0
    binding = session.io_binding()
    value = onnxruntime.OrtValue.ortvalue_from_numpy(inputs.numpy(), "cuda", index)
    binding.bind_ortvalue_input(session.get_inputs()[0].name, value)
    binding.bind_output(session.get_outputs()[0].name, "cuda", index)
    return lambda: session.run_with_iobinding(binding)


def quantised_on_cpu(subject: Subject, inputs: Tensor, place: Place) -> Call:
    """Return a call of onnxruntime on the CPU for the network in int8.

    The timed inputs calibrate it: times do not depend on the ranges.
    """
    if subject.onnx is None:
        raise RuntimeError("no ONNX file")
    images = inputs if len(inputs) > 1 else inputs.expand(2, *inputs.shape[1:])
    with TemporaryDirectory() as folder:
        file = Path(folder) / "int8.onnx"
        convert_onnx(subject.onnx, file, "int8", images=images, methods=("min-max",))
        return onnx_on_cpu(replace(subject, onnx=file), inputs, place)


def onnx_on_openvino(subject: Subject, inputs: Tensor, place: Place) -> Call:
    """Return a call of OpenVINO on the CPU, in 32-bit floats as the file says."""
    import openvino  # an optional package

    core = openvino.Core()
    network = core.read_model(str(subject.onnx))
    network.reshape(list(inputs.shape))
    settings = {
        "INFERENCE_NUM_THREADS": place.threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    request, values = core.compile_model(network, "CPU", settings).create_infer_request(), inputs.numpy()
    return lambda: request.infer([values])


def _session(subject: Subject, place: Place, provider: str) -> onnxruntime.InferenceSession:
    """Open a session with one provider and the threads of the place."""
    options = session_options(severity=ERRORS)
    options.intra_op_num_threads = options.inter_op_num_threads = place.threads
    settings = {"device_id": str(place.device.index or 0)} if provider == CUDA_PROVIDER else {}
    session = onnxruntime.InferenceSession(str(subject.onnx), options, providers=[(provider, settings)])
    if session.get_providers()[0] != provider:  # onnxruntime falls back to the CPU without an error
        raise RuntimeError(f"a session on {session.get_providers()[0]}, not on {provider}")
    return session
