"""accelerate: a torch model whose layers run on generated kernels wherever these were measured to be faster."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from secateur.bridge.accelerated_conv import Asked
from secateur.bridge.folding import without_training
from secateur.bridge.graph_sites import replace_in_graph
from secateur.bridge.module_sites import replace_modules
from secateur.bridge.timing import compare
from secateur.bridge.tracing import traced
from secateur.bridge.trial import Progress, Trial, unwatched
from secateur.errors import KernelError
from secateur.kernels.acceleration import Acceleration, LayerReport
from secateur.kernels.accuracy import accuracy_limit
from secateur.kernels.balanced_choice import BYTE_ERROR, BYTES, FLOAT
from secateur.nn.fx_graph import SAME, difference, fresh
from secateur.nn.recomputed import for_good_
from secateur.nn.strip import bake_
from secateur.nn.traced_arguments import Arguments

MODEL_SECONDS = 1.0
IN_BYTES = "int8"
"""What `accuracy` is called where layers may compute in 8 bits."""
LARGEST_DIFFERENCE = {FLOAT: 1e-2, BYTES: 0.25}
"""Rounding stays far below, and that of 8 bits below the other; a larger difference of the outputs means that something
went wrong."""


class Accelerated(nn.Module):
    """An accelerated model, for inference: called as the original. `report` says what was replaced by what.

    arguments  of a traced model: what it was called with when it was traced
    """

    def __init__(self, body: nn.Module, report: Acceleration, arguments: Arguments | None = None) -> None:
        super().__init__()
        self.body, self.report, self.arguments = body, report, arguments
        super().train(False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the original computes. KernelError for an argument with another value than the one it was traced with,
        where the report says that it takes no other."""
        if self.arguments is None:
            return self.body(*args, **kwargs)
        return self.body(*self.arguments.inputs_of(args, kwargs, KernelError))

    def train(self, mode: bool = True) -> Accelerated:
        """Stays in evaluation; KernelError for mode=True, as batch norms are folded and weights packed."""
        if mode:
            raise KernelError("an accelerated model is for inference: train the original and accelerate it again")
        return self


def accelerate(
    model: nn.Module,
    example: Tensor | tuple[Any, ...],
    *,
    accuracy: str = "default",
    threads: int | None = None,
    measure: bool = True,
    watch: Callable[[Progress], None] = unwatched,
) -> Accelerated:
    """A copy of a model whose convolutions, and linear layers with at least 70 % zeros or n of 16 non-zeros, run on
    generated kernels where these are faster; the model stays as it is.

    example    what the model is called with: a tensor or a tuple of arguments. Kernels are for the shapes it leads to;
               with inputs of other shapes the results are the same and torch computes those layers. Arguments left out
               keep their defaults, and what is neither tensor nor number its value, in a model that can be traced:
               called with others it raises KernelError. The example stays as it is, also where the model works in place
    accuracy   bounds max|y - y64| / max|y64| of a layer on normal data: "strict" 3e-6, "default" 1.5e-5, "fast" 1e-4;
               "int8" is "default", but these may compute in 8 bits: linear layers and convolutions with one tap, pruned
               or not, and convolutions with n of 16 weights; weights with a scale a row, activations with one a token,
               a pixel or an image, found at run time. Such a layer's error on its own data, at most 5e-2, is in the
               report; it is usually near 1e-2
    threads    of a kernel; None: as many as torch has (`torch.get_num_threads()`) when it is called
    measure    False: replace every layer that kernels can compute, faster or not
    watch      sees how far it is, as `Progress(phase, done, total, name)`: the first time on a machine takes seconds a
               layer, most of it to compile (on all cores) and to measure which algorithm is fastest there

    Where torch.fx can trace the model, batch norms are folded into convolutions (in float64), and a residual addition
    and a ReLU, ReLU6 or LeakyReLU become part of the convolution; else single convolutions are replaced, and the report
    says why. A layer is replaced only where it was measured, in turns with torch's own (channels_last), to be faster by
    more than noise, and the whole only where it is faster than the model as it was. print(fast.report) shows it all.
    A model with hooks on itself or on a block is not traced, so that they go on being called; those by which
    torch.nn.utils.prune, spectral_norm and weight_norm compute weights are none: the copy has the weights. KernelError
    for an accuracy, threads or example that do not fit.
    """
    asked, limit = _asked(accuracy, _count(threads))
    if not isinstance(example, Tensor | tuple | list):
        raise KernelError(
            f"the example must be what the model is called with, a tensor or a tuple of arguments, not {example!r:.60}"
        )
    inputs = (example,) if isinstance(example, Tensor) else tuple(example)
    trial = Trial(asked, measure, watch)
    with torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False):
        lone = isinstance(model, nn.Conv1d | nn.Conv2d | nn.Linear)  # tracing looks into the outermost module
        plain = bake_(without_training(nn.Sequential(model) if lone else model))
        try:
            expected = for_good_(plain, lambda: plain(*fresh(inputs)))
        except (TypeError, RuntimeError, ValueError) as error:
            raise KernelError(f"the model cannot be called with the example: {error}") from error
        body, arguments, layers, notes = _replaced(plain, inputs, expected, trial)
        used = asked.threads or torch.get_num_threads()
        report = Acceleration(accuracy, limit, used, tuple(layers), notes=tuple(notes))
        return _checked(Accelerated(body, report, arguments), plain, inputs, expected, measure=measure)


def _count(threads: int | None) -> int:
    """0 for None; KernelError for what is no number of threads."""
    if threads is None:
        return 0
    try:
        count = operator.index(threads)
    except TypeError:
        count = 0
    if count < 1 or isinstance(threads, bool):
        raise KernelError(f"threads={threads!r} must be a whole number, at least 1, or None for as many as torch has")
    return count


def _asked(accuracy: str, threads: int) -> tuple[Asked, float]:
    """What layers are asked for, and the error a layer may have; KernelError for a name that is none."""
    if accuracy == IN_BYTES:
        return Asked(threads=threads, activations=BYTES), BYTE_ERROR
    return Asked(accuracy, threads), accuracy_limit(accuracy, also=(IN_BYTES,))


def _replaced(
    plain: nn.Module, inputs: tuple[Any, ...], expected: Any, trial: Trial
) -> tuple[nn.Module, Arguments | None, list[LayerReport], list[str]]:
    """A copy with layers replaced, how it is called if it was traced, the rows of the report, and notes."""
    graph, stopped = traced(without_training(plain), inputs, expected), "not traced"
    if isinstance(graph, fx.GraphModule):
        try:
            rows = replace_in_graph(graph, fresh(inputs), trial)
            graph(*fresh(inputs))
            return graph, Arguments.of(plain, inputs), rows, []
        except RuntimeError as error:  # a view that channels_last has not
            graph, stopped = str(error).strip().splitlines()[0], "its code needs NCHW"
    body = without_training(plain)
    rows = replace_modules(body, inputs, replace(trial, asked=replace(trial.asked, keep_layout=True)))
    note = f"{stopped}, so single convolutions were replaced and nothing was folded or fused ({graph})"
    return body, None, rows, [note]


def _checked(
    fast: Accelerated, plain: nn.Module, inputs: tuple[Any, ...], expected: Any, *, measure: bool
) -> Accelerated:
    """The accelerated model where its outputs are the original's and it is faster, else the copy of the original."""
    report = fast.report
    if not report.replaced:
        return Accelerated(plain, report)
    given = fresh(inputs)
    try:
        found = difference(expected, fast(*given))
    except Exception as error:  # noqa: BLE001 - whatever it is, the model as it was computes the example
        note = f"it failed on the example ({type(error).__name__}: {error}), so nothing was replaced; please report it"
        return Accelerated(plain, _undone(report, note))
    report = replace(report, difference=found)
    if not found <= LARGEST_DIFFERENCE[BYTES if report.accuracy == IN_BYTES else FLOAT]:
        note = f"outputs differ by {found:.1e} of the largest, so nothing was replaced; "
        return Accelerated(plain, _undone(report, note + _cause(plain, inputs, expected)))
    if measure:
        # A copy of the inputs takes time of its own: only for models that change them.
        taken = fresh if difference(inputs, given) else tuple
        measured = compare(lambda: plain(*taken(inputs)), lambda: fast(*taken(inputs)), seconds=MODEL_SECONDS)
        report = replace(report, before_us=measured.before_us, after_us=measured.after_us)
        if not measured.faster:
            note = "the whole is not faster than the model as it was by more than noise, so nothing was replaced"
            return Accelerated(plain, _undone(report, note))
    if fast.arguments is not None and (known := fast.arguments.parts_of_the_graph):
        report = replace(report, notes=(*report.notes, f"traced with {known}: other values are refused"))
    fast.report = report
    return fast


def _cause(plain: nn.Module, inputs: tuple[Any, ...], expected: Any) -> str:
    """Why outputs may differ: the model's own do, or something here is wrong."""
    again = difference(expected, plain(*fresh(inputs)))
    if again <= SAME:
        return "please report it"
    return f"the model is not deterministic, or its outputs cannot be compared: run twice, they differ by {again:.1e}"


def _undone(report: Acceleration, note: str) -> Acceleration:
    layers = tuple(
        replace(layer, algorithm=None, reason=f"{layer.algorithm} computes it, but see below")
        if layer.algorithm
        else layer
        for layer in report.layers
    )
    return replace(report, layers=layers, difference=0.0, notes=(*report.notes, note))
