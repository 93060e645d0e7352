"""pack(): from a torch module to an Artifact: stripped, traced, norms folded, biases pushed on, dead units removed,
values rounded once."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn

from secateur import __version__
from secateur.errors import ArtifactError, GraphError, SecateurWarning
from secateur.ir.artifact import Artifact
from secateur.ir.dead_units import Removal
from secateur.ir.fold import fold_batch_norm
from secateur.ir.graph import Graph
from secateur.ir.grid import Grid
from secateur.ir.grids import Grids, fold_grids, in_order, without_units
from secateur.ir.map_names import is_scale
from secateur.ir.naming import is_made, refusal
from secateur.ir.patterned_units import lost_patterns, removed_around_patterns
from secateur.ir.push_biases import push_biases
from secateur.ir.records import Fold
from secateur.ir.rounding import STATISTICS, Rounding
from secateur.ir.sort_units import Sorted, sort_units
from secateur.ir.strict_json import JSON
from secateur.ir.target import VALUE_BITS
from secateur.ir.verify import verify
from secateur.nn.copying import copied
from secateur.nn.exporting import INSTEAD, Example, inputs_in
from secateur.nn.lowering.builder import as_array
from secateur.nn.map_sites import maps_of
from secateur.nn.maps.insertion import freeze_, frozen_maps
from secateur.nn.maps.stored import fact_of
from secateur.nn.strip import bake_
from secateur.nn.trace import Traced, trace
from secateur.nn.transform import transforms_of

ROOT = "the model"  # a layer that is the whole model has no name
COUNTER = "num_batches_tracked"  # of a batch norm; nothing computes with it in evaluation


def pack(
    model: nn.Module, example: Example, *, values: str = "float32", sort: bool = False, rescale: bool = False
) -> Artifact:
    """The model, in evaluation mode, as an Artifact; the model itself is left as it is.

    example  what the model is called with, a tensor or a tuple of tensors, batch first
    values   how the model's tensors are stored, "float32", "float16" or "int8" (codes of 8 bits with one float16 scale
             a tensor); rounded once, after folding, and the largest relative change stands in `meta["rounding"]`, with
             "int8" relative to the largest number of the tensor. Numbers and masks from the model's code stay float32;
             with "int8", statistics of norms that stay and masks with infinities are float16.
    sort     put the units of each layer (channels, neurons) in the order that is cheapest to code (`ir.sort_units`):
             the file becomes smaller by about log2(n!) bits for n units, and `restore_` gives a model that computes the
             same, with its units in that order and those that were removed as the last ones. Patterns of weights
             (n of every m inputs) do not survive it
    rescale  with `sort`: also multiply what a unit computes by the number that makes its first weight a power of two,
             and divide where it is read, wherever ReLU and pooling alone stand between: the same function, but other
             weights, rounded anew; what has to do with quantized weights keeps its scale, and a note says so

    Quantized weights are stored as their codes, whatever `values` says. A norm that is folded into them multiplies
    their scales, one a channel then.

    Units nobody reads are removed, but those whose removal would shift inputs out of the groups of a weight with a
    pattern (4 of every 16), unless that saves more multiplications than the pattern does; `meta["notes"]` says which.

    A model the graph cannot express becomes a weights-only Artifact, with a SecateurWarning and the reason in
    `meta["weights_only"]`. ArtifactError for a model that is still soft, holds NaN or infinity, or values that float16
    cannot hold, or whose quantized weights are not on their grid.
    """
    if values not in VALUE_BITS:
        raise ArtifactError(f"values must be one of {', '.join(VALUE_BITS)}, got {values!r}")
    if rescale and not sort:
        raise ArtifactError("rescale=True is for units that are sorted as well: add sort=True")
    soft = [site.name for site in transforms_of(model) if not site.transform.is_hard]
    soft += [f"the feature map {site.name}" for site in maps_of(model) if not site.quantizer.is_hard]
    if soft:
        raise ArtifactError(f"{soft[0]} is still soft: call harden_ before pack, so that the file is what was tested")
    grids = grids_of(model)
    plain = bake_(copied(model).float()).cpu().eval()  # a grid is one of float32 numbers
    freeze_(plain)
    state = plain_state(plain)
    try:
        traced = trace(plain, example)
    except GraphError as error:
        reason = str(error).removesuffix(f". {INSTEAD}")
        warnings.warn(
            "this model has no graph and is packed as weights alone, which restore_ loads but which cannot run by "
            f"itself: {reason}",
            SecateurWarning,
            stacklevel=2,
        )
        facts = fact_of(frozen_maps(plain), inputs_in(example))
        return weights_only(state, reason, Rounding(values, grids), facts)
    return with_graph(state, traced, Rounding(values, grids), sort=sort, rescale=rescale)


def grids_of(model: nn.Module) -> dict[str, Grid]:
    """The grids of a hardened model's quantized weights, by name as in `transforms_of`."""
    grids = {site.name: site.transform.grid() for site in transforms_of(model)}
    return {name: grid for name, grid in grids.items() if grid is not None}


def with_graph(
    state: Mapping[str, Tensor], traced: Traced, rounding: Rounding, *, sort: bool = False, rescale: bool = False
) -> Artifact:
    """The artifact of a traced model whose own state dict is `state`; rounding knows the grids of quantized tensors."""
    graph, tensors, folds, reasons = fold_batch_norm(traced.graph, traced.constants)
    on_grids = fold_grids(traced.graph, traced.constants, tensors, _first_keys(rounding.grids, traced))
    rounding.know(on_grids.grids)
    whole = {name: rounding.early(name, array) for name, array in push_biases(graph, on_grids.tensors).items()}
    before = _parameters(whole)
    smaller, tensors, removal = dead = removed_around_patterns(graph, whole, keep=not sort)
    rounding.know(without_units(rounding.grids, removal.groups, removal.axes))
    tensors = {name: rounding(name, array) for name, array in tensors.items()}
    result = Sorted(tensors, removal.groups)
    if sort:
        fixed = rounding.grids
        result = sort_units(graph, whole, dead, rescale=rescale, fixed=fixed)
        rounding.know(in_order(fixed, result.orders))
        tensors = {name: rounding(name, array) for name, array in result.tensors.items()}
    lost = lost_patterns(graph, whole, tensors)
    graph = _with_usual_names(smaller)
    verify(graph)
    meta = {
        "secateur": __version__,
        "values": rounding.values,
        "parameters": [before, _parameters(tensors)],
        **_unless_empty(
            rounding=float(f"{rounding.largest:.2g}"),
            dead_units=_dead_units(removal),
            notes=[*traced.notes, *reasons, *on_grids.notes, *_still_there(removal), *lost, *_unscaled(result)],
            unread=_unread(state, traced, graph, folds),
            folded={name: checksum(state[name]) for name in traced.folded},
        ),
    }
    stored = {name: rounding.stored(name, array) for name, array in tensors.items()}
    return Artifact(graph, stored, meta, result.groups, removal.axes, folds)


def weights_only(
    state: Mapping[str, Tensor], reason: str, rounding: Rounding, facts: Mapping[str, JSON] | None = None
) -> Artifact:
    """The artifact of a model that has no graph, for this reason; rounding knows the grids of quantized tensors. Facts
    are what else its header says."""
    grids = {id(state[name]): grid for name, grid in rounding.grids.items()}
    rounding.know({name: grids[id(tensor)] for name, tensor in state.items() if id(tensor) in grids})
    seen: set[int] = set()
    stored = {}
    for name, tensor in state.items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            stored[name] = rounding.stored(name, rounding(name, as_array(tensor)))
    meta: dict[str, JSON] = {
        "secateur": __version__,
        "values": rounding.values,
        "weights_only": reason,
        **(facts or {}),
    }
    return Artifact(None, stored, {**meta, **_unless_empty(rounding=float(f"{rounding.largest:.2g}"))})


def refuse_names(names: Iterable[str]) -> None:
    """ArtifactError for a name of a model's tensor that a file cannot hold."""
    for name in names:
        if reason := refusal(name):
            raise ArtifactError(f"the tensor {reason}")


def checksum(tensor: Tensor) -> int:
    """CRC-32 (IEEE 802.3) of the elements, as the graph would hold them."""
    return crc32(as_array(tensor).tobytes())


def plain_state(plain: nn.Module) -> dict[str, Tensor]:
    """The state dict, tied tensors as one object. ArtifactError where training has left NaN or infinity behind, and for
    names that a file cannot hold.

    An infinite buffer is a mask, unless it is the statistics of a norm.
    """
    parameters = {id(parameter) for parameter in plain.parameters()}
    state = {key: value for key, value in plain.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
    refuse_names(state)
    for key, tensor in state.items():
        if tensor.is_complex():
            raise ArtifactError(f"{key} is complex: keep real and imaginary part as two tensors")
        learned = id(tensor) in parameters or key.rpartition(".")[2] in STATISTICS
        if torch.isnan(tensor).any() or (learned and torch.isinf(tensor).any()):
            raise ArtifactError(f"{key} holds NaN or infinity: training diverged; go back to an earlier checkpoint")
    return state


def _with_usual_names(graph: Graph) -> Graph:
    """Results named by their operation (conv, conv_2, ...), which a file need not spell out."""
    taken, counts = {*graph.inputs, *graph.constants}, dict[str, int]()
    names = {name: name for name in taken}
    nodes = []
    for node in graph.nodes:
        name = node.op
        while name in taken:
            counts[node.op] = counts.get(node.op, 1) + 1
            name = f"{node.op}_{counts[node.op]}"
        taken.add(name)
        names[node.output] = name
        nodes.append(replace(node, inputs=tuple(names[source] for source in node.inputs), output=name))
    types = {names[name]: kind for name, kind in graph.types.items()}
    return replace(graph, nodes=tuple(nodes), outputs=tuple(names[name] for name in graph.outputs), types=types)


def _parameters(tensors: Mapping[str, np.ndarray]) -> int:
    counted = (array for name, array in tensors.items() if not is_made(name) and not is_scale(name))
    return sum(array.size for array in counted if array.dtype == np.float32)


def _dead_units(removal: Removal) -> dict[str, JSON]:
    return {layer.layer: [layer.before, layer.after] for layer in removal.layers if layer.after != layer.before}


def _still_there(removal: Removal) -> list[str]:
    kept = [f"{kept.units} dead units of {kept.layer or ROOT} stay: {kept.reason}" for kept in removal.kept]
    return kept + [
        f"{layer or ROOT} is all zero: no output depends on the input through it" for layer in removal.dead_layers
    ]


def _unscaled(result: Sorted) -> list[str]:
    names = ", ".join(layer or ROOT for layer in result.unscaled)
    return [f"the units of {names} keep their scale: quantized weights are not multiplied"] if names else []


def _first_keys(grids: Grids, traced: Traced) -> dict[str, Grid]:
    """Grids by the keys under which tied tensors stand in the graph."""
    return {traced.tied.get(name, name): grid for name, grid in grids.items()}


def _unread(state: Mapping[str, Tensor], traced: Traced, graph: Graph, folds: tuple[Fold, ...]) -> list[JSON]:
    """Keys no result depends on: they are not in the file, and restore_ leaves them alone."""
    folded = {f"{fold.norm}.{name}" for fold in folds for name in ("weight", "bias", "running_mean", "running_var")}
    read = {*graph.constants, *traced.folded, *(key for key, name in traced.tied.items() if name in graph.constants)}
    return [key for key in state if key not in read | folded and key.rpartition(".")[2] != COUNTER]


def _unless_empty(**facts: JSON) -> dict[str, JSON]:
    return {name: value for name, value in facts.items() if value}
