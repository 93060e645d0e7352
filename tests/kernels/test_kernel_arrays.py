"""What kernels ask of arrays."""

import numpy as np
import pytest

from secateur.errors import KernelError
from secateur.kernels.arrays import check_array


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.zeros((2, 3)), "float64"),
        (np.zeros((3, 2), np.float32), r"got float32 \(3, 2\)"),
        ([[0.0] * 3] * 2, "got list"),
        (np.zeros((3, 2), np.float32).T, "ascontiguousarray"),
    ],
)
def test_what_does_not_fit_is_refused(array, told):
    with pytest.raises(KernelError, match=told):
        check_array("x", array, (2, 3))


def test_what_fits_passes():
    assert check_array("x", np.zeros((2, 3), np.float32), (2, 3)) is None
