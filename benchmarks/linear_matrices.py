"""Random matrices of bench_linear.py: dense ones for peers, the same ones 4:16 for us, in every form of ours."""

from __future__ import annotations

import numpy as np

from secateur.ir.balanced_format import CODES, GROUP, SCALED_COLUMNS, Balanced, balanced, balanced_codes
from secateur.ir.formats import Quantized
from secateur.ir.grid import Grid

COUNT = 4
LARGEST, LARGEST_CODE = 127, 7
BYTE_FORM, CODE_FORM = "int8 4:16", "int4 4:16 group-128"


def matrices(outputs: int, inputs: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Normal weights, dense and with the COUNT largest of every GROUP inputs."""
    dense = np.random.default_rng(seed).standard_normal((outputs, inputs), np.float32) / np.float32(np.sqrt(inputs))
    groups, sparse = dense.reshape(-1, GROUP), np.zeros((dense.size // GROUP, GROUP), np.float32)
    largest = np.argpartition(np.abs(groups), GROUP - COUNT, axis=1)[:, GROUP - COUNT :]  # of two equal ones, one
    np.put_along_axis(sparse, largest, np.take_along_axis(groups, largest, axis=1), axis=1)
    return dense, sparse.reshape(dense.shape)


def balanced_forms(sparse: np.ndarray) -> dict[str, Balanced]:
    """Name -> the weights in that form."""
    by_row = np.abs(sparse).max(1).astype(np.float32) / np.float32(LARGEST)
    groups = np.abs(sparse).reshape(len(sparse), -1, SCALED_COLUMNS).max(2)
    steps = (groups / LARGEST_CODE).astype(np.float16)
    wide = np.repeat(steps.astype(np.float32), SCALED_COLUMNS, 1)
    codes = np.clip(np.rint(sparse / wide), -LARGEST_CODE, LARGEST_CODE).astype(np.int8)
    return {
        "float32 4:16": balanced(sparse, COUNT),
        BYTE_FORM: balanced_codes(np.rint(sparse / by_row[:, None]).astype(np.int8), by_row, COUNT),
        CODE_FORM: balanced_codes(codes, steps, COUNT, table=CODES),
    }


def dense_bytes(dense: np.ndarray) -> Quantized:
    """int8 with a scale an output."""
    scale = np.abs(dense).max(1).astype(np.float32) / np.float32(LARGEST)
    return Quantized(np.rint(dense / scale[:, None]).astype(np.int8), Grid(8, scale))
