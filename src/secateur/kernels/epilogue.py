"""What happens to a convolution's sums before they are stored: bias, residual, activation; and its numpy twin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secateur.errors import KernelError
from secateur.kernels.code import Function, Value, vector

if TYPE_CHECKING:
    from jaxtyping import Float

ACTIVATIONS = ("none", "relu", "relu6", "leaky_relu")


@dataclass(frozen=True)
class Epilogue:
    """y = activation(sum + bias + residual). A bias is always added (zeros where a layer has none).

    activation   a row of ACTIVATIONS
    residual     whether an array of the output's shape is added before the activation
    slope        of leaky_relu for negative numbers; a number for the code, not a constant in it
    """

    activation: str = "none"
    residual: bool = False
    slope: float = 0.01

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise KernelError(f"activation {self.activation!r} is none of {', '.join(ACTIVATIONS)}")

    @property
    def code_name(self) -> str:
        """Equal for epilogues that share code."""
        return self.activation + ("+residual" if self.residual else "")

    def __call__(self, total: Float[np.ndarray, "*s k"], bias: np.ndarray, residual: np.ndarray | None) -> np.ndarray:
        """The definition, in the dtype of `total`; bias per last axis."""
        y = total + bias
        if self.residual:
            y = y + residual
        if self.activation == "leaky_relu":
            return np.where(y < 0, y * np.asarray(self.slope, y.dtype), y)
        if self.activation != "none":
            y = np.where(y < 0, 0, y)
        return np.where(y > 6, 6, y) if self.activation == "relu6" else y

    def emit(self, f: Function, total: Value, added: tuple[Value, ...], slope: Value) -> Value:
        """The code for one vector. `added`: bias and residual, where there is one, as vectors; slope a float.

        NaN passes every activation, as it does in the definition.
        """
        for term in added:
            total = total + term
        lanes = int(total.type[1:].split()[0])
        zero, six = f.splat(0.0, lanes), f.splat(6.0, lanes)
        if self.activation == "leaky_relu":
            return f.choose(f.float_below(total, zero), total * f.splat(slope, lanes), total, vector(lanes))
        if self.activation != "none":
            total = f.choose(f.float_below(total, zero), zero, total, vector(lanes))
        if self.activation == "relu6":
            total = f.choose(f.float_below(six, total), six, total, vector(lanes))
        return total
