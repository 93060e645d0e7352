"""Small artifacts and pruned masks for the tests of formats, files and descriptions."""

from __future__ import annotations

import numpy as np
from sample_graphs import small_net

from secateur.ir.artifact import Artifact
from secateur.ir.formats import Dense, Quantized, Sparse, from_dense, on_grid
from secateur.ir.grid import Grid
from secateur.ir.records import Fold, UnitGroup


def tiny(**changes: object) -> Artifact:
    """small_net with every kind of thing a file can hold: all forms and dtypes, units, folds, meta."""
    graph, arrays = small_net()
    arrays["fc.weight"] = np.where(arrays["fc.weight"] % 5 == 1, arrays["fc.weight"] / 8, 0).astype(np.float32)
    tensors: dict[str, Dense | Sparse] = {
        name: from_dense(array, "float16" if name.startswith("fc") else "float32") for name, array in arrays.items()
    }
    tensors["table"] = Dense(np.arange(40).reshape(4, 10) % 7)
    tensors["mask"] = Dense(np.eye(5, dtype=np.bool_))
    parts: dict[str, object] = {
        "graph": graph,
        "tensors": tensors,
        "meta": {"name": "tiny", "notes": ["one", None, True, 1.5, {"deep": []}]},
        "units": (UnitGroup(5, np.array([True, False, False, True, False])),),
        "axes": {"conv.weight": {0: (0, 1)}, "fc.weight": {1: (0, 4)}},
        "folds": (Fold("bn", "conv", 1e-5),),
    }
    return Artifact(**{**parts, **changes})  # pyright: ignore[reportArgumentType]


def quantized() -> Artifact:
    """tiny() with weights as codes: of a convolution, a scale a channel; of a linear layer, one for all. And tensors
    that go every way that codes have, and one that is pruned."""
    artifact = tiny()
    grids = {
        "conv.weight": Grid(8, np.array([0.1, 0.07], np.float32)),
        "fc.weight": Grid(3, np.array(0.75, np.float16)),
        "fc.bias": Grid(5, np.array(0.125, np.float16)),
    }
    stored = {name: on_grid(artifact.tensors[name].to_dense(), grid, nearest=True) for name, grid in grids.items()}
    cut = pruned(60, 80, 300) * (np.arange(80) % 7 - 3)
    stored["pruned"] = Quantized(cut.astype(np.int8), Grid(4, np.ones(60, np.float16)))
    return tiny(tensors={**artifact.tensors, **stored, **codes_of_all_ways()})


def codes_of_all_ways() -> dict[str, Quantized]:
    """Tensors, each under the name of the way that is shortest for its codes."""
    rng, few, byte = np.random.default_rng(0), Grid(4, np.array(0.25, np.float16)), Grid(8, np.array(0.01, np.float16))
    even = rng.integers(-127, 128, 60).astype(np.int8)
    steep = rng.integers(1, 4, (30, 20)) * rng.choice((-1, 1), (30, 20)) * (rng.random((30, 20)) < 0.3)
    filters = rng.integers(1, 8, (12, 1, 5, 5)) * rng.choice((-1, 1), (12, 1, 1, 1)) * (rng.random((12, 1, 5, 5)) < 0.5)
    return {
        "packed": Quantized(even, byte),
        "zstd": Quantized(np.tile(even, 4), byte),
        "adaptive": Quantized(steep.astype(np.int8), few),
        "neighbours": Quantized(filters.astype(np.int8), few),
        "ascending": Quantized(np.sort(even), byte),
    }


def pruned(rows: int, columns: int, nonzeros: int, *, seed: int = 0, even: bool = False) -> np.ndarray:
    """A mask as pruning leaves it: row and column intensities of a Zipf law, many rows and columns empty."""
    rng = np.random.default_rng(seed)
    scale = np.ones((rows, columns))
    if not even:
        scale = np.outer(zipf(rng, rows), zipf(rng, columns))
    chosen = rng.choice(rows * columns, nonzeros, replace=False, p=scale.reshape(-1) / scale.sum())
    mask = np.zeros(rows * columns, dtype=np.bool_)
    mask[chosen] = True
    return mask.reshape(rows, columns)


def zipf(rng: np.random.Generator, count: int) -> np.ndarray:
    """Intensities 1, 1/2, 1/3, ... in random order."""
    return 1 / (1.0 + rng.permutation(count))


def entropy_bytes(mask: np.ndarray) -> float:
    """size * H2(density): what positions cost if all that is known of them is their number."""
    density = mask.mean()
    if density in (0, 1):
        return 0.0
    return mask.size / 8 * -(density * np.log2(density) + (1 - density) * np.log2(1 - density))
