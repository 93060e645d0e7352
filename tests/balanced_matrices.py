"""What tests of balanced matrices share: random ones with exactly or at most n of 16."""

import numpy as np

GROUP = 16


def keep_largest(matrix: np.ndarray, count: int) -> np.ndarray:
    """The `count` numbers of largest size in every group of 16 columns, zeros elsewhere."""
    rows, columns = matrix.shape
    wide = np.pad(np.abs(matrix), ((0, 0), (0, -columns % GROUP)), constant_values=-1).reshape(-1, GROUP)
    order = wide.argsort(1)[:, ::-1].argsort(1)
    kept = (order < count).reshape(rows, columns + -columns % GROUP)[:, :columns]
    return np.where(kept, matrix, matrix.dtype.type(0))


def random_balanced(rows: int, columns: int, count: int, seed: int = 0) -> np.ndarray:
    """Normal numbers, count of 16, that keep the scale of what they multiply."""
    draw = np.random.default_rng(seed)
    matrix = draw.standard_normal((rows, columns)) / np.sqrt(max(1, columns * count / GROUP))
    return keep_largest(matrix.astype(np.float32), count)


def random_codes(rows: int, columns: int, count: int, largest: int = 127, seed: int = 0) -> np.ndarray:
    """int8 of at most `largest`, count of 16."""
    draw = np.random.default_rng(seed)
    return keep_largest(draw.integers(-largest, largest + 1, (rows, columns), np.int8), count)
