"""How every library that a CPU user has computes one convolutional layer, each in the form that costs it least.

Weights are packed and graphs compiled once; what is timed is one inference on data that lie where and how the library
wants them, so no copy and no change of layout is charged that a layer inside a network would not pay.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from conv_layers import Layer
from secateur.kernels.memory import aligned

CLASSES = ("strict", "default", "fast")
"""Of accuracy, in which this library competes."""
ZEROS = {80: "80 % zeros", 90: "90 % zeros", 95: "95 % zeros"}
"""Percent -> the competitor that may skip them."""
HARDLY = 1e-30
"""No zero, so that nothing is skipped, and adds nothing to a sum."""


@dataclass(frozen=True)
class Job:
    """A layer, its data (x channels_last) and a folder for files."""

    layer: Layer
    threads: int
    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    folder: Path

    @property
    def batch(self) -> int:
        """Images."""
        return len(self.x)


@dataclass(frozen=True)
class Form:
    """One way to run a job: the competitor it belongs to, what makes it different from the competitor's other ways, the
    call that is timed, the result, channels_last, and the file with the float64 sum that it should be."""

    competitor: str
    variant: str
    run: Callable[[], object]
    result: Callable[[], np.ndarray]
    wanted: str = "wanted.npy"


def ours(job: Job) -> Iterator[Form]:
    """Conv2dKernel.run between channels_last arrays, in each class of accuracy."""
    from secateur.kernels.conv import Conv2dKernel, ConvOptions

    for name in CLASSES:
        options = ConvOptions(accuracy=name, threads=job.threads)
        kernel = Conv2dKernel(job.layer.shape(job.batch), job.weight, job.bias, options=options)
        yield _ours(name, kernel, job.x)


def sparse(job: Job) -> Iterator[Form]:
    """The same in class "default", by what is fastest for weights with so many zeros; and by what is fastest for dense
    ones, on those that all peers have."""
    from secateur.kernels.conv import Conv2dKernel, ConvOptions

    options, shape = ConvOptions(threads=job.threads), job.layer.shape(job.batch)
    full = np.where(job.weight == 0, np.float32(HARDLY), job.weight)
    yield _ours("dense", Conv2dKernel(shape, full, job.bias, options=options), job.x)
    for zeros, name in ZEROS.items():
        weight = np.load(job.folder / f"weight-{zeros}.npy")
        form = _ours(name, Conv2dKernel(shape, weight, job.bias, options=options), job.x)
        yield replace(form, wanted=f"wanted-{zeros}.npy")


def _ours(name: str, kernel: Any, x: np.ndarray) -> Form:
    y = aligned(kernel.shape.output_shape)
    source, target, chosen = x.ctypes.data, y.ctypes.data, kernel.choice.chosen
    blocks = "" if chosen.blocking is None else f" blocks of {chosen.blocking.block_tiles} tiles"
    blocks += "" if chosen.cut is None else " patches of {}x{}".format(*chosen.cut.patch)
    keep = (x, y)  # the kernel has their addresses only
    return Form(name, chosen.algorithm + blocks, lambda: (kernel.run(source, target), keep), lambda: y)


def torch_forms(job: Job) -> Iterator[Form]:
    """nn.Conv2d under no_grad, channels_last: eager, and torch.compile with frozen (so packed) weights."""
    torch: Any = import_module("torch")
    config: Any = import_module("torch._inductor.config")
    torch.set_num_threads(job.threads)
    torch._dynamo.reset()
    config.freezing = True
    layer = job.layer
    module = torch.nn.Conv2d(layer.in_channels, layer.out_channels, layer.taps, layer.stride, layer.taps // 2)
    module.weight.data, module.bias.data = torch.from_numpy(job.weight), torch.from_numpy(job.bias)
    module = module.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    x = torch.from_numpy(job.x).permute(0, 3, 1, 2)
    torch.set_grad_enabled(False)
    compiled = torch.compile(module, fullgraph=True)
    yield Form("torch", "eager", lambda: module(x), lambda: module(x).permute(0, 2, 3, 1).numpy())
    yield Form("torch.compile", "freezing", lambda: compiled(x), lambda: compiled(x).permute(0, 2, 3, 1).numpy())


def onnx_file(job: Job, *, blocked: int = 0) -> Path:
    """A model of the layer; blocked: one Conv on data in blocks of so many channels, ONNX Runtime's own layout."""
    onnx: Any = import_module("onnx")
    helper, numpy_helper, kind = onnx.helper, onnx.numpy_helper, onnx.TensorProto.FLOAT
    layer, weight = job.layer, job.weight
    domain = "com.microsoft.nchwc" if blocked else ""
    if blocked:
        k, c, taps = layer.out_channels // blocked, layer.in_channels // blocked, layer.taps
        split = weight.reshape(k, blocked, c, blocked, taps, taps)
        weight = np.ascontiguousarray(split.transpose(0, 2, 4, 5, 3, 1)).reshape(weight.shape)
    half, size, stride = layer.taps // 2, [layer.height, layer.width], [layer.stride] * 2
    attributes = {"kernel_shape": [layer.taps] * 2, "pads": [half] * 4, "strides": stride, "dilations": [1, 1]}
    node = helper.make_node("Conv", ["x", "weight", "bias"], ["y"], domain=domain, group=1, **attributes)
    x = helper.make_tensor_value_info("x", kind, [job.batch, layer.in_channels, *size])
    y = helper.make_tensor_value_info("y", kind, [job.batch, layer.out_channels, *_output(layer)])
    constants = [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(job.bias, "bias")]
    opsets = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if blocked else [])]
    path = job.folder / f"layer{blocked}.onnx"
    onnx.save(
        helper.make_model(helper.make_graph([node], "layer", [x], [y], constants), opset_imports=opsets, ir_version=9),
        path,
    )
    return path


def _output(layer: Layer) -> tuple[int, int]:
    """Rows and columns."""
    shape = layer.shape(1)
    return shape.out_height, shape.out_width


def onnxruntime_forms(job: Job) -> Iterator[Form]:
    """run_with_iobinding, NCHW in and out; where channels allow also on data in its own layout, not reordered."""
    yield _onnxruntime(job, 0)
    block = 16
    if job.layer.in_channels % block == 0 and job.layer.out_channels % block == 0:
        yield _onnxruntime(job, block)


def _onnxruntime(job: Job, blocked: int) -> Form:
    onnxruntime: Any = import_module("onnxruntime")
    layer, size = job.layer, (job.layer.height, job.layer.width)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    if job.threads > 1:
        cores = sorted(os.sched_getaffinity(0))[1 : job.threads]
        options.add_session_config_entry("session.intra_op_thread_affinities", ";".join(str(c + 1) for c in cores))
    session = onnxruntime.InferenceSession(onnx_file(job, blocked=blocked), options, ["CPUExecutionProvider"])
    x, y = aligned((job.batch, layer.in_channels, *size)), aligned((job.batch, layer.out_channels, *_output(layer)))
    if blocked:
        _split(x, blocked)[:] = job.x.reshape(job.batch, *size, -1, blocked).transpose(0, 3, 1, 2, 4)
    else:
        x[:] = job.x.transpose(0, 3, 1, 2)
    binding = session.io_binding()
    binding.bind_input("x", "cpu", 0, np.float32, x.shape, x.ctypes.data)
    binding.bind_output("y", "cpu", 0, np.float32, y.shape, y.ctypes.data)

    def result() -> np.ndarray:
        if blocked:
            return _split(y, blocked).transpose(0, 2, 3, 1, 4).reshape(job.batch, *_output(layer), -1)
        return y.transpose(0, 2, 3, 1)

    keep = (x, y)
    return Form(
        "onnxruntime",
        "own layout" if blocked else "NCHW",
        lambda: (session.run_with_iobinding(binding), keep),
        result,
    )


def _split(array: np.ndarray, block: int) -> np.ndarray:
    """NCHW memory seen as (n, c / block, h, w, block)."""
    n, c, h, w = array.shape
    return array.reshape(n, c // block, h, w, block)


def openvino_forms(job: Job) -> Iterator[Form]:
    """infer() on the caller's own memory; NHWC (where its profile shows no reorder) and NCHW."""
    yield _openvino(job, "NHWC")
    yield _openvino(job, "NCHW")


def _openvino(job: Job, layout: str) -> Form:
    openvino: Any = import_module("openvino")
    opset13: Any = import_module("openvino.opset13")
    layer, half = job.layer, [job.layer.taps // 2] * 2
    parameter = opset13.parameter([job.batch, layer.in_channels, layer.height, layer.width], np.float32)
    product = opset13.convolution(parameter, opset13.constant(job.weight), [layer.stride] * 2, half, half, [1, 1])
    node = opset13.add(product, opset13.constant(job.bias.reshape(1, -1, 1, 1)))
    model = openvino.Model([node], [parameter], "layer")
    if layout == "NHWC":
        steps = openvino.preprocess.PrePostProcessor(model)
        for end in (steps.input(), steps.output()):
            end.tensor().set_layout(openvino.Layout("NHWC"))
            end.model().set_layout(openvino.Layout("NCHW"))
        model = steps.build()
    wish = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": job.threads}
    wish["ENABLE_CPU_PINNING"] = False  # the worker process does it
    request = openvino.Core().compile_model(model, "CPU", wish).create_infer_request()
    shapes = job.layer.shape(job.batch)
    order = (0, 1, 2, 3) if layout == "NHWC" else (0, 3, 1, 2)
    x, y = (aligned(tuple(shape[i] for i in order)) for shape in (shapes.input_shape, shapes.output_shape))
    x[:] = job.x.transpose(order)
    request.set_input_tensor(openvino.Tensor(x, shared_memory=True))
    request.set_output_tensor(openvino.Tensor(y, shared_memory=True))
    keep = (x, y)  # the request does not
    back = (0, 1, 2, 3) if layout == "NHWC" else (0, 2, 3, 1)
    return Form("openvino", layout, lambda: (request.infer(), keep), lambda: y.transpose(back))


def ncnn_forms(job: Job) -> Iterator[Form]:
    """Extractor.input and .extract, image by image, on data in its packed layout and left in it."""
    for variant in ("default", "winograd63", "winograd43", "winograd23"):
        if variant == "default" or job.layer.taps == 3:
            yield _ncnn(job, variant)


def _ncnn(job: Job, variant: str) -> Form:
    ncnn: Any = import_module("ncnn")
    layer, half = job.layer, job.layer.taps // 2
    text, weights = job.folder / "layer.param", job.folder / "layer.bin"
    numbers = {
        0: layer.out_channels,
        1: layer.taps,
        11: layer.taps,
        3: layer.stride,
        13: layer.stride,
        4: half,
        14: half,
        5: 1,
    }
    given = " ".join(f"{key}={value}" for key, value in {**numbers, 6: job.weight.size}.items())
    text.write_text(f"7767517\n2 2\nInput in 0 1 in\nConvolution conv 1 1 in out {given}\n")
    weights.write_bytes(bytes(4) + job.weight.tobytes() + job.bias.tobytes())
    net = ncnn.Net()
    net.opt.num_threads = job.threads
    for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
        setattr(net.opt, name, False)
    if variant != "default":
        for name in ("winograd63", "winograd43", "winograd23"):
            setattr(net.opt, f"use_{name}_convolution", name == variant)
    if net.load_param(str(text)) or net.load_model(str(weights)):
        raise SystemExit("ncnn does not read its model")
    pack = next(p for p in (16, 8, 4, 1) if layer.in_channels % p == 0)
    planes = (np.ascontiguousarray(image.transpose(2, 0, 1)) for image in job.x)
    images = [ncnn.convert_packing(ncnn.Mat(plane).clone(), pack) for plane in planes]

    def once(image: Any, kind: int) -> Any:
        extractor = net.create_extractor()
        extractor.input("in", image)
        return extractor.extract("out", kind)[1]

    packed = 1
    return Form(
        "ncnn",
        variant,
        lambda: [once(image, packed) for image in images] and None,
        lambda: np.stack([np.array(once(image, 0)).transpose(1, 2, 0) for image in images]),
    )


def mnn_forms(job: Job) -> Iterator[Form]:
    """runSession on data in its packed layout and left in it, with the settings that change a float convolution."""
    tools: Any = import_module("_tools")  # MNN's converter; the script around it installs packages and reports usage
    source, model = onnx_file(job), job.folder / "layer.mnn"
    files = ["--modelFile", str(source), "--MNNModel", str(model), "--bizCode", "layer"]
    tools.mnnconvert(["mnnconvert", "-f", "ONNX", *files, "--keepInputFormat=0"])
    for level in (3, 1):
        for precision in ("normal", "high"):
            if precision == "normal" or level == 3:
                yield _mnn(job, model, level, precision)


def _mnn(job: Job, model: Path, level: int, precision: str) -> Form:
    MNN: Any = import_module("MNN")
    winograd_memory_level = 3  # MNN::Interpreter::HintMode
    network = MNN.Interpreter(str(model))
    network.setSessionHint(winograd_memory_level, level)
    session = network.createSession({"backend": "CPU", "numThread": job.threads, "precision": precision})
    shape = job.layer.shape(job.batch)
    planes = np.ascontiguousarray(job.x.transpose(0, 3, 1, 2))
    network.getSessionInput(session).copyFrom(_mnn_tensor(planes))

    def result() -> np.ndarray:
        n, h, w, c = shape.output_shape
        y = np.zeros((n, c, h, w), np.float32)
        tensor = _mnn_tensor(y)
        network.getSessionOutput(session).copyToHostTensor(tensor)
        return np.array(tensor.getNumpyData()).reshape(y.shape).transpose(0, 2, 3, 1)  # a copy: the memory is MNN's

    return Form("MNN", f"winograd level {level}, {precision}", lambda: network.runSession(session), result)


def _mnn_tensor(array: np.ndarray) -> Any:
    MNN: Any = import_module("MNN")
    return MNN.Tensor(array.shape, MNN.Halide_Type_Float, array, MNN.Tensor_DimensionType_Caffe)


@dataclass(frozen=True)
class Engine:
    """A process of its own: its competitors, the modules it needs, its ways to run a job, and who binds each of its
    threads to a core: "OpenMP", the "worker" process, or the library "itself". Unbound threads share a core for long
    while another is idle, which costs libraries that wait for one another a factor of 2 to 80."""

    competitors: tuple[str, ...]
    modules: tuple[str, ...]
    forms: Callable[[Job], Iterator[Form]]
    binding: str

    def versions(self) -> dict[str, str]:
        """Of its modules, as installed."""
        return {name: version(name) for name in self.modules}


ENGINES = {
    "secateur": Engine(CLASSES, ("llvmlite",), ours, "worker"),
    "sparse": Engine(("dense", *ZEROS.values()), ("llvmlite",), sparse, "worker"),
    "torch": Engine(("torch", "torch.compile"), ("torch",), torch_forms, "OpenMP"),
    "onnxruntime": Engine(("onnxruntime",), ("onnxruntime", "onnx"), onnxruntime_forms, "itself"),
    "openvino": Engine(("openvino",), ("openvino",), openvino_forms, "worker"),
    "ncnn": Engine(("ncnn",), ("ncnn",), ncnn_forms, "OpenMP"),
    "MNN": Engine(("MNN",), ("MNN", "onnx"), mnn_forms, "worker"),
}
OURS = ("secateur", "sparse")
PEER_ENGINES = tuple(engine for engine in ENGINES if engine not in OURS)
PEERS = tuple(name for engine in PEER_ENGINES for name in ENGINES[engine].competitors)


def quietly() -> int:
    """Send what libraries print to the error stream; gives where answers go."""
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers
