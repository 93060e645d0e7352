"""one_shot_(): cut a prepared model without training, from its weights alone or with a few unlabelled batches.

Without data: one score a weight that compares across layers, and the largest stay (formulas and sources:
`maths.allocation`). With batches: a weight's score is |w| times the root mean square of the input it is multiplied with
(Sun, Liu, Bair, Kolter, "A simple and effective pruning approach for large language models", arXiv 2306.11695,
equation 1); how many weights each layer keeps follows from how much the network's output changes when that layer alone
is cut, measured; and then the kept weights are repaired (`nn.repair`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from secateur.errors import PlanError, TargetError
from secateur.ir.target import Target
from secateur.maths.allocation import SCORES, marginal_costs, ranks
from secateur.nn.harden import Hardening, harden_under, soft_sites
from secateur.nn.layer_inputs import Inputs
from secateur.nn.map_sites import maps_of
from secateur.nn.masks import MaskOptions, masks_by_score
from secateur.nn.packing import Packing
from secateur.nn.repair import Repaired, input_energies, repair_, viewed
from secateur.nn.states import take_over
from secateur.nn.strip import strip_
from secateur.nn.transform import Transformed, transforms_of
from secateur.train.calibration_inputs import input_batches
from secateur.train.sensitivity import CHANGES, curves

MEASURED = "measured"
ALLOCATIONS = (*SCORES, MEASURED)
"""How many weights each layer keeps: by a score of the weights alone, or from measured sensitivity (needs batches)."""
DEFAULT_SCORE = "lamp"
"""Without data (chosen by measurement: docs/one_shot.md)."""
ATTEMPTS = 4
"""Repaired values may take more bytes than the ones before: so often a limit on bytes is tightened."""


@dataclass(frozen=True)
class OneShotStep:
    """Progress: so many of a phase's layers are done, and which comes next. phase is "measure", "repair" or
    "calibrate"."""

    phase: str
    done: int
    total: int
    layer: str


@dataclass(frozen=True)
class OneShotTensor:
    """How one tensor was cut.

    score   "|w|", or "|w| x input" where the inputs were seen
    reason  why its inputs could not be seen, so that neither its score knows them nor its values were repaired, or why
            of these only the bias was; "" else
    before, after  the layer's squared error on the calibration batches relative to the dense layer's energy, after
                   cutting and after the repair; None without repair
    """

    name: str
    score: str
    reason: str = ""
    before: float | None = None
    after: float | None = None


@dataclass(frozen=True)
class OneShot(Hardening):
    """The result of `one_shot_`: a Hardening, and how it came about.

    factor is 1: every threshold was set where its layer is cut. moved counts weights that another score than |w| kept
    or cut. allocation is one of ALLOCATIONS, or "" where nothing was to be cut; samples how many inputs the batches
    held.
    """

    allocation: str
    layers: tuple[OneShotTensor, ...]
    samples: int

    @property
    def fallbacks(self) -> dict[str, str]:
        """Name -> reason of every tensor that batches could not serve in full."""
        return {layer.name: layer.reason for layer in self.layers if layer.reason}


@torch.no_grad()
def one_shot_(
    model: nn.Module,
    target: Target,
    *,
    batches: Iterable[Any] | None = None,
    allocation: str | None = None,
    change: str = "error",
    watch: Callable[[OneShotStep], None] = lambda _: None,
) -> OneShot:
    """Cut a prepared model (`prepare_`) to a target at once, in place, without labels, optimizer or training.

    target      as for `harden_`: density exact to the weight, macs and packed_bytes upper limits, measured on the
                file without dead units where there are batches to trace the model with; nothing looks at a max_drop
    batches     a few batches, as a loop draws them: inputs, or (inputs, labels) whose labels are ignored. inputs is a
                tensor, or a tuple of tensors for a model of several inputs. None: the weights alone decide
    allocation  how many weights each layer keeps: "magnitude", "standardized", "lamp" or "erk" from the weights alone,
                "measured" from how much the output changes when one layer is cut. None: "measured" where there are
                batches, else "lamp"
    change      what "measured" calls change: "error", squared and relative to the output, or "kl", the divergence of
                class probabilities (logits in dimension 1)
    watch       sees every OneShotStep

    With batches the kept weights, biases and batch-norm statistics are then fitted to the dense model's, layer by
    layer. Weights whose inputs cannot be seen keep their values; `OneShot.fallbacks` names them with the reason.
    The model is used in evaluation mode; its own modes stay as they are, and so does the whole model if anything is
    raised, Ctrl-C included: two copies of it are worked on. DataError for batches the model cannot take, that are empty
    or lead to NaN; PlanError and TargetError as in `harden_`.
    """
    sites = soft_sites(model)
    allocation = allocation or (DEFAULT_SCORE if batches is None else MEASURED)
    maps = [site.name for site in maps_of(model)]
    _check((sites, maps), target, allocation, change, data=batches is not None)
    if batches is None:
        scores = [torch.from_numpy(SCORES[allocation](_numpy(site.original))) for site in sites]
        energies = [site.original.double().square() for site in sites]
        masks, _ = masks_by_score(model, sites, scores, target, MaskOptions(energies=energies))
        _set_thresholds(sites, masks)
        layers = tuple(OneShotTensor(site.name, "|w|") for site in sites)
        return _result(harden_under(sites, masks, 1.0), allocation, layers, 0)
    work = _Work(model, target, input_batches(batches), watch)
    result, hardened = work.run(allocation, change)
    take_over(model, hardened)
    return result


def _check(
    changed: tuple[tuple[Transformed, ...], list[str]], target: object, allocation: str, change: str, *, data: bool
) -> None:
    sites, maps = changed
    if not isinstance(target, Target):
        raise TargetError(
            f"nothing was trained that could decide: give a Target, as in Target(density=0.3), not {target!r}"
        )
    target.refuse_without_size()
    quantized = [site.name for site in sites if site.transform.quantize is not None] + maps
    if quantized:
        raise PlanError(
            f"{quantized[0]} is to be quantized, which cutting at once does not do: leave quantize and maps out of the "
            "plan, or prune out of it, then calibrate_ and harden_ the model"
        )
    if allocation not in ALLOCATIONS:
        raise PlanError(f"allocation={allocation!r}: expected one of {', '.join(ALLOCATIONS)}")
    if change not in CHANGES:
        raise PlanError(f"change={change!r}: expected one of {', '.join(CHANGES)}")
    if allocation == MEASURED and not data:
        raise PlanError('allocation="measured" needs batches to measure with')
    for site in sites:
        if not torch.isfinite(site.original).all():
            raise TargetError(f"{site.name} holds NaN or infinity: restore the weights before cutting")


class _Work:
    """Everything on copies: `dense` is plain and stays, `cut` is hardened and repaired."""

    def __init__(
        self, model: nn.Module, target: Target, batches: list[Inputs], watch: Callable[[OneShotStep], None]
    ) -> None:
        self.target, self.batches, self.watch = target, batches, watch
        self.cut = copy.deepcopy(model).eval()
        self.sites = transforms_of(self.cut)
        for site in self.sites:
            site.transform.prune.harden(torch.ones_like(site.original, dtype=torch.bool))
        self.dense = strip_(copy.deepcopy(self.cut))
        self.calls, self.reasons = viewed(self.sites, self.dense, (0, batches[0]))

    def run(self, allocation: str, change: str) -> tuple[OneShot, nn.Module]:
        """The result and the hardened copy."""
        within = self._input_scores()
        self.energies = [torch.from_numpy(score) ** 2 for score in within]
        scores = self._across_layers(within, allocation, change)
        target, limit = self.target, self.target.packed_bytes
        before = [site.original.clone() for site in self.sites]
        hardening = self._cut(scores, target)
        for _ in range(ATTEMPTS):
            repaired = repair_(self.cut, self.dense, self.batches, self.calls, self._told("repair"))
            excess = self._bytes() - limit if limit is not None else 0
            if excess <= 0:
                break
            assert target.packed_bytes is not None
            target = replace(target, packed_bytes=target.packed_bytes - excess)
            self._restore(before)
            hardening = self._cut(scores, target)
        else:
            raise TargetError(f"the repaired weights do not fit into {limit:,} packed bytes: allow more")
        samples = sum(len(inputs[0]) for inputs in self.batches)
        layers = tuple(self._layer(site.name, repaired) for site in self.sites)
        return _result(hardening, allocation, layers, samples), self.cut

    def _input_scores(self) -> list[np.ndarray]:
        """|w| times the root mean square of its input where that can be seen, else |w|."""
        energies = input_energies(self.dense, self.calls, self.batches)
        scores = []
        for site in self.sites:
            w = np.abs(_numpy(site.original))
            if site.name not in self.reasons:
                energy = energies[self.dense.get_submodule(site.name.rpartition(".")[0])].numpy()
                grouped = w.reshape(len(energy), -1, energy.shape[1])
                w = (grouped * np.sqrt(energy)[:, None]).reshape(w.shape)
            scores.append(w)
        return scores

    def _across_layers(self, within: list[np.ndarray], allocation: str, change: str) -> list[Tensor]:
        """Scores that compare across layers, from those that only compare within one."""
        if all(site.transform.prune.is_fixed for site in self.sites):
            return [torch.from_numpy(score) for score in within]  # every layer has its count: nothing is compared
        places = [ranks(score) for score in within]
        if allocation != MEASURED:
            # The layer keeps as many weights as that score gives it, but the ones that matter more for its outputs.
            by_weight = [np.sort(SCORES[allocation](_numpy(site.original)).ravel())[::-1] for site in self.sites]
            return [torch.from_numpy(score[place].copy()) for score, place in zip(by_weight, places, strict=True)]
        found = curves(self.cut, places, self.batches, change, self._told("measure"))
        scores = []
        for site, place, curve in zip(self.sites, places, found, strict=True):
            costs = marginal_costs(curve.kept, curve.change, place.size)
            if self.target.density is None and self.target.macs is not None:
                costs = costs / max(1, site.transform.row.reuse)
            scores.append(torch.from_numpy(costs[place]))
        return scores

    def _cut(self, scores: list[Tensor], target: Target) -> Hardening:
        options = MaskOptions(example=self.batches[0], energies=self.energies)
        masks, _ = masks_by_score(self.cut, self.sites, scores, target, options)
        _set_thresholds(self.sites, masks)
        return harden_under(self.sites, masks, 1.0)

    def _restore(self, weights: Sequence[Tensor]) -> None:
        for site, before in zip(self.sites, weights, strict=True):
            site.original.copy_(before)
        plain = self.dense.state_dict()
        kept = {name: tensor for name, tensor in self.cut.state_dict().items() if name in plain}
        for name, tensor in kept.items():
            tensor.copy_(plain[name])

    def _bytes(self) -> int:
        masks = {site.name: site.transform.prune.mask for site in self.sites}
        assert all(mask is not None for mask in masks.values())
        kept = {name: mask for name, mask in masks.items() if mask is not None}
        return len(Packing(self.cut, self.batches[0], self.target.values).artifact(kept).to_bytes())

    def _layer(self, name: str, repaired: dict[str, Repaired]) -> OneShotTensor:
        if reason := self.reasons.get(name, ""):
            return OneShotTensor(name, "|w|", reason)
        done = repaired[name]
        return OneShotTensor(name, "|w| x input", done.note, done.before, done.after)

    def _told(self, phase: str) -> Callable[[int, int, str], None]:
        return lambda done, total, layer: self.watch(OneShotStep(phase, done, total, layer))


def _numpy(w: Tensor) -> np.ndarray:
    return w.detach().double().cpu().numpy()


def _set_thresholds(sites: tuple[Transformed, ...], masks: list[Tensor]) -> None:
    """Every layer's threshold between the magnitudes that leave as many weights as its mask does."""
    for site, mask in zip(sites, masks, strict=True):
        sizes = site.original.detach().double().abs().flatten().sort(descending=True).values
        kept = int(mask.sum())
        above = float(sizes[kept - 1]) if kept else 2 * float(sizes[0])
        below = float(sizes[kept]) if kept < len(sizes) else 0.0
        site.transform.prune.set_threshold((above + below) / 2)


def _result(hardening: Hardening, allocation: str, layers: tuple[OneShotTensor, ...], samples: int) -> OneShot:
    return OneShot(hardening.factor, hardening.tensors, allocation, layers, samples)
