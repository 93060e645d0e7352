"""What tests of linear kernels share: layers with data between guards, and what they compute in float64."""

from dataclasses import dataclass

import numpy as np

from balanced_matrices import random_balanced, random_codes
from kernel_cases import GUARD, PLAIN, guarded
from secateur.ir.balanced_format import CODES, balanced, balanced_codes
from secateur.ir.formats import Quantized
from secateur.ir.grid import Grid
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.linear import LinearKernel, LinearOptions
from secateur.kernels.linear_weights import Weight

BYTE_FORMS = ("int8", "codes", "int8 group", "codes group", "dense int8")


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


def byte_weight(name: str, sizes: tuple[int, int], count: int) -> Weight:
    """Random weights of BYTE_FORMS; sizes: outputs and inputs."""
    draw = np.random.default_rng(count)
    rows, columns = sizes
    if name == "dense int8":
        scale = (draw.random(rows) + 0.1).astype(np.float32)
        return Quantized(draw.integers(-127, 128, sizes, np.int8), Grid(8, scale))
    codes = random_codes(rows, columns, count, 127 if name.startswith("int8") else 7)
    shape, dtype = ((rows, -(-columns // 128)), np.float16) if name.endswith("group") else ((rows,), np.float32)
    scale = (draw.random(shape) + 0.1).astype(dtype)
    return balanced_codes(codes, scale, count, table=CODES if name.startswith("codes") else None)


def linear_result(case: LinearCase, kernel: LinearKernel) -> np.ndarray:
    """What the kernel computes; AssertionError where it writes outside the output."""
    return guarded_result(kernel, case.x, case.residual)


def guarded_result(kernel: LinearKernel, x: np.ndarray, residual: np.ndarray | None = None) -> np.ndarray:
    """The same of any input."""
    buffer, out = guarded((len(x), kernel.outputs), 12345.0)
    out[:] = np.nan
    assert kernel(x, residual, out=out) is out
    assert (buffer[:GUARD] == 12345).all()
    assert (buffer[-GUARD:] == 12345).all()
    return out
