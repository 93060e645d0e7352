"""calibrate_(): ranges of feature maps and weights, and biases that suit them, from a few batches without labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from secateur.errors import DataError, PlanError
from secateur.ir.rules import near
from secateur.maths.map_range import BINS, Range, least_error, percentile_end, range_at
from secateur.nn.bias_correction import Told, correct_biases_
from secateur.nn.copying import copied
from secateur.nn.dynamic_map import DynamicMap
from secateur.nn.layer_inputs import Inputs, call
from secateur.nn.map_sites import MapSite, maps_of, prepared_sites
from secateur.nn.off_grid import off_grid, on_grid
from secateur.nn.states import take_over
from secateur.nn.transform import transforms_of
from secateur.train.calibration_inputs import input_batches

METHODS: dict[str, float | None] = {"mse": None, "percentile": 99.99}
"""Method -> the percentage of a map's magnitudes that its range covers, None where the error decides."""


@dataclass(frozen=True)
class CalibratedMap:
    """The range of one feature map: where it ends, the largest magnitude that was seen, and the relative squared error
    that it leaves at the width the map would have if it were hardened now. lowest: the lowest value that was seen; an
    input whose is 0 may be one that is never negative (`Plan.replace(name, signed=False)`)."""

    name: str
    bits: int
    x_max: float
    largest: float
    error: float
    lowest: float


@dataclass(frozen=True)
class Calibration:
    """What `calibrate_` did: a row a feature map; by layer how far quantization had moved the means of its outputs,
    relative to these means, which its bias now makes up for; and how many inputs were looked at."""

    maps: tuple[CalibratedMap, ...]
    corrected: dict[str, float]
    samples: int


@torch.no_grad()
def calibrate_(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    method: str | float = "mse",
    correct_biases: bool = True,
    dense: nn.Module | None = None,
    told: Told = lambda *_: None,
) -> Calibration:
    """Set the ranges of a prepared model from data instead of training, in place; `harden_` and `pack` follow as ever.

    batches         a few batches, as a loop draws them: inputs, or (inputs, labels) whose labels are ignored
    method          of maps: "mse", for every width the range with the least squared error; "percentile", one that
                    99.99 % of the magnitudes stay within, or another percentage as a number. Ranges of quantized
                    weights always have the least squared error
    correct_biases  move biases so that every layer's mean output, channel by channel, is that without quantization
    dense           whose means these are, a model with the same layers; None: this one without quantization, which is
                    right as long as its biases are those of training. For a second call give the model of before
    told            hears how many layers of how many have their bias corrected, and which comes next

    The widths are those of the model as it is: the widest where none was learned. Of a hardened model, whose ranges are
    fixed, only biases are corrected, which is worth another call where hardening made something narrower. The model is
    used in evaluation mode and stays as it is if anything is raised. DataError for batches that it cannot take, that
    are empty, lead to NaN, or are negative in an input planned as never negative; PlanError for a model in which
    nothing is quantized.
    """
    percent = _percent(method)
    sites, maps = prepared_sites(model)
    if not maps and not any(site.transform.quantize for site in sites):
        raise PlanError("this model's plan quantizes nothing: plan(model, example, quantize=..., maps=...)")
    inputs = input_batches(batches)
    work, fine = copied(model), off_grid(model)
    soft = [site for site in maps_of(work) if not site.quantizer.is_hard]
    for quantizer in (site.quantizer for site in soft if isinstance(site.quantizer, DynamicMap)):
        quantizer.start()  # it has no range to set
    soft = [site for site in soft if not isinstance(site.quantizer, DynamicMap)]
    seen = _magnitudes(fine, {site.name for site in soft}, inputs)
    rows = tuple(_set_range(site, seen[site.name], percent) for site in soft)
    for site in transforms_of(work):
        stage, left = site.transform.quantize, site.transform.survivors(site.original)
        if stage is not None and not stage.is_hard:
            stage.start(left)
            stage.log_range.copy_(stage.fitted(left, stage.width()))
    corrected: dict[str, float] = {}
    if correct_biases:
        coarse = on_grid(work)
        corrected = correct_biases_(coarse, fine if dense is None else off_grid(dense), inputs, told)
        for path in corrected:
            bias, found = (cast(Any, net.get_submodule(path)).bias for net in (work, coarse))
            bias.copy_(found)
    take_over(model, work)
    return Calibration(rows, corrected, sum(len(batch[0]) for batch in inputs))


def _percent(method: str | float) -> float | None:
    if isinstance(method, str):
        if method not in METHODS:
            raise PlanError(
                f"method={method!r}: expected {' or '.join(METHODS)} or a percentage{near(method, METHODS)}"
            )
        return METHODS[method]
    if isinstance(method, bool) or not isinstance(method, int | float) or not 0 < method <= 100:
        raise PlanError(
            f"method={method!r}: expected {' or '.join(METHODS)}, or a percentage of a map's magnitudes above 0 and at "
            "most 100"
        )
    return method


@dataclass
class _Magnitudes:
    """How the magnitudes of one map are distributed, in BINS bins up to the largest."""

    largest: float = 0.0
    lowest: float = math.inf
    squares: float = 0.0
    values: int = 0
    counts: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))

    @property
    def mean_square(self) -> float:
        return self.squares / max(1, self.values)


def _magnitudes(fine: nn.Module, names: set[str], inputs: Sequence[Inputs]) -> dict[str, _Magnitudes]:
    """Of the maps of these names in a model that quantizes nothing: a pass for the largest, one to count."""
    found = {name: _Magnitudes() for name in names}
    quantizers = {site.name: site.quantizer for site in maps_of(fine) if site.name in names}

    def extent(name: str, x: Tensor) -> None:
        one, sizes = found[name], x.abs()
        one.largest, one.lowest = max(one.largest, float(sizes.max())), min(one.lowest, float(x.min()))
        quantizers[name].refuse_negative(one.lowest)
        one.squares += float(x.square().sum())
        one.values += x.numel()

    def count(name: str, x: Tensor) -> None:
        one = found[name]
        if one.largest:
            one.counts += torch.histc(x.abs(), BINS, 0, one.largest).cpu().long().numpy()

    for visit in (extent, count) if found else ():
        handles = [
            quantizer.register_forward_pre_hook(partial(_given, visit, name)) for name, quantizer in quantizers.items()
        ]
        try:
            for number, batch in enumerate(inputs):
                call(fine, batch, number)
        finally:
            for handle in handles:
                handle.remove()
        for name, one in found.items():
            if not math.isfinite(one.largest) or not math.isfinite(one.squares):
                raise DataError(f"the feature map {name} holds NaN or infinity on the calibration batches")
    return found


def _given(visit: Callable[[str, Tensor], None], name: str, _: nn.Module, args: tuple[Any, ...]) -> None:
    """A hook before a quantizer."""
    visit(name, args[0].float())


def _set_range(site: MapSite, seen: _Magnitudes, percent: float | None) -> CalibratedMap:
    quantizer = site.quantizer
    found = [_range(seen, bits, quantizer.signed, percent) for bits in quantizer.widths]
    quantizer.calibrate([one.x_max for one in found], [one.error for one in found], seen.mean_square)
    bits = quantizer.width()
    chosen = found[quantizer.widths.index(bits)]
    return CalibratedMap(site.name, bits, chosen.x_max, seen.largest, chosen.error, seen.lowest)


def _range(seen: _Magnitudes, bits: int, signed: bool, percent: float | None) -> Range:
    if not seen.largest:
        return Range(0.0, 0.0)
    if percent is None:
        return least_error(seen.counts, seen.largest, bits, signed=signed)
    return range_at(seen.counts, seen.largest, percentile_end(seen.counts, seen.largest, percent), bits, signed=signed)
