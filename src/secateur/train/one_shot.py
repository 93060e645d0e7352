"""one_shot_(): cut a prepared model without training, from its weights alone or with a few unlabelled batches; and
quantize it, where its plan says so.

Without data: one score a weight that compares across layers, and the largest stay (formulas and sources:
`maths.allocation`). With batches: a weight's score is |w| times the root mean square of the input it is multiplied with
(Sun, Liu, Bair, Kolter, "A simple and effective pruning approach for large language models", arXiv 2306.11695,
equation 1); how many weights each layer keeps follows from how much the network's output changes when that layer alone
is cut, measured; then the kept weights are repaired (`nn.repair`), and last they are quantized (`one_shot_widths`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from secateur.errors import PlanError, TargetError
from secateur.ir.target import Target
from secateur.maths.allocation import SCORES, marginal_costs, ranks
from secateur.nn.copying import copied
from secateur.nn.dynamic_map import DynamicMap
from secateur.nn.exporting import Example
from secateur.nn.harden import Hardening, harden_under, soft_sites
from secateur.nn.layer_inputs import Inputs
from secateur.nn.map_sites import maps_of
from secateur.nn.maps.insertion import remove_
from secateur.nn.masks import MaskOptions, masks_by_score
from secateur.nn.packing import Packing
from secateur.nn.repair import Repaired, input_energies, repair_, viewed
from secateur.nn.states import take_over
from secateur.nn.strip import bake_
from secateur.nn.transform import transforms_of
from secateur.nn.widths import Widths
from secateur.train.calibration_inputs import input_batches
from secateur.train.contradictions import refuse_impossible
from secateur.train.one_shot_result import OneShot, OneShotStep, OneShotTensor, result_of
from secateur.train.one_shot_weights import as_array, cut_by_weights, set_thresholds
from secateur.train.one_shot_widths import quantize_cut_, switch_off_
from secateur.train.sensitivity import CHANGES, curves, output_change
from secateur.train.width_search import best_width, widths_to_try

MEASURED = "measured"
ALLOCATIONS = (*SCORES, MEASURED)
"""How many weights each layer keeps: by a score of the weights alone, or from measured sensitivity (needs batches)."""
DEFAULT_SCORE = "lamp"
"""Without data (chosen by measurement: docs/one_shot.md)."""
ATTEMPTS = 4
"""Repaired values may take more bytes than the ones before: so often a limit on bytes is tightened."""


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
    """Cut a prepared model (`prepare_`) to a target at once, in place, without labels, optimizer or training; and
    quantize the weights and feature maps that its plan quantizes.

    target      as for `harden_`: density exact to the weight, macs and packed_bytes upper limits, measured on the
                file without dead units where there are batches to trace the model with, else packed_bytes are an
                estimate, and `notes` of the result say so; nothing looks at a max_drop
    batches     a few batches, as a loop draws them: inputs, or (inputs, labels) whose labels are ignored. inputs is a
                tensor, or a tuple of tensors for a model of several inputs. None: the weights alone decide
    allocation  how many weights each layer keeps: "magnitude", "standardized", "lamp" or "erk" from the weights alone,
                "measured" from how much the output changes when one layer is cut. None: "measured" where there are
                batches, else "lamp"
    change      what "measured" calls change: "error", squared and relative to the output, or "kl", the divergence of
                class probabilities (logits in dimension 1)
    watch       sees every OneShotStep

    Weights are quantized after they were cut, in ranges of least squared error, in their widest widths unless the
    target asks for narrower ones; under packed_bytes alone, in the mean width that loses least of those tried, as
    narrower codes leave room for more weights. Ranges of feature maps come from batches, but for those found at run
    time.
    With batches the kept weights, biases and batch-norm statistics are then fitted to the dense model's, layer by
    layer; where a weight has a pattern, n of every m, that fit also finds which of them stay (`maths.mask_search`).
    Weights whose inputs cannot be seen keep their values; `OneShot.fallbacks` names them with the reason.
    The model is used in evaluation mode; its own modes stay as they are, and so does the whole model if anything is
    raised, Ctrl-C included: copies of it are worked on. DataError for batches the model cannot take, that are empty
    or lead to NaN; PlanError and TargetError as in `harden_`.
    """
    if batches is None:
        return _by_weights(model, target, allocation or DEFAULT_SCORE, change, None)
    allocation = allocation or MEASURED
    _check(model, target, allocation, change, data=True)
    widths = widths_to_try(model, target)
    result, hardened = _Work(model, target, input_batches(batches), watch).run(allocation, change, widths)
    take_over(model, hardened)
    return result


def one_shot_by_file_(model: nn.Module, target: Target, example: Example) -> OneShot:
    """`one_shot_` without batches, its limits measured on the file that `pack` would write with this example."""
    return _by_weights(model, target, DEFAULT_SCORE, "error", example)


@torch.no_grad()
def _by_weights(model: nn.Module, target: Target, allocation: str, change: str, example: Example | None) -> OneShot:
    _check(model, target, allocation, change, data=False)
    result, hardened = cut_by_weights(model, target, allocation, widths_to_try(model, target), example)
    take_over(model, hardened)
    return result


def _check(model: nn.Module, target: object, allocation: str, change: str, *, data: bool) -> None:
    soft_sites(model)  # refuses what is hard already
    sites = transforms_of(model)
    if not isinstance(target, Target):
        raise TargetError(
            f"nothing was trained that could decide: give a Target, as in Target(density=0.3), not {target!r}"
        )
    target.refuse_without_size()
    if not any(site.transform.prunes for site in sites):
        raise PlanError("this model's plan cuts nothing: calibrate_ and harden_ quantize without cutting")
    refuse_impossible(model, target)
    unseen = [site.name for site in maps_of(model) if not isinstance(site.quantizer, DynamicMap)]
    if unseen and not data:
        raise PlanError(
            f"the range of feature map {unseen[0]} comes from data: give batches, or plan it with "
            'maps="dynamic", whose scales are found at run time'
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
        self.cut = copied(model).eval()
        switch_off_(self.cut)
        sites = transforms_of(self.cut)
        self.sites = tuple(site for site in sites if site.transform.prunes)
        self.quantizes = bool(maps_of(model)) or any(site.transform.quantize is not None for site in sites)
        for site in self.sites:
            site.transform.prune.harden(torch.ones_like(site.original, dtype=torch.bool))
        self.dense = bake_(copied(self.cut))
        remove_(self.dense)
        self.start = copy.deepcopy(self.cut.state_dict())
        self.calls, self.reasons = viewed(self.sites, self.dense, (0, batches[0]))

    def run(self, allocation: str, change: str, widths: Sequence[int]) -> tuple[OneShot, nn.Module]:
        """The result and the hardened copy. widths: mean ones to choose from, none for those of the target."""
        within = self._input_scores()
        self.energies = [torch.from_numpy(score) ** 2 for score in within]
        self.allocation = allocation
        scores = self._across_layers(within, allocation, change)
        if not widths:
            return self._under(self.target, scores), self.cut

        def attempt(aim: Target) -> tuple[float, tuple[OneShot, nn.Module]]:
            self._begin_anew()
            found = self._under(aim, scores)
            lost = output_change(self.cut, self.dense, self.batches, change)
            return lost, (found, copied(self.cut))

        (result, hardened), tried = best_width(widths, self.target, attempt)
        return replace(result, tried=tried), hardened

    def _under(self, target: Target, scores: list[Tensor]) -> OneShot:
        """Cut, repair and quantize the copy, once or until it holds a limit on bytes."""
        limit = target.packed_bytes
        hardening = self._cut(scores, target)
        for _ in range(ATTEMPTS):
            learned = [site.transform.prune.keeps(site.original) for site in self.sites]
            repaired = repair_(self.cut, self.dense, self.batches, self.calls, self._told("repair"))
            hardening = self._moved(hardening, learned)
            if self.quantizes:
                hardening = self._quantized(hardening, target)
            excess = self._bytes() - limit if limit is not None else 0
            if excess <= 0:
                break
            assert target.packed_bytes is not None
            target = replace(target, packed_bytes=target.packed_bytes - excess)
            self._begin_anew()
            hardening = self._cut(scores, target)
        else:
            raise TargetError(f"the repaired weights do not fit into {limit:,} packed bytes: allow more")
        samples = sum(len(inputs[0]) for inputs in self.batches)
        layers = tuple(self._layer(site.name, repaired) for site in self.sites)
        return result_of(hardening, self.allocation, layers, samples)

    def _input_scores(self) -> list[np.ndarray]:
        """|w| times the root mean square of its input where that can be seen, else |w|."""
        energies = input_energies(self.dense, self.calls, self.batches)
        scores = []
        for site in self.sites:
            w = np.abs(as_array(site.original))
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
            by_weight = [np.sort(SCORES[allocation](as_array(site.original)).ravel())[::-1] for site in self.sites]
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
        """Widths count where a limit does that they take part in; maps, which are no weights, have their turn later."""
        fixed = all(site.transform.prune.is_fixed for site in self.sites)
        whole = None if fixed else WHOLE
        aim = replace(target, bit_operations=None, largest_map_bytes=None) if _cuts(target) else whole
        options = MaskOptions(example=self.batches[0], energies=self.energies, widths=Widths(transforms_of(self.cut)))
        masks, _ = masks_by_score(self.cut, self.sites, scores, aim, options)
        switch_off_(self.cut)
        set_thresholds(self.sites, masks)
        return harden_under(self.sites, masks, 1.0)

    def _moved(self, hardening: Hardening, learned: Sequence[Tensor]) -> Hardening:
        """Repairing may choose another mask of the same pattern: how many weights are elsewhere than by |w|."""
        masks = self._masks()
        counts = {
            site.name: int((masks[site.name] != by_size).sum())
            for site, by_size in zip(self.sites, learned, strict=True)
        }
        rows = (replace(row, moved=counts.get(row.name, row.moved)) for row in hardening.tensors)
        return replace(hardening, tensors=tuple(rows))

    def _quantized(self, cut: Hardening, target: Target) -> Hardening:
        """What was cut and repaired, quantized; what is told of cutting is that of before the repair."""
        told = self._told("calibrate")
        found = quantize_cut_(self.cut, self._masks(), target, self.batches, self.dense, told)
        before = {row.name: row for row in cut.tensors}
        rows = (replace(before.get(row.name, row), bits=row.bits) for row in found.tensors)
        return replace(found, factor=cut.factor, tensors=tuple(rows))

    def _begin_anew(self) -> None:
        """Everything that an attempt changed, thresholds and ranges too: no result depends on what was tried before."""
        self.cut.load_state_dict(self.start)

    def _bytes(self) -> int:
        return len(Packing(self.cut, self.batches[0], self.target.values).artifact(self._masks()).to_bytes())

    def _masks(self) -> dict[str, Tensor]:
        masks = {site.name: site.transform.prune.mask for site in self.sites}
        return {name: mask for name, mask in masks.items() if mask is not None}

    def _layer(self, name: str, repaired: dict[str, Repaired]) -> OneShotTensor:
        if reason := self.reasons.get(name, ""):
            return OneShotTensor(name, "|w|", reason)
        done = repaired[name]
        return OneShotTensor(name, "|w| x input", done.note, done.before, done.after)

    def _told(self, phase: str) -> Callable[[int, int, str], None]:
        return lambda done, total, layer: self.watch(OneShotStep(phase, done, total, layer))


WHOLE = Target(density=1.0)


def _cuts(target: Target) -> bool:
    """Whether a target says how many weights stay."""
    return any(wish is not None for wish in (target.density, target.macs, target.packed_bytes))
