"""pack(): from a torch module to an Artifact: stripped, traced, norms folded, dead units removed, values rounded
once."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from secateur import __version__
from secateur.errors import ArtifactError, GraphError, SecateurWarning
from secateur.ir.artifact import Artifact
from secateur.ir.dead_units import Removal, remove_dead_units
from secateur.ir.fold import fold_batch_norm
from secateur.ir.formats import from_dense
from secateur.ir.graph import Graph
from secateur.ir.records import Fold
from secateur.ir.strict_json import JSON
from secateur.ir.target import VALUE_BITS
from secateur.ir.verify import verify
from secateur.nn.exporting import Example
from secateur.nn.strip import strip_
from secateur.nn.trace import Traced, trace
from secateur.nn.transform import transforms_of


def pack(model: nn.Module, example: Example, *, values: str = "float32") -> Artifact:
    """The model, in evaluation mode, as an Artifact; the model itself is left as it is.

    example  what the model is called with, a tensor or a tuple of tensors, batch first
    values   how numbers are stored, "float32" or "float16"; rounded once, after folding, and the largest relative
             change stands in `meta["rounding"]`

    A model the graph cannot express becomes a weights-only Artifact, with a SecateurWarning and the reason in
    `meta["weights_only"]`. ArtifactError for a model that is still soft, or holds NaN or infinity.
    """
    if values not in VALUE_BITS:
        raise ArtifactError(f"values must be one of {', '.join(VALUE_BITS)}, got {values!r}")
    if soft := [site.name for site in transforms_of(model) if not site.transform.is_hard]:
        raise ArtifactError(f"{soft[0]} is still soft: call harden_ before pack, so that the file is what was tested")
    plain = strip_(copy.deepcopy(model)).cpu().eval()
    _refuse_non_finite(plain)
    try:
        traced = trace(plain, example)
    except GraphError as error:
        return _weights_only(plain, str(error), values)
    return _with_graph(plain, traced, values)


def _with_graph(plain: nn.Module, traced: Traced, values: str) -> Artifact:
    graph, tensors, folds, reasons = fold_batch_norm(traced.graph, traced.constants)
    rounding = _Rounding(values)
    tensors = {name: rounding(array) for name, array in tensors.items()}
    before = _parameters(tensors)
    graph, tensors, removal = remove_dead_units(graph, tensors)
    tensors = {name: rounding(array) for name, array in tensors.items()}
    verify(graph)
    meta = {
        "secateur": __version__,
        "values": values,
        "parameters": [before, _parameters(tensors)],
        **_unless_empty(
            rounding=float(f"{rounding.largest:.2g}"),
            dead_units=_dead_units(removal),
            notes=[*traced.notes, *reasons, *_still_there(removal)],
            unread=_unread(plain, traced, graph, folds),
        ),
    }
    stored = {name: from_dense(array, rounding.dtype_of(array)) for name, array in tensors.items()}
    return Artifact(graph, stored, meta, removal.groups, removal.axes, folds)


def _weights_only(plain: nn.Module, reason: str, values: str) -> Artifact:
    warnings.warn(
        "this model has no graph and is packed as weights alone, which restore_ loads but which cannot run by itself: "
        + reason,
        SecateurWarning,
        stacklevel=3,
    )
    rounding = _Rounding(values)
    seen: set[int] = set()
    stored = {}
    for name, tensor in plain.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            array = rounding(_array(tensor))
            stored[name] = from_dense(array, rounding.dtype_of(array))
    meta: dict[str, JSON] = {"secateur": __version__, "values": values, "weights_only": reason}
    return Artifact(None, stored, {**meta, **_unless_empty(rounding=float(f"{rounding.largest:.2g}"))})


@dataclass
class _Rounding:
    """Rounds float arrays to the values a file stores, as float32, and remembers the largest relative change."""

    values: str
    largest: float = 0.0

    def __call__(self, array: np.ndarray) -> np.ndarray:
        if array.dtype != np.float32 or self.values == "float32":
            return array
        rounded = from_dense(array, self.values).to_dense().reshape(array.shape)
        magnitude = np.abs(array)
        normal = magnitude > np.finfo(np.float16).smallest_normal
        change = np.abs(rounded - array)[normal] / magnitude[normal]
        self.largest = max(self.largest, float(change.max(initial=0.0)))
        return rounded

    def dtype_of(self, array: np.ndarray) -> str:
        """The dtype an array is stored in."""
        return self.values if array.dtype == np.float32 else array.dtype.name


def _refuse_non_finite(plain: nn.Module) -> None:
    for name, tensor in plain.named_parameters():
        if not torch.isfinite(tensor).all():
            raise ArtifactError(f"{name} holds NaN or infinity: training diverged; go back to an earlier checkpoint")


def _array(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def _parameters(tensors: Mapping[str, np.ndarray]) -> int:
    return sum(array.size for array in tensors.values() if array.dtype == np.float32 and array.ndim)


def _dead_units(removal: Removal) -> dict[str, JSON]:
    return {layer.layer: [layer.before, layer.after] for layer in removal.layers if layer.after != layer.before}


def _still_there(removal: Removal) -> list[str]:
    kept = [f"{kept.units} dead units of {kept.layer} stay: {kept.reason}" for kept in removal.kept]
    return kept + [f"{layer} is all zero: no output depends on the input through it" for layer in removal.dead_layers]


def _unread(plain: nn.Module, traced: Traced, graph: Graph, folds: tuple[Fold, ...]) -> list[JSON]:
    """Parameters no result depends on: they are not in the file."""
    folded = tuple(f"{fold.norm}." for fold in folds)
    read = {*graph.constants, *traced.tied, *traced.folded}
    return [name for name, _ in plain.named_parameters() if name not in read and not name.startswith(folded)]


def _unless_empty(**facts: JSON) -> dict[str, JSON]:
    return {name: value for name, value in facts.items() if value}
