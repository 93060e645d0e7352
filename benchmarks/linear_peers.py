"""How every library that a CPU user has computes one linear layer: in float32, in int8, with int4 weights.

Weights are packed once; a call takes float32 activations, quantizes them where it has to, and gives float32.

Peers compute the dense layer in the precision named; ours the balanced one. Each is checked against float64 of its own
weights.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from conv_peers import Form
from linear_matrices import balanced_forms, dense_bytes
from secateur.kernels.linear import LinearKernel, LinearOptions
from secateur.kernels.linear_weights import Weight
from secateur.kernels.memory import aligned

INT4_BLOCK = 128
"""Inputs that share a scale in 4 bits."""
LIMITS = {"float32": 1e-4, "int8": 5e-2, "int4": 0.35}
"""Precision -> an error beyond this, in max|y - y64| / max|y64|, is a wrong result."""


@dataclass(frozen=True)
class LinearJob:
    """A layer y = x W^T, its data and a folder for files. dense: what peers compute; sparse: what we do, 4:16, in
    float32; steps: the scale of the sparse one's codes in 4 bits for every output and INT4_BLOCK inputs."""

    x: np.ndarray
    dense: np.ndarray
    sparse: np.ndarray
    threads: int
    folder: Path


def precision_of(competitor: str) -> str:
    """A key of LIMITS."""
    return next(name for name in LIMITS if name in competitor)


def _form(name: str, run: Callable[[], object], result: Callable[[], np.ndarray]) -> Form:
    return Form(name, name, run, result)


def ours(job: LinearJob) -> Iterator[Form]:
    """LinearKernel between numpy arrays, and nn.Linear through accelerate."""
    options = LinearOptions(threads=job.threads)
    weights: dict[str, Weight] = {f"ours {name}": one for name, one in balanced_forms(job.sparse).items()}
    weights["ours dense int8"] = dense_bytes(job.dense)
    for name, weight in weights.items():
        kernel, y = LinearKernel(len(job.x), weight, options=options), aligned((len(job.x), len(job.dense)))
        yield _ours(name, kernel, job.x, y)
    yield from _accelerated(job)


def _ours(name: str, kernel: LinearKernel, x: np.ndarray, y: np.ndarray) -> Form:
    source, target = x.ctypes.data, y.ctypes.data
    keep = (x, y)  # the kernel has their addresses only
    return _form(name, lambda: (kernel.run(source, target), keep), lambda: y)


def _accelerated(job: LinearJob) -> Iterator[Form]:
    torch: Any = import_module("torch")
    sct: Any = import_module("secateur")
    torch.set_num_threads(job.threads)
    x = torch.from_numpy(job.x)
    for accuracy, name in (("default", "accelerate float32 4:16"), ("int8", "accelerate int8 4:16")):
        layer = _module(torch, job.sparse)
        fast = sct.accelerate(layer, x, accuracy=accuracy, threads=job.threads, measure=False)
        print(fast.report, file=sys.stderr)
        yield _form(name, lambda f=fast: f(x), lambda f=fast: f(x).numpy())


def _module(torch: Any, weight: np.ndarray) -> Any:
    layer = torch.nn.Linear(weight.shape[1], len(weight), bias=False).eval().requires_grad_(False)
    layer.weight.data = torch.from_numpy(weight)
    return layer


def torch_forms(job: LinearJob) -> Iterator[Form]:
    """nn.Linear, and quantize_dynamic of it."""
    torch: Any = import_module("torch")
    torch.set_num_threads(job.threads)
    x, layer = torch.from_numpy(job.x), _module(torch, job.dense)
    yield _form("torch float32", lambda: layer(x), lambda: layer(x).numpy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantized = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(layer), {torch.nn.Linear}, torch.qint8)
    yield _form("torch int8 dynamic", lambda: quantized(x), lambda: quantized(x).numpy())


def onnxruntime_forms(job: LinearJob) -> Iterator[Form]:
    """MatMul in float32, quantize_dynamic of it (int8, one scale an output), MatMulNBits with int8 activations."""
    quantization: Any = import_module("onnxruntime.quantization")
    plain = _onnx_file(job)
    yield _onnxruntime("onnxruntime float32", plain, job)
    small = job.folder / "int8.onnx"
    quantization.quantize_dynamic(plain, small, per_channel=True, weight_type=quantization.QuantType.QInt8)
    yield _onnxruntime("onnxruntime int8 dynamic", small, job)
    nbits: Any = import_module("onnxruntime.quantization.matmul_nbits_quantizer")
    onnx: Any = import_module("onnx")
    made = nbits.MatMulNBitsQuantizer(
        onnx.load(plain), bits=4, block_size=INT4_BLOCK, is_symmetric=True, accuracy_level=4
    )
    made.process()
    tiny = job.folder / "int4.onnx"
    made.model.save_model_to_file(str(tiny))
    yield _onnxruntime("onnxruntime int4", tiny, job)


def _onnx_file(job: LinearJob) -> Path:
    onnx: Any = import_module("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    outputs, inputs = job.dense.shape
    node = helper.make_node("MatMul", ["x", "weight"], ["y"])
    ends = [helper.make_tensor_value_info(n, kind, [len(job.x), size]) for n, size in (("x", inputs), ("y", outputs))]
    constant = onnx.numpy_helper.from_array(np.ascontiguousarray(job.dense.T), "weight")
    graph = helper.make_graph([node], "layer", ends[:1], ends[1:], [constant])
    path = job.folder / "float.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def _onnxruntime(name: str, path: Path, job: LinearJob) -> Form:
    onnxruntime: Any = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = job.threads, 3
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    y, binding = aligned((len(job.x), len(job.dense))), session.io_binding()
    binding.bind_input("x", "cpu", 0, np.float32, job.x.shape, job.x.ctypes.data)
    binding.bind_output("y", "cpu", 0, np.float32, y.shape, y.ctypes.data)
    return _form(name, lambda: (session.run_with_iobinding(binding), y), lambda: y)


def openvino_forms(job: LinearJob) -> Iterator[Form]:
    """float32, weights in int8 and int4 with activations quantized at run time, and int8 with ranges set beforehand."""
    nncf: Any = import_module("nncf")
    yield _openvino("openvino float32", _openvino_model(job), job, {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 0})
    dynamic = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": INT4_BLOCK}
    small = nncf.compress_weights(_openvino_model(job), mode=nncf.CompressWeightsMode.INT8_SYM)
    yield _openvino("openvino int8 dynamic", small, job, dynamic)
    mode, options = nncf.CompressWeightsMode.INT4_SYM, {"ratio": 1.0, "group_size": INT4_BLOCK, "all_layers": True}
    yield _openvino("openvino int4", nncf.compress_weights(_openvino_model(job), mode=mode, **options), job, dynamic)
    data = nncf.Dataset([job.x], lambda item: [item])
    static = nncf.quantize(_openvino_model(job), data, preset=nncf.QuantizationPreset.PERFORMANCE)
    yield _openvino("openvino int8 static", static, job, {})


def _openvino_model(job: LinearJob) -> Any:
    openvino: Any = import_module("openvino")
    opset: Any = import_module("openvino.opset13")
    x = opset.parameter(list(job.x.shape), np.float32, name="x")
    return openvino.Model([opset.matmul(x, opset.constant(job.dense), False, True)], [x], "layer")


def _openvino(name: str, model: Any, job: LinearJob, settings: dict[str, Any]) -> Form:
    openvino: Any = import_module("openvino")
    wish = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": job.threads}
    compiled = openvino.Core().compile_model(model, "CPU", {**wish, "ENABLE_CPU_PINNING": False, **settings})
    request, y = compiled.create_infer_request(), aligned((len(job.x), len(job.dense)))
    request.set_input_tensor(openvino.Tensor(job.x, shared_memory=True))
    request.set_output_tensor(openvino.Tensor(y, shared_memory=True))
    return _form(name, lambda: (request.infer(), y), lambda: y)


@dataclass(frozen=True)
class LinearEngine:
    """A process of its own: the modules it needs and its forms."""

    modules: tuple[str, ...]
    forms: Callable[[LinearJob], Iterator[Form]]

    def versions(self) -> dict[str, str]:
        """Of its modules, as installed."""
        return {name: version(name) for name in self.modules}


ENGINES = {
    "secateur": LinearEngine(("llvmlite", "torch"), ours),
    "torch": LinearEngine(("torch",), torch_forms),
    "onnxruntime": LinearEngine(("onnxruntime", "onnx"), onnxruntime_forms),
    "openvino": LinearEngine(("openvino", "nncf"), openvino_forms),
}
