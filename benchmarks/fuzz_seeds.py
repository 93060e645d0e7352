"""Honest artifacts that fuzzing starts from: every operation, every code for positions and values, units, folds, meta.

Small networks come from the builders of the tests; LeNet-5, pruned, and a transformer block come from torch.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from torch import nn

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path.extend(str(TESTS / folder) for folder in ("ir", "laws"))

from integer_networks import residual  # noqa: E402
from op_cases import TWINS  # noqa: E402
from random_networks import Net, networks  # noqa: E402
from sample_artifacts import pruned, quantized, tiny  # noqa: E402

from secateur.cli.demo_network import LeNet5  # noqa: E402
from secateur.ir.artifact import Artifact  # noqa: E402
from secateur.ir.coding.floats import MOST_VALUES  # noqa: E402
from secateur.ir.dead_units import remove_dead_units  # noqa: E402
from secateur.ir.fold import fold_batch_norm  # noqa: E402
from secateur.ir.formats import Dense, Quantized, Sparse, Stored, from_dense  # noqa: E402
from secateur.ir.graph import Graph, Node  # noqa: E402
from secateur.ir.grid import WIDTHS, Grid  # noqa: E402
from secateur.ir.ops import OPS  # noqa: E402
from secateur.nn.pack import pack  # noqa: E402

CASES_AN_OP = 3
RANDOM_NETWORKS = 20
INTEGER_NETWORKS = 12


def honest_files() -> dict[str, bytes]:
    """Name -> bytes; the same on every call."""
    return {name: artifact.to_bytes() for name, artifact in _artifacts()}


def _artifacts() -> Iterator[tuple[str, Artifact]]:
    yield "tiny", tiny()
    yield "quantized", quantized()
    yield "weights only", tiny(graph=None, meta={"weights_only": "as an example"})
    yield "codes", Artifact(None, dict(coded_tensors()), {"weights_only": "as an example"})
    for op in OPS:
        for case in range(CASES_AN_OP):
            yield f"{op} {case}", _one_operation(op, case)
    for number in range(INTEGER_NETWORKS):
        yield f"integers {number}", Artifact(*residual(number))
    for index, net in enumerate(_random_networks()):
        yield f"network {index}", _packed(net)
    torch.manual_seed(0)
    for values in ("float32", "float16", "int8"):
        yield f"LeNet-5 {values}", pack(_cut(LeNet5(), 0.95), torch.zeros(1, 1, 28, 28), values=values)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    yield "transformer", pack(_cut(layer, 0.7), torch.zeros(1, 5, 16))


def coded_tensors() -> Iterator[tuple[str, Stored]]:
    """Tensors that between them are kept in every code there is."""
    rng = np.random.default_rng(0)
    for name, mask in (
        ("contexts", pruned(60, 80, 300)),
        ("gaps", np.arange(60200).reshape(200, 301) % 20 == 3),
        ("adaptive gaps", np.arange(6020).reshape(20, 301) % 20 == 3),
        ("even", pruned(60, 200, 2000, even=True)),
    ):
        yield name, from_dense((mask * rng.standard_normal(mask.shape)).astype(np.float32))
    yield "mask", from_dense((rng.random((700, 700)) < 0.48).astype(np.float32))
    yield "all", Sparse((9,), np.arange(9), np.ones(9, np.float16))
    yield "none", from_dense(np.zeros((40, 50), np.float32))
    yield "planes", Dense(np.repeat(np.arange(25.0, dtype=np.float16), MOST_VALUES // 25 + 1))
    yield "floats", Dense(rng.standard_normal((20, 30)).astype(np.float32))
    yield "ascending", Dense(np.sort(rng.standard_normal(300)).astype(np.float32))
    smooth = np.abs(rng.standard_normal((50, 1, 5, 5))) * rng.choice((-1, 1), (50, 1, 1, 1))
    yield "signs", from_dense((smooth * (rng.random(smooth.shape) < 0.4)).astype(np.float16))
    rows = rng.standard_normal((60, 40)) * (rng.random((60, 40)) < 0.3)
    first = np.arange(60), np.argmax(rows != 0, axis=1)
    rows[first] = np.where(rows[first] == 0, 0, 0.25)
    yield "leading", from_dense(rows.astype(np.float16))
    yield "steps", Dense(np.arange(500) * 3)
    yield "bits", Dense(rng.random((30, 31)) < 0.5)
    yield "empty", Dense(np.zeros((0, 3), np.int64))
    for bits in WIDTHS:
        for mask in (pruned(60, 80, 300), np.ones((60, 20), np.bool_)):
            for scale in (np.array(0.1, np.float16), np.linspace(0.1, 0.2, 60, dtype=np.float32)):
                yield f"{bits} bits {mask.mean():.2f} {scale.ndim}", _quantized(rng, mask, Grid(bits, scale))
    tensor = _quantized(rng, np.ones(300, np.bool_), Grid(8, np.array(0.1, np.float16)))
    yield "repeated codes", Quantized(np.tile(tensor.codes, 9), tensor.grid)
    yield "ascending codes", Quantized(np.sort(tensor.codes), tensor.grid)
    for share in (0.4, 1.0):
        filters = rng.integers(1, 8, (50, 1, 5, 5)) * rng.choice((-1, 1), (50, 1, 1, 1))
        codes = filters * (rng.random((50, 1, 5, 5)) < share)
        yield f"neighbours {share}", Quantized(codes.astype(np.int8), Grid(4, np.array(0.1, np.float16)))


def _quantized(rng: np.random.Generator, mask: np.ndarray, grid: Grid) -> Quantized:
    codes = rng.integers(-grid.largest, grid.largest + 1, mask.shape)
    return Quantized((np.where(codes, codes, 1) * mask).astype(np.int8), grid)


def _one_operation(op: str, case: int) -> Artifact:
    """A graph of one node; float inputs after the first are constants where their shape is fixed."""
    rng = np.random.default_rng([case, *op.encode()])
    types, attributes = TWINS[op].draw(rng)
    while not any(size < 0 for kind in types for size in kind.shape):  # an expand that makes the batch by itself
        types, attributes = TWINS[op].draw(rng)
    names = tuple(f"in{place}" for place in range(len(types)))
    arrays = TWINS[op].fill(rng, [kind.bind(2) for kind in types])
    fixed = {
        name
        for name, kind in zip(names[1:], types[1:], strict=True)
        if kind.dtype == "float32" and all(size > 0 for size in kind.shape)
    }
    tensors = {n: from_dense(array) for n, array in zip(names, arrays, strict=True) if n in fixed}
    output = OPS[op].shape(types, attributes)
    inputs = tuple(name for name in names if name not in fixed)
    all_types = {**dict(zip(names, types, strict=True)), "y": output}
    graph = Graph(inputs, ("y",), tuple(tensors), (Node(op, names, "y", attributes),), all_types)
    return Artifact(graph, tensors)


def _random_networks() -> list[Net]:
    found: list[Net] = []

    @seed(0)
    @settings(
        max_examples=RANDOM_NETWORKS,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(networks())
    def collect(net: Net) -> None:
        found.append(net)

    collect()
    return found


def _packed(net: Net) -> Artifact:
    """As pack does it, without torch: folded, dead units removed, stored in the smaller form."""
    graph, constants, folds, _ = fold_batch_norm(net.graph(net.nodes[-1].output), net.constants)
    graph, constants, removal = remove_dead_units(graph, constants)
    stored = {name: from_dense(array) for name, array in constants.items()}
    return Artifact(graph, stored, {"name": "random"}, removal.groups, removal.axes, folds)


def _cut(model: nn.Module, share: float) -> nn.Module:
    """The smallest weights of every matrix set to zero, in evaluation mode."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight[weight.abs() < weight.abs().flatten().quantile(share)] = 0
    return model.eval()
