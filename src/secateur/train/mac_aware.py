"""mac_aware(): a Plan whose thresholds cut where a multiply-accumulate saved costs least, without training.

Source: US20190050735A1; formulas and what of them is our reading: `maths.pruning_error`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import nn

from secateur.errors import PlanError, TargetError
from secateur.ir.mac_row import MacAwareLayer
from secateur.ir.plan import Plan
from secateur.ir.plan_rows import TensorPlan
from secateur.ir.rules import near
from secateur.ir.target import Target
from secateur.ir.text_table import text_table
from secateur.maths.allocation import ranks
from secateur.maths.pruning_error import ALLOWANCES, Removals, allowances
from secateur.nn.copying import copied
from secateur.nn.prepare import prepare_
from secateur.nn.transform import transforms_of
from secateur.train.calibration_inputs import input_batches
from secateur.train.sensitivity import curves

MEASURED = "sensitivity"
WITHOUT_DATA = "relative"
HIGHEST_CAP = 0.99
CAP = 0.95
HALVINGS = 60
WIDEST = 2.0**120
"""The c above which no layer's allowance is taken to exclude anything."""


@dataclass(frozen=True)
class MacAware:
    """The result of `mac_aware`: the plan, what it rests on, and multiply-accumulates for one example before (dense)
    and after (on weights that are not zero) of all tensors of the plan. c is the common factor of all allowances."""

    plan: Plan
    layers: tuple[MacAwareLayer, ...]
    allowance: str
    c: float
    macs_before: int
    macs_after: int

    def __str__(self) -> str:
        header = ("tensor", "weights", "MACs", "share", "allowance", "error", "t", "removed", "density")
        rows = [
            (
                row.name,
                f"{row.size:,}",
                f"{row.macs:,}",
                f"{row.share:.1%}",
                f"{row.allowance:.3g}",
                f"{row.error:.3g}",
                f"{row.estimator:.3g}",
                f"{row.removed:,}",
                f"{row.density:.3g}",
            )
            for row in self.layers
        ]
        told = f"allowance {self.allowance}, c {self.c:.4g}: {self.macs_after:,} of {self.macs_before:,} MACs stay"
        return f"{text_table(header, rows, right=header[1:])}\n{told}"


@torch.no_grad()
def mac_aware(
    model: nn.Module,
    plan: Plan,
    target: Target,
    *,
    allowance: str | None = None,
    cap: float = CAP,
    batches: Iterable[Any] | None = None,
) -> MacAware:
    """Thresholds for every tensor that the plan prunes, from its share of the computation; nothing is trained and the
    model stays as it is.

    plan       one threshold a tensor (`Prune`, granularity "tensor"); what it does not prune is kept
    target     macs: upper limit for all tensors of the plan; or density of the pruned ones: upper limit. The least
               common factor c of all allowances that meets it is searched for
    allowance  "uniform", "linear", "sqrt", "relative" or "sensitivity" (`maths.pruning_error`); None: "sensitivity"
               with batches, else "relative"
    cap        largest share of a tensor's weights that is zero afterwards, at most 0.99
    batches    a few unlabelled batches as for `one_shot_`, for "sensitivity": how much the output changes when a layer
               alone is cut

    The result's plan has the thresholds as `start`: `harden_` after `prepare_` cuts there at once (with the target, to
    the weight), fine-tuning then keeps the masks; training before it goes on from there. PlanError for rules it cannot
    give a threshold to; TargetError where the cap keeps the target out of reach.
    """
    kind = refuse_unsuited(plan, target, allowance, cap, data=batches is not None)
    weights = _weights(model, plan.pruned)
    layers = _Layers(plan, weights, cap)
    measured = None if batches is None else _sensitivities(model, plan, batches)

    def chosen(c: float) -> list[int]:
        allowed = allowances(kind, c, layers.macs, layers.sizes, measured)
        return [layer.within(float(most)) for layer, most in zip(layers.removals, allowed, strict=True)]

    c = _least(lambda c: layers.meets(chosen(c), target))
    if c is None:
        raise TargetError(
            f"a cap of {cap:g} a tensor leaves {layers.macs_after(chosen(WIDEST)):,} multiply-accumulates and density "
            f"{layers.density(chosen(WIDEST)):.3g}, more than the target: raise cap, or ask for less"
        )
    taken = chosen(c)
    allowed = allowances(kind, c, layers.macs, layers.sizes, measured)
    told = tuple(layers.row(i, taken[i], float(allowed[i]), measured) for i in range(len(taken)))
    starts = {row.name: row.estimator for row in told}
    return MacAware(
        Plan(tuple(_started(row, starts) for row in plan), plan.maps),
        told,
        kind,
        c,
        sum(row.macs for row in plan),
        layers.macs_after(taken),
    )


def plan_keeping(model: nn.Module, plan: Plan, nonzeros: Mapping[str, int]) -> Plan:
    """The plan with thresholds that leave so many weights of every pruned tensor of the model."""
    starts = {}
    for row, weight in zip(plan.pruned, _weights(model, plan.pruned), strict=True):
        removals = Removals.of(weight, 1.0)
        gone = removals.sizes.size - nonzeros[row.name]
        starts[row.name] = removals.threshold(max(0, int(np.searchsorted(removals.counts, gone, side="right")) - 1))
    return Plan(tuple(_started(row, starts) for row in plan), plan.maps)


def refuse_unsuited(plan: Plan, target: Target, allowance: str | None, cap: float, *, data: bool) -> str:
    """The name of the allowance, None standing for the default; PlanError or TargetError, as `mac_aware` says, before
    anything is looked at. data: whether there are batches."""
    kind = allowance or (MEASURED if data else WITHOUT_DATA)
    if kind not in ALLOWANCES:
        raise PlanError(f"allowance={kind!r}: expected one of {', '.join(ALLOWANCES)}{near(kind, ALLOWANCES)}")
    if data != (kind == MEASURED):
        needs = "needs batches to measure with" if not data else 'looks at no batches: leave them away or "sensitivity"'
        raise PlanError(f"allowance={kind!r} {needs}")
    if not isinstance(cap, Real) or not 0 < float(cap) <= HIGHEST_CAP:
        raise PlanError(
            f"cap is the largest share of a tensor that goes, a number above 0 and at most {HIGHEST_CAP}, not {cap!r}"
        )
    if not isinstance(target, Target):
        raise TargetError(f"MAC-aware thresholds need a limit, as in Target(macs=10_000_000), not {target!r}")
    if not isinstance(plan, Plan):
        raise PlanError(f"MAC-aware thresholds need a plan, as in plan(model, example, prune=Prune()), not {plan!r}")
    if len(target.wishes()) != 1 or (target.macs is None and target.density is None):
        raise TargetError("MAC-aware thresholds are found for one limit: give Target(macs=...) or Target(density=...)")
    if target.max_drop is not None:
        raise TargetError(
            "MAC-aware thresholds look at no accuracy: leave max_drop away and name macs or a density, or let compress "
            "cut in rounds"
        )
    if not plan.pruned:
        raise PlanError("this plan prunes nothing: plan(model, example, prune=Prune())")
    for row in plan.pruned:
        assert row.prune is not None
        if row.prune.method != "threshold" or row.prune.granularity != "tensor":
            raise PlanError(f"{row.name}: MAC-aware pruning gives one threshold a tensor: Prune(granularity='tensor')")
    if not any(row.macs for row in plan.pruned):
        raise PlanError("nothing is known of multiply-accumulates in this plan: plan again with the model's example")
    return kind


def _weights(model: nn.Module, rows: tuple[TensorPlan, ...]) -> list[np.ndarray]:
    named = dict(model.named_parameters(remove_duplicate=False))
    for row in rows:
        if row.name not in named:
            raise PlanError(f"the plan speaks of {row.name!r}, which this model does not have{near(row.name, named)}")
        if tuple(named[row.name].shape) != row.shape:
            raise PlanError(f"{row.name} has shape {tuple(named[row.name].shape)}, the plan was made for {row.shape}")
    return [named[row.name].detach().float().cpu().numpy() for row in rows]


class _Layers:
    """The tensors that may be cut, with every removal a threshold can make in each."""

    def __init__(self, plan: Plan, weights: list[np.ndarray], cap: float) -> None:
        self.rows, self.removals = plan.pruned, []
        for row, weight in zip(self.rows, weights, strict=True):
            try:
                self.removals.append(Removals.of(weight, cap))
            except PlanError as error:
                raise PlanError(f"{row.name}: {error}; skip it in the plan") from None
        self.kept_macs = sum(row.macs for row in plan if row.prune is None)
        self.macs = np.array([row.macs for row in self.rows], np.float64)
        self.sizes = np.array([row.size for row in self.rows], np.float64)

    def nonzeros(self, layer: int, index: int) -> int:
        removals = self.removals[layer]
        return removals.sizes.size - int(removals.counts[index])

    def macs_after(self, taken: list[int]) -> int:
        live = (row.reuse * self.nonzeros(i, taken[i]) for i, row in enumerate(self.rows))
        return self.kept_macs + sum(live)

    def density(self, taken: list[int]) -> float:
        return sum(self.nonzeros(i, index) for i, index in enumerate(taken)) / float(self.sizes.sum())

    def meets(self, taken: list[int], target: Target) -> bool:
        if target.macs is not None:
            return self.macs_after(taken) <= target.macs
        assert target.density is not None
        return self.density(taken) <= target.density

    def row(self, i: int, index: int, allowance: float, measured: np.ndarray | None) -> MacAwareLayer:
        row, removals = self.rows[i], self.removals[i]
        return MacAwareLayer(
            row.name,
            row.size,
            row.macs,
            float(self.macs[i] / self.macs.sum()),
            allowance,
            float(removals.errors[index]),
            removals.threshold(index),
            int(removals.counts[index]),
            self.nonzeros(i, index),
            None if measured is None else float(measured[i]),
        )


def _least(meets: Callable[[float], bool]) -> float | None:
    """The least c that meets, to the resolution of HALVINGS; what is larger removes more. None where none does."""
    if not meets(WIDEST):
        return None
    low, high = math.log(1 / WIDEST), math.log(WIDEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if meets(math.exp(middle)) else (middle, high)
    return math.exp(high)


def _started(row: TensorPlan, starts: dict[str, float]) -> TensorPlan:
    if row.prune is None:
        return row
    try:
        return replace(row, prune=replace(row.prune, start=starts[row.name]))
    except PlanError as error:
        raise PlanError(f"{row.name}: {error}; its weights lie far from zero: skip it in the plan") from None


def _sensitivities(model: nn.Module, plan: Plan, batches: Iterable[Any]) -> np.ndarray:
    """By pruned tensor the relative squared change of the output a unit of removed energy (in squared standard
    deviations), at the least cut that `curves` measures."""
    cut = prepare_(copied(model), Plan(tuple(replace(row, quantize=None) for row in plan))).eval()
    sites = transforms_of(cut)
    for site in sites:
        site.transform.prune.harden(torch.ones_like(site.original, dtype=torch.bool))
    weights = [site.original.detach().float().cpu().numpy().astype(np.float64) for site in sites]
    orders = [ranks(np.abs(weight)) for weight in weights]
    found: dict[str, float] = {}
    measured = curves(cut, orders, input_batches(batches), "error", lambda *_: None)
    for site, weight, order, curve in zip(sites, weights, orders, measured, strict=True):
        energy = float(np.square(weight[order >= curve.kept[-2]] / weight.std()).sum())
        found[site.name] = float(curve.change[-2]) / energy if energy else math.inf
    finite = [value for value in found.values() if math.isfinite(value)]
    highest = max(finite, default=1.0)
    return np.array([min(found[row.name], highest) for row in plan.pruned])
