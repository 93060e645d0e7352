"""What the tests of generated kernels share: layers with data, arrays between guards, golden listings."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from secateur.kernels.algorithms import axis_algorithm
from secateur.kernels.code import FLOAT, I64, PTR, Module, Value, vector
from secateur.kernels.conv import Conv2dKernel, ConvOptions
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.register_tile import Tile, emit_block_tile
from secateur.kernels.shape import ConvShape, convolve
from secateur.kernels.target import TARGETS, supported
from secateur.kernels.transforms import emit_transform

HERE = supported()
"""Targets whose code runs on this machine: on an AVX-512 machine, AVX2 too."""
PLAIN = Epilogue()
GUARD = 64
"""Floats before and behind an array that nobody may touch."""
GOLDEN = Path(__file__).parent / "golden" / "kernels"


@dataclass(frozen=True)
class Layer:
    """A layer with random data, in arrays between NaN so that what is read outside is seen in the result."""

    shape: ConvShape
    epilogue: Epilogue
    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    residual: np.ndarray | None

    def expected(self) -> np.ndarray:
        """The definition, in float64."""
        return self.epilogue(convolve(self.shape, self.x, self.weight), self.bias, self.residual)

    def kernel(self, algorithm: str | None, *, target: str | None = None, threads: int = 1) -> Conv2dKernel:
        options = ConvOptions(algorithm=algorithm, target=target, threads=threads)
        return Conv2dKernel(self.shape, self.weight, self.bias, epilogue=self.epilogue, options=options)


def guarded(shape: tuple[int, ...], value: float = np.nan) -> tuple[np.ndarray, np.ndarray]:
    """An array in the middle of a buffer that is filled with `value`; the buffer and the array."""
    count = int(np.prod(shape))
    buffer = np.full(count + 2 * GUARD, value, np.float32)
    return buffer, buffer[GUARD : GUARD + count].reshape(shape)


def make_layer(shape: ConvShape, epilogue: Epilogue = PLAIN, seed: int = 0) -> Layer:
    """Normal input, bias and residual, weights that keep the scale."""
    draw = np.random.default_rng(seed)
    _, x = guarded(shape.input_shape)
    x[:] = draw.standard_normal(x.shape)
    taps = max(1, int(np.prod(shape.weight_shape[1:])))
    weight = (draw.standard_normal(shape.weight_shape) / np.sqrt(taps)).astype(np.float32)
    bias = draw.standard_normal(shape.out_channels).astype(np.float32)
    residual = None
    if epilogue.residual:
        _, residual = guarded(shape.output_shape)
        residual[:] = draw.standard_normal(residual.shape)
    return Layer(shape, epilogue, x, weight, bias, residual)


def result(layer: Layer, kernel: Conv2dKernel) -> np.ndarray:
    """What the kernel computes; AssertionError where it writes outside the output."""
    buffer, out = guarded(layer.shape.output_shape, 12345.0)
    out[:] = np.nan
    returned = kernel(layer.x, layer.residual, out=out)
    assert returned is out
    assert (buffer[:GUARD] == 12345).all()
    assert (buffer[-GUARD:] == 12345).all()
    return out


def error(found: np.ndarray, expected: np.ndarray) -> float:
    """max|y - y64| / max|y64|; NaN in the result is an infinite error, zeros for zeros are none."""
    if found.size == 0 or not (found.any() or expected.any()):
        return 0.0
    worst = float(np.abs(found - expected).max() / np.abs(expected).max())
    return worst if np.isfinite(worst) else float("inf")


def golden_modules() -> dict[str, str]:
    """Small pieces of code whose text is kept, so that a change of an emitter is seen as a change of what it emits."""
    found = {}
    module = Module()
    f = module.function("tile", {"a": PTR, "b": PTR, "c": PTR, "blocks": I64, "block_bytes": I64})
    emit_block_tile(f, Tile(TARGETS["neon"], 2, 1, 16), lambda r, c, v: f.store(v, f["c"] + (r + c) * 16))
    f.give()
    found["register_tile_2x1_neon"] = module.text()
    module = Module()
    f = module.function("transform", {"x": PTR, "y": PTR})
    kind = vector(8)

    def write(at, value: Value) -> None:
        f.store(value, f["y"] + at.column * 32)

    transform = axis_algorithm(2, 3).input_transform
    emit_transform(f, TARGETS["avx2"], (transform, 0, 0), lambda at: f.load(kind, f["x"] + at.column * 32), write)
    f.give()
    found["input_transform_f23_avx2"] = module.text()
    module = Module()
    f = module.function("finish", {"y": PTR, "slope": FLOAT, "total": kind, "bias": kind})
    f.store(Epilogue("leaky_relu").emit(f, f["total"], (f["bias"],), f["slope"]), f["y"])
    f.give()
    found["epilogue_leaky_relu_avx2"] = module.text()
    return found


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        raise SystemExit("python tests/kernel_cases.py --write: keep what the emitters emit now")
    for name, text in golden_modules().items():
        (GOLDEN / f"{name}.ll").write_text(text, encoding="utf-8")
