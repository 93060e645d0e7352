"""Quantized maps: a value rounded to the grid of its codes, as the network computes with it while it runs.

Round half up, so that requantizing in integers, an addition and a shift, rounds alike (Jacob et al., "Quantization and
Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018, section 2.2).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from secateur.errors import GraphError
from secateur.ir.graph import ValueType
from secateur.ir.grid import WIDTHS
from secateur.ir.ops.sizes import need_float, need_shape
from secateur.maths.map_grid import codes


def fake_quantize_type(x: ValueType, scale: ValueType, *, bits: int, **_signed: bool) -> ValueType:
    """x of any shape, scale () -> the shape of x; 2 to 8 bits."""
    need_float("fake_quantize", x, scale)
    need_shape("fake_quantize", scale, (), "scale")
    if bits not in WIDTHS:
        raise GraphError(f"fake_quantize: a code has {WIDTHS[0]} to {WIDTHS[-1]} bits, not {bits}")
    return x


def fake_quantize(
    x: Float[np.ndarray, "*n"], scale: Float[np.ndarray, ""], *, bits: int, signed: bool
) -> Float[np.ndarray, "*n"]:
    """The code nearest to x, times the scale, one float32 multiplication."""
    return np.asarray(nearest_codes(x, scale, bits=bits, signed=signed) * scale)


def nearest_codes(
    x: Float[np.ndarray, "*n"], scale: Float[np.ndarray, ""], *, bits: int, signed: bool
) -> Float[np.ndarray, "*n"]:
    """clip(floor(x / scale + 1/2)): the codes nearest to x, half up, in float32."""
    lowest, largest = codes(bits, signed=signed)
    return np.asarray(np.clip(np.floor(x / scale + np.float32(0.5)), np.float32(lowest), np.float32(largest)))
