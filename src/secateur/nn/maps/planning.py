"""Rows of a plan for the feature maps of a model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import torch
from torch import fx, nn

from secateur.errors import PlanError
from secateur.ir.plan_rows import NO_ROW, MapPlan, check_map_rule, with_map_rule
from secateur.ir.rules import Quantize
from secateur.nn.copying import copied
from secateur.nn.exporting import Example, as_inputs
from secateur.nn.fx_graph import SAME, TRACING_ERRORS, difference
from secateur.nn.maps.flow import Flow
from secateur.nn.maps.modes import both_modes, cannot_trace
from secateur.nn.maps.names import names_of
from secateur.nn.maps.placement import place_maps
from secateur.nn.mode_kept import mode_kept


def plan_maps(model: nn.Module, example: Example, rule: Quantize) -> tuple[MapPlan, ...]:
    """A row for every feature map that integer arithmetic reads, under this rule, and for every one that stays float.

    example  what the model is called with; it runs a few times without gradients, in float32. What it holds is no proof
             of a sign: inputs are signed

    PlanError for a model that torch.fx cannot trace, or one of whose maps is not there in training. What training alone
    computes (statistics, further outputs) is quantized where it reads such a map.
    """
    check_map_rule(rule)
    model = _in_float32(model)
    inputs = tuple(part.to(_device(model)) for part in as_inputs(example))
    # One example is no batch: norms refuse it in training, and its shapes do not tell which axis is the batch.
    several = inputs if len(inputs[0]) > 1 else tuple(part.repeat(2, *(1,) * (part.dim() - 1)) for part in inputs)
    modes = both_modes(model, len(inputs))
    with mode_kept(model), _untouched(model), torch.random.fork_rng(devices=[]):
        model.eval()
        expected, again = (model(*(part.clone() for part in several)) for _ in range(2))
        try:
            found = modes.evaluation.module(*(part.clone() for part in several))
            training, evaluation = (Flow(calls, several) for calls in (modes.training, modes.evaluation))
        except TRACING_ERRORS as error:
            raise PlanError(cannot_trace(model, error)) from error
    if not max(difference(expected, found), difference(expected, again)) <= SAME:
        raise PlanError(
            f"feature maps of {type(model).__name__} cannot be quantized: its graph of calls, as torch.fx sees it, "
            "computes something else than the model, or that changes from call to call; leave out maps="
        )
    rows = place_maps(evaluation, names_of(modes.evaluation))
    made = {name: node for node, name in names_of(modes.training).items()}
    for row in rows:
        if not row.reason:
            _refuse_other(row, training, made.get(row.name))
    if rule.is_dynamic:
        rows = tuple(row if row.shape or row.reason else replace(row, reason=NO_ROW) for row in rows)
    return tuple(row if row.reason else with_map_rule(row, rule) for row in rows)


def _in_float32(model: nn.Module) -> nn.Module:
    """The model, or a copy where its numbers are of another dtype: in half precision what tracing changes in the order
    of sums would count as a difference, and the example is float32."""
    tensors = chain(model.parameters(), model.buffers())
    other = any(tensor.is_floating_point() and tensor.dtype != torch.float32 for tensor in tensors)
    return copied(model).float() if other else model


def _refuse_other(row: MapPlan, training: Flow, node: fx.Node | None) -> None:
    """PlanError where a map of evaluation is not there in training: its quantizer could not learn what it needs."""
    if node is None:
        what = "does not exist in training"
    elif (training.kind(node), training.shape(node)) != (row.kind, row.shape) or (training.signed[node] > row.signed):
        what = "is another one in training than in evaluation"
    else:
        return
    raise PlanError(
        f"the feature map {row.name!r} {what}, so that no quantizer could learn what it needs: let forward compute the "
        "same maps in both, or leave out maps="
    )


@contextlib.contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Without gradients, and every buffer holds afterwards what it held before."""
    kept = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with torch.no_grad():
        try:
            yield
        finally:
            for buffer, before in kept:
                buffer.copy_(before)


def _device(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
