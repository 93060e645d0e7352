"""Weights of a linear layer as its kernels read them: records filled up to whole units, and three numbers a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secateur.ir.balanced_format import GROUP, RECORD_BYTES, ROWS, SCALED_COLUMNS, Balanced
from secateur.ir.formats import Quantized
from secateur.kernels.fast import blocks_of
from secateur.kernels.linear_code import LinearPlan
from secateur.kernels.linear_form import DENSE, STEP_COLUMNS, Form
from secateur.kernels.memory import aligned

if TYPE_CHECKING:
    from jaxtyping import Float32, Int8, Shaped

Weight = Balanced | Quantized


@dataclass(frozen=True)
class PackedWeights:
    """records, and per row of all blocks: bias, scale, and what is taken off sums (int32; float32 of scaled forms);
    scales of groups of columns, float16 [block][unit][row]."""

    records: Float32[np.ndarray, " words"]
    by_row: Float32[np.ndarray, "3 rows"]
    group_scales: Float32[np.ndarray, " halves"]


def form_of(weight: Weight) -> Form:
    """The form of kernels that take it."""
    if isinstance(weight, Quantized):
        return Form(DENSE)
    return Form(weight.kind, weight.count, weight.scale is not None and weight.scale.ndim == 2)


def table_of(weight: Weight) -> tuple[int, ...]:
    """The int8 of every code, where there is a table."""
    return () if isinstance(weight, Quantized) or weight.table is None else tuple(weight.table.tolist())


def products_of(weight: Weight) -> int:
    """How many a row sums up at most."""
    columns = weight.shape[1]
    return columns if isinstance(weight, Quantized) else blocks_of(columns, GROUP) * weight.count


def packed(weight: Weight, bias: Float32[np.ndarray, " rows"] | None, plan: LinearPlan) -> PackedWeights:
    """The weights for a plan."""
    stream = _dense_records(weight.codes, plan) if isinstance(weight, Quantized) else _records(weight, plan)
    rows, by_row = weight.shape[0], aligned((3, plan.blocks * plan.form.block_rows(plan.target)))
    if bias is not None:
        by_row[0, :rows] = bias
    groups = np.zeros(0, np.uint8)
    if plan.form.kind != "float32":
        offset, integers = plan.offset, integers_of(weight).astype(np.int64)
        if plan.form.scaled:
            assert isinstance(weight, Balanced)
            by_row[2, :rows] = offset * (integers * weight.steps().astype(np.float64)).sum(1)
            groups = _group_scales(weight, plan)
        else:
            by_row[1, :rows] = row_scales(weight)
            by_row[2, :rows] = (offset * integers.sum(1)).astype(np.int32).view(np.float32)
    return PackedWeights(_in_lines(stream), by_row, _in_lines(groups))


def row_scales(weight: Weight) -> Float32[np.ndarray, " rows"]:
    """One a row."""
    scale = weight.grid.scale if isinstance(weight, Quantized) else weight.scale
    assert scale is not None
    return np.broadcast_to(scale.astype(np.float32), weight.shape[:1])


def integers_of(weight: Weight) -> Int8[np.ndarray, "rows columns"]:
    """The integers that scales multiply."""
    return weight.codes if isinstance(weight, Quantized) else weight.integers()


def _records(weight: Balanced, plan: LinearPlan) -> Shaped[np.ndarray, "blocks bytes"]:
    """Filled up with records of zeros."""
    records = plan.units * plan.form.records
    more = (records - weight.records) * RECORD_BYTES[weight.kind]
    zero = 0 if weight.table is None else int(np.flatnonzero(weight.table == 0)[0]) << 4
    return np.pad(weight.stream, ((0, 0), (0, more)), constant_values=zero) if more else weight.stream


def _dense_records(
    codes: Int8[np.ndarray, "rows columns"], plan: LinearPlan
) -> Int8[np.ndarray, "blocks steps block_rows 4"]:
    """[block][four columns][row][column of the four]"""
    rows, width = plan.form.block_rows(plan.target), plan.form.columns
    wide = np.zeros((plan.blocks * rows, plan.units * width), np.int8)
    wide[: codes.shape[0], : codes.shape[1]] = codes
    steps = wide.shape[1] // STEP_COLUMNS
    return np.ascontiguousarray(wide.reshape(plan.blocks, rows, steps, STEP_COLUMNS).transpose(0, 2, 1, 3))


def _group_scales(weight: Balanced, plan: LinearPlan) -> Shaped[np.ndarray, "blocks units 16"]:
    assert weight.scale is not None
    wide = np.zeros((plan.blocks * ROWS, plan.units), np.float16)
    wide[: weight.shape[0], : blocks_of(weight.shape[1], SCALED_COLUMNS)] = weight.scale
    return np.ascontiguousarray(wide.reshape(plan.blocks, ROWS, plan.units).transpose(0, 2, 1))


def _in_lines(array: np.ndarray) -> Float32[np.ndarray, " words"]:
    """The same bytes at a cache line."""
    room = aligned(blocks_of(array.nbytes, 4))
    room.view(np.uint8)[: array.nbytes] = array.reshape(-1).view(np.uint8)
    return room
