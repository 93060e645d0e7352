"""Quantized maps: a value rounded to the grid of its codes, as the network computes with it while it runs; at a scale
that is stored, or at scales found at run time.

Round half up, so that requantizing in integers, an addition and a shift, rounds alike (Jacob et al., "Quantization and
Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018, section 2.2).
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import GraphError
from secateur.ir.graph import ValueType
from secateur.ir.grid import WIDTHS
from secateur.ir.ops.op import Effort
from secateur.ir.ops.sizes import need_float, need_shape
from secateur.maths.map_grid import codes

if TYPE_CHECKING:
    from jaxtyping import Float


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
    x: Float[np.ndarray, "*n"], scale: Float[np.ndarray, "*m"], *, bits: int, signed: bool
) -> Float[np.ndarray, "*n"]:
    """clip(floor(x / scale + 1/2)): the codes nearest to x, half up, in float32; scales broadcast."""
    lowest, largest = codes(bits, signed=signed)
    return np.asarray(np.clip(np.floor(x / scale + np.float32(0.5)), np.float32(lowest), np.float32(largest)))


def dynamic_quantize_type(
    x: ValueType, least: ValueType, *, bits: int, axes: tuple[int, ...], **_signed: bool
) -> ValueType:
    """x of any shape, least () -> the shape of x; axes ascending, none of them the batch's."""
    fake_quantize_type(x, least, bits=bits)
    rank = len(x.shape)
    if not axes or list(axes) != sorted(set(axes)) or axes[-1] >= rank:
        raise GraphError(f"dynamic_quantize: axes are ascending places of {rank} dimensions, one at least, not {axes}")
    if any(x.shape[axis] < 0 for axis in axes):
        raise GraphError("dynamic_quantize: a scale would be shared by the examples of a batch")
    return x


def dynamic_quantize(
    x: Float[np.ndarray, "*n"], least: Float[np.ndarray, ""], *, bits: int, signed: bool, axes: tuple[int, ...]
) -> Float[np.ndarray, "*n"]:
    """The code nearest to x, times the scale that is found in x, one float32 multiplication."""
    scales = found_scales(x, least, bits=bits, signed=signed, axes=axes)
    return np.asarray(nearest_codes(x, scales, bits=bits, signed=signed) * scales)


def found_scales(
    x: Float[np.ndarray, "*n"], least: Float[np.ndarray, ""], *, bits: int, signed: bool, axes: tuple[int, ...]
) -> Float[np.ndarray, "*m"]:
    """max(largest / qmax, least): the largest |x| along the axes becomes the last code, one float32 division; of codes
    without a sign the largest x. The axes stay, with size 1."""
    largest = np.max(np.abs(x) if signed else x, axis=axes, keepdims=True, initial=np.float32(0))
    return np.maximum(largest / np.float32(codes(bits, signed=signed)[1]), least)


def dynamic_effort(output: ValueType, *_inputs: ValueType, **_attributes: object) -> Effort:
    """Of arrays of the output's size the magnitudes, the scales spread out, and what codes are computed in."""
    size = prod(output.shape)
    return Effort(20 * size, 8 * size)
