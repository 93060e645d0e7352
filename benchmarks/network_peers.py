"""Other runtimes for whole networks, where they are installed: ONNX Runtime and OpenVINO, float32, same threads."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor, nn

Call = Callable[[Tensor], Tensor]


def network_peers(model: nn.Module, x: Tensor, threads: int) -> dict[str, Call]:
    """Name -> call; what is not installed is said and left out."""
    found = {}
    for name, module, make in (("ONNX Runtime", "onnxruntime", _onnxruntime), ("OpenVINO", "openvino", _openvino)):
        if find_spec(module) is None:
            print(f"{name} is not installed: pip install {module}")
            continue
        found[name] = make(model, x, threads)
    return found


def _onnxruntime(model: nn.Module, x: Tensor, threads: int) -> Call:
    import onnxruntime

    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (x,), file, input_names=["x"], dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    return lambda y: torch.from_numpy(session.run(None, {"x": y.numpy()})[0])


def _openvino(model: nn.Module, x: Tensor, threads: int) -> Call:
    import openvino

    wanted = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    converted = openvino.convert_model(model, example_input=x, input=[list(x.shape)])
    compiled = openvino.Core().compile_model(converted, "CPU", wanted)
    return lambda y: torch.from_numpy(compiled(y.numpy())[0])
