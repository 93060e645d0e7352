"""The gradients of a convolution follow from the same exact transforms, exactly.

Of the input: the same algorithm on the flipped kernel. Of the kernel: the algorithm with outputs and taps exchanged,
summed over tiles, dw = g^T sum_tiles (bt x) * (at^T dy).
"""

import dataclasses
from math import prod

import numpy as np
import pytest

from secateur.maths.bilinear import Bilinear
from secateur.maths.exact_matrix import ExactMatrix, exact
from secateur.maths.nesting import nested, of_points, split_fields
from secateur.maths.transform import Transform

ALGORITHMS = {
    "F(4,3)": of_points(4, 3, (0, 1, -1, 2, -2)),
    "F(2x4,3x2)": nested(of_points(2, 3, (0, 1, -1)), of_points(4, 2, (0, 1, -1, 2))),
    "F(4x4,3x3) over x(x^4-1)": split_fields((4, 4), (3, 3), ("x, x^4-1", "x, x^4-1")),
    "F(3,4) over x(x^4+1)": split_fields((3,), (4,), ("x, x^4+1",)),
}


def of_kernel(algorithm: Bilinear) -> Bilinear:
    """The algorithm that makes the gradient of the kernel, of tiles of the input and of the gradient of the output."""
    matrices = {"at": algorithm.g.transposed(), "g": algorithm.at.transposed()}
    turned = [
        Transform(tuple(stage.transposed() for stage in reversed(transform.stages)))
        for transform in (algorithm.filter_transform, algorithm.output_transform)
    ]
    return dataclasses.replace(
        algorithm,
        **matrices,
        outputs=algorithm.taps,
        taps=algorithm.outputs,
        output_transform=turned[0],
        filter_transform=turned[1],
        axes=(),
    )


def integers(*shape):
    return np.random.default_rng(prod(shape)).integers(-9, 10, shape)


def column(array) -> ExactMatrix:
    return exact([[int(n)] for n in array.ravel()])


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_exchanged_algorithm_is_one(name):
    made = of_kernel(ALGORITHMS[name])
    assert made.proves()
    assert of_kernel(made).proves()
    wrong = made.at.numerators.copy()
    wrong[0, 0] += 1
    assert not dataclasses.replace(made, at=ExactMatrix(wrong, made.at.denominator)).proves()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_gradient_of_the_kernel_sums_over_tiles(name):
    """Two tiles an axis of an image; both sides in rational numbers, so that they are equal, not close."""
    algorithm = ALGORITHMS[name]
    outputs = tuple(2 * m for m in algorithm.outputs)
    x = integers(*(n + r - 1 for n, r in zip(outputs, algorithm.taps, strict=True)))
    dy = integers(*outputs)
    wanted = [
        [int((x[tuple(slice(t, t + n) for t, n in zip(tap, outputs, strict=True))] * dy).sum())]
        for tap in np.ndindex(*algorithm.taps)
    ]
    total = np.zeros((algorithm.products, 1), object)
    for tile in np.ndindex(*(2 for _ in outputs)):
        first = tuple(t * m for t, m in zip(tile, algorithm.outputs, strict=True))
        seen, sent = (
            column(array[tuple(slice(a, a + n) for a, n in zip(first, sizes, strict=True))])
            for array, sizes in ((x, algorithm.inputs), (dy, algorithm.outputs))
        )
        pairs = zip((algorithm.bt @ seen).rows(), (algorithm.at.transposed() @ sent).rows(), strict=True)
        total = total + np.array([[a[0] * b[0]] for a, b in pairs], object)
    found = algorithm.g.transposed() @ exact(total.tolist())
    assert found == exact(wanted)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_gradient_of_the_input_is_the_algorithm_on_the_flipped_kernel(name):
    """Of one tile of the gradient of the input, for all that reaches it of that of the output."""
    algorithm = ALGORITHMS[name]
    w, dy = integers(*algorithm.taps), integers(*algorithm.inputs)
    flipped = column(np.flip(w))
    products = [
        [a[0] * b[0]] for a, b in zip((algorithm.g @ flipped).rows(), (algorithm.bt @ column(dy)).rows(), strict=True)
    ]
    wanted = np.zeros(algorithm.outputs, int)
    for at in np.ndindex(*algorithm.inputs):  # output `at` took w[t] times the input at + t; the tile begins at r - 1
        for tap in np.ndindex(*algorithm.taps):
            place = tuple(a + t - (r - 1) for a, t, r in zip(at, tap, algorithm.taps, strict=True))
            if all(0 <= p < m for p, m in zip(place, algorithm.outputs, strict=True)):
                wanted[place] += w[tap] * dy[at]
    assert algorithm.at @ exact(products) == column(wanted)
