"""What became of every layer, gathered from plan, hardening and file."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from sample_report import sample_artifact, sample_layers

from secateur.errors import DataError
from secateur.ir.pattern import GroupCounts
from secateur.ir.plan import Plan
from secateur.ir.plan_rows import NOT_CHOSEN, TensorPlan
from secateur.ir.records import Fold
from secateur.ir.rules import Prune
from secateur.reporting.layers import FATES, layer_rows
from secateur.reporting.weight_histogram import WeightHistogram

PLAN = Plan(
    (
        TensorPlan("fc1.weight", "Linear", (5, 40), reuse=2, prune=Prune()),
        TensorPlan("fc1.bias", "Linear", (5,), reason="Linear.bias has no pruning rule"),
        TensorPlan("norm.weight", "BatchNorm1d", (5,), reason="BatchNorm1d.weight has no pruning rule"),
        TensorPlan("head.weight", "Linear", (3, 3), reuse=1, reason=NOT_CHOSEN),
    )
)


@dataclass
class Tensor:
    name: str
    threshold: float
    moved: int
    pattern: str | None = None
    groups: GroupCounts | None = None


@dataclass
class Hardened:
    factor: float
    tensors: tuple


COUNTS = GroupCounts((1, 0, 3), (0, 0, 4))
HARDENED = Hardened(2.0, (Tensor("fc1.weight", 0.25, 7, "2:4", COUNTS),))


def rows():
    artifact = replace(sample_artifact(), folds=(Fold("norm", "fc1", 1e-5),))
    histogram = WeightHistogram.of("fc1.weight", {"all": np.ones(3)}, 0.5)
    return {row.name: row for row in layer_rows(PLAN, artifact, HARDENED, [histogram])}


def test_every_tensor_of_the_plan_has_its_row():
    assert [(row.name, row.fate) for row in rows().values()] == [
        ("fc1.weight", "pruned"), ("fc1.bias", "skipped"), ("norm.weight", "skipped"), ("head.weight", "kept"),
    ]  # fmt: skip


def test_a_pruned_layer_before_and_after():
    row, artifact = rows()["fc1.weight"], sample_artifact()
    nonzeros = artifact.tensors["fc1.weight"].nonzeros
    assert (row.threshold, row.moved, row.method) == (0.5, 7, "threshold per tensor")
    assert (row.weights, row.nonzeros, row.density) == (200, nonzeros, nonzeros / 200)
    assert (row.bytes_before, row.bytes_after) == (800, artifact.bytes_by_stream().tensors["fc1.weight"].total)
    assert (row.macs_before, row.macs_after) == (400, 2 * nonzeros)
    assert row.histogram is not None
    assert row.histogram.name == row.name


def test_what_the_file_does_not_hold_says_where_it_went():
    found = rows()
    assert found["norm.weight"].reason == "BatchNorm1d.weight has no pruning rule; folded into fc1"
    assert found["norm.weight"].bytes_after == 0
    assert found["head.weight"].reason == "kept by choice; not in the file: no result depends on it"
    assert math.isnan(found["head.weight"].threshold)


def test_a_tied_tensor_is_found_under_its_other_name():
    tied = Plan((TensorPlan("again.weight", "Linear", (5, 40), prune=Prune(), tied=("fc1.weight",)),))
    (row,) = layer_rows(tied, sample_artifact(), HARDENED)
    assert row.nonzeros == sample_artifact().tensors["fc1.weight"].nonzeros


def test_an_unknown_fate_is_refused():
    assert {row.fate for row in sample_layers()} == set(FATES)
    with pytest.raises(DataError, match="a layer is pruned, quantized, kept, skipped, not 'cut'"):
        replace(sample_layers()[0], fate="cut")


def test_a_pattern_and_how_many_groups_keep_how_many():
    found = rows()
    assert (found["fc1.weight"].pattern, found["fc1.weight"].groups) == ("2:4", COUNTS)
    assert found["head.weight"].groups is None
