"""What tests of linear kernels share: layers with data between guards, and what they compute in float64."""

from dataclasses import dataclass

import numpy as np

from balanced_matrices import random_balanced
from kernel_cases import GUARD, PLAIN, guarded
from secateur.ir.balanced_format import balanced
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.linear import LinearKernel, LinearOptions


@dataclass(frozen=True)
class LinearCase:
    """A layer with random data, in arrays between NaN so that what is read outside is seen in the result."""

    weight: np.ndarray
    count: int
    epilogue: Epilogue
    x: np.ndarray
    bias: np.ndarray
    residual: np.ndarray | None

    def expected(self) -> np.ndarray:
        """The definition, in float64."""
        return self.epilogue(self.x.astype(np.float64) @ self.weight.T.astype(np.float64), self.bias, self.residual)

    def kernel(self, *, target: str | None = None, threads: int = 1) -> LinearKernel:
        """For float32."""
        options = LinearOptions(threads=threads, target=target)
        return LinearKernel(
            len(self.x), balanced(self.weight, self.count), self.bias, epilogue=self.epilogue, options=options
        )


def linear_case(tokens: int, sizes: tuple[int, int], count: int, epilogue: Epilogue = PLAIN) -> LinearCase:
    """sizes: outputs and inputs."""
    outputs, inputs = sizes
    draw = np.random.default_rng(tokens)
    _, x = guarded((tokens, inputs))
    x[:] = draw.standard_normal(x.shape)
    residual = None
    if epilogue.residual:
        _, residual = guarded((tokens, outputs))
        residual[:] = draw.standard_normal(residual.shape)
    bias = draw.standard_normal(outputs).astype(np.float32)
    return LinearCase(random_balanced(outputs, inputs, count), count, epilogue, x, bias, residual)


def linear_result(case: LinearCase, kernel: LinearKernel) -> np.ndarray:
    """What the kernel computes; AssertionError where it writes outside the output."""
    buffer, out = guarded((len(case.x), kernel.outputs), 12345.0)
    out[:] = np.nan
    assert kernel(case.x, case.residual, out=out) is out
    assert (buffer[:GUARD] == 12345).all()
    assert (buffer[-GUARD:] == 12345).all()
    return out
