"""Histograms of a model's weights before anything was cut and right after hardening, and their plain-data form."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from secateur.nn.harden import Hardening
from secateur.nn.transform import transforms_of
from secateur.reporting.weight_histogram import WeightHistogram

DENSE, SELF_PRUNED = "trained, dense", "after self-pruning"


def weight_histograms(
    dense: nn.Module, hard: nn.Module, hardening: Hardening, after: str = SELF_PRUNED
) -> tuple[WeightHistogram, ...]:
    """One for every tensor that was pruned, with the edge of its threshold.

    dense  the plain model; hard: the prepared one, right after hardening, when its weights are still those of
           self-pruning: fine-tuning moves the ones that stay
    after  what was done to them
    """
    originals = {site.name: site.original for site in transforms_of(hard)}
    drawn = []
    for row in hardening.tensors:
        if not row.pruned:
            continue
        series = {DENSE: _array(dense.get_parameter(row.name)), after: _array(originals[row.name])}
        drawn.append(WeightHistogram.of(row.name, series, row.threshold * hardening.factor))
    return tuple(drawn)


def plain(drawn: Iterable[WeightHistogram]) -> dict[str, Any]:
    """As plain data that `histograms_from` reads back."""
    return {"histograms": [dataclasses.asdict(one) for one in drawn]}


def histograms_from(data: Mapping[str, Any]) -> tuple[WeightHistogram, ...]:
    """The histograms in plain data."""
    return tuple(
        WeightHistogram(
            row["name"],
            tuple(row["edges"]),
            {label: tuple(counts) for label, counts in row["series"].items()},
            row["threshold"],
        )
        for row in data["histograms"]
    )


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float32).numpy()
