"""Convolutional layers with 4 of 16 weights in 8 bits against the int8 convolutions of OpenVINO and ONNX Runtime.

python benchmarks/bench_byte_conv.py [--quick] [--layers 3x3]

Layers of `conv_layers.PRUNED` with a ReLU, one thread. Weights and inputs lie on their grids, so that a right int8 sum
equals the float64 one but for rounding; that is checked first. As inside a network of 8 bits, all take and give uint8,
static scales: this library, ONNX Runtime (QLinearConv), OpenVINO; OpenVINO also with float32 as output, as it may be
faster so. This library from and to float32, quantizing included, has a column of its own. Peers compute the same
weights, dense as all weights are to them. All take turns in one pinned process; a ratio is the median over the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from conv_layers import PRUNED_LAYERS, Layer, reference
from conv_table import geometric_mean, markdown
from record import record
from secateur.ir.balanced_format import balanced_codes
from secateur.kernels.byte_maps import ByteMap, ByteMaps, room
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.linear import LinearOptions
from secateur.kernels.sparse_balanced import BalancedConvKernel, conv_matrix

COUNT, GROUP = 4, 16
SCALE = 1 / 64
"""Of inputs: 0 to 127 of these steps, as after a ReLU."""
FLOAT_ERROR, BYTE_ERROR = 1e-4, 1e-2
"""Errors beyond these are wrong results, of outputs in float32 and of those rounded to 8 bits."""
OURS, FLOATS = "secateur", "secateur, float32"
TURN_SECONDS = 0.02


class Data(NamedTuple):
    """x codes (n, h, w, c) uint8, weight codes (k, c, r, s) int8, scale a row, and the float64 sum."""

    x: np.ndarray
    codes: np.ndarray
    scale: np.ndarray
    wanted: np.ndarray

    @property
    def step(self) -> np.float32:
        """Of the output's codes."""
        return np.float32(self.wanted.max() / 255)


class Way(NamedTuple):
    """A call that is timed, and its result, channels_last."""

    run: Callable[[], object]
    result: Callable[[], np.ndarray]


def data_of(layer: Layer) -> Data:
    """Random codes, of which the four largest of every 16 neighbouring input channels are kept."""
    shape, draw = layer.shape(1), np.random.default_rng(0)
    x = draw.integers(0, 128, shape.input_shape, np.uint8)
    codes = draw.integers(-127, 128, shape.weight_shape, np.int8)
    k, c, r, s = codes.shape
    groups = codes.reshape(k, c // GROUP, GROUP, r, s)
    order = np.abs(groups.astype(np.int16)).argsort(2).argsort(2)
    codes = np.where(order >= GROUP - COUNT, groups, 0).astype(np.int8).reshape(codes.shape)
    scale = (draw.random(k).astype(np.float32) + 0.5) / 2048
    weight = codes * scale[:, None, None, None]
    total = reference(layer, SCALE * x.astype(np.float64), weight, np.zeros(k))
    return Data(x, codes, scale, np.maximum(total, 0))


def ours(layer: Layer, data: Data, *, floats: bool) -> Way:
    """BalancedConvKernel, bytes or float32 in and out."""
    weight = balanced_codes(conv_matrix(data.codes, COUNT), data.scale, COUNT)
    maps = ByteMaps() if floats else ByteMaps(ByteMap(SCALE), ByteMap(float(data.step)))
    options = LinearOptions(scale=SCALE if floats else 0.0, maps=maps)
    kernel = BalancedConvKernel(layer.shape(1), weight, epilogue=Epilogue("relu"), options=options)
    x, y = room(kernel.shape.input_shape, maps.takes), room(kernel.shape.output_shape, maps.gives)
    x[:] = SCALE * data.x if floats else data.x
    source, target, keep = x.ctypes.data, y.ctypes.data, (x, y)
    return Way(lambda: (kernel.run(source, target), keep), lambda: y if maps.gives is None else maps.gives.numbers(y))


def openvino_way(layer: Layer, data: Data, *, floats: bool) -> Way:
    """infer() on given memory, NHWC in and out, from uint8 to float32 or uint8."""
    ov: Any = import_module("openvino")
    ops: Any = import_module("openvino.opset13")
    shape, half = layer.shape(1), [layer.taps // 2] * 2
    n, h, w, c = shape.input_shape
    parameter = ops.parameter([n, c, h, w], np.uint8)
    source = ops.multiply(ops.convert(parameter, np.float32), ops.constant(np.float32(SCALE)))
    ends = [ops.constant(np.float32(end)) for end in (0, 255 * SCALE)]
    source = ops.fake_quantize(source, *ends, *ends, 256)
    scale = data.scale[:, None, None, None]
    ends = [ops.constant(end * scale) for end in (-127, 127)]
    weight = ops.fake_quantize(ops.constant(data.codes * scale), *ends, *ends, 255)
    node = ops.relu(ops.convolution(source, weight, [layer.stride] * 2, half, half, [1, 1]))
    if not floats:
        ends = [ops.constant(np.float32(end)) for end in (0, 255 * data.step)]
        node = ops.multiply(ops.fake_quantize(node, *ends, *ends, 256), ops.constant(1 / data.step))
        node = ops.convert(node, np.uint8)
    steps = ov.preprocess.PrePostProcessor(ov.Model([node], [parameter], "layer"))
    for end in (steps.input(), steps.output()):
        end.tensor().set_layout(ov.Layout("NHWC"))
        end.model().set_layout(ov.Layout("NCHW"))
    wish = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": False}
    wish["INFERENCE_PRECISION_HINT"] = "f32"  # of what is not quantized; else it is bfloat16
    request = ov.Core().compile_model(steps.build(), "CPU", wish).create_infer_request()
    x, y = np.ascontiguousarray(data.x), np.empty(shape.output_shape, np.float32 if floats else np.uint8)
    request.set_input_tensor(ov.Tensor(x, shared_memory=True))
    request.set_output_tensor(ov.Tensor(y, shared_memory=True))
    keep = (x, y)  # the request does not
    return Way(lambda: (request.infer(), keep), lambda: y if floats else y * data.step)


def onnxruntime_way(layer: Layer, data: Data, folder: Path) -> Way:
    """QLinearConv by run_with_iobinding, uint8 NCHW in and out."""
    onnx: Any = import_module("onnx")
    ort: Any = import_module("onnxruntime")
    helper, kind, shape, half = onnx.helper, onnx.TensorProto, layer.shape(1), layer.taps // 2
    step, zero = data.step, np.uint8(0)  # at 0, so that what is below is cut off: the ReLU
    numbers = {"xs": np.float32(SCALE), "xz": np.uint8(0), "w": data.codes, "ws": data.scale}
    numbers |= {"wz": np.zeros(len(data.scale), np.int8), "ys": step, "yz": zero}
    attributes = {"kernel_shape": [layer.taps] * 2, "pads": [half] * 4, "strides": [layer.stride] * 2}
    node = helper.make_node("QLinearConv", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["y"], **attributes)
    n, h, w, c = shape.input_shape
    ends = [[n, c, h, w], [n, shape.out_channels, shape.out_height, shape.out_width]]
    x_info, y_info = (
        helper.make_tensor_value_info(name, kind.UINT8, size) for name, size in zip("xy", ends, strict=True)
    )
    constants = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in numbers.items()]
    graph = helper.make_graph([node], "layer", [x_info], [y_info], constants)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), folder / "layer.onnx"
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = ort.InferenceSession(folder / "layer.onnx", options, ["CPUExecutionProvider"])
    x, y = np.ascontiguousarray(data.x.transpose(0, 3, 1, 2)), np.empty(ends[1], np.uint8)
    binding = session.io_binding()
    binding.bind_input("x", "cpu", 0, np.uint8, x.shape, x.ctypes.data)
    binding.bind_output("y", "cpu", 0, np.uint8, y.shape, y.ctypes.data)
    keep = (x, y)
    return Way(
        lambda: (session.run_with_iobinding(binding), keep),
        lambda: (y.astype(np.float64) * step).transpose(0, 2, 3, 1),
    )


def errors_of(ways: dict[str, Way], wanted: np.ndarray) -> dict[str, float]:
    """max|y - y64| / max|y64|; ends the program where one is wrong."""
    found = {}
    for name, way in ways.items():
        way.run()
        found[name] = float(np.abs(way.result() - wanted).max() / np.abs(wanted).max())
        if not found[name] <= (FLOAT_ERROR if name.endswith("float32") else BYTE_ERROR):
            raise SystemExit(f"{name} is wrong by {found[name]:.1e}")
    return found


def timed(ways: dict[str, Way], rounds: int) -> dict[str, list[float]]:
    """Median seconds of a call in every round, in turns; the order turns too."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            calls: list[float] = []
            ways[name].run()
            while sum(calls) < TURN_SECONDS:
                start = perf_counter()
                ways[name].run()
                calls.append(perf_counter() - start)
            found[name].append(statistics.median(calls))
    return found


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", nargs="+", default=[""], help="those with one of these in their name")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="three rounds; nothing is kept")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    cells, gains, competitors = [], [], [OURS]
    with tempfile.TemporaryDirectory() as folder:
        for name, layer in PRUNED_LAYERS.items():
            if not any(part in name for part in options.layers):
                continue
            data = data_of(layer)
            ways = {OURS: ours(layer, data, floats=False), FLOATS: ours(layer, data, floats=True)}
            for kind in ("uint8", "float32"):
                ways[f"OpenVINO, {kind}"] = openvino_way(layer, data, floats=kind == "float32")
            ways["ONNX Runtime"] = onnxruntime_way(layer, data, Path(folder))
            errors, seconds = errors_of(ways, data.wanted), timed(ways, 3 if options.quick else options.rounds)
            competitors, mine = list(seconds), seconds.pop(OURS)
            over = {peer: [p / m for p, m in zip(times, mine, strict=True)] for peer, times in seconds.items()}
            ratios = {peer: [round(q, 3) for q in statistics.quantiles(values)] for peer, values in over.items()}
            times_us = {peer: round(1e6 * statistics.median(v), 1) for peer, v in {OURS: mine, **seconds}.items()}
            gains.append(min(ratio[1] for peer, ratio in ratios.items() if peer != FLOATS))
            cells.append([name, *times_us.values(), f"{gains[-1]:.2f}"])
            if not options.quick:
                about = {"layer": name, "times_us": times_us, "ratios": ratios, "errors": errors}
                record("byte_conv", benchmark="byte_conv", weights=f"{COUNT}:{GROUP}", **about)
    print(markdown(["layer", *(f"{name} us" for name in competitors), "over the best"], cells))
    print(f"geometric mean over the best peer: {geometric_mean(gains):.2f}, least {min(gains):.2f}")


if __name__ == "__main__":
    main()
