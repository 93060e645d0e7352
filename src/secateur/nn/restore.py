"""restore_(): the other way, an Artifact back into a plain torch model of the architecture it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from secateur.errors import ArtifactError, PlanError
from secateur.ir.artifact import Artifact
from secateur.ir.map_names import name_of, scale_key
from secateur.ir.naming import is_made, module_of
from secateur.ir.records import Fold, restore_units
from secateur.ir.rules import near
from secateur.nn.map_quantize import FrozenMap
from secateur.nn.maps.insertion import Insertion, quantizers_of
from secateur.nn.maps.stored import stored_maps
from secateur.nn.norms.lagrange_norm import LagrangeNorm
from secateur.nn.pack import COUNTER, checksum
from secateur.nn.recomputed import refresh_
from secateur.nn.transform import transforms_of


@dataclass
class _Assignment:
    """What is about to change: state-dict keys that get new values, and biases that have to be made."""

    values: dict[str, np.ndarray] = field(default_factory=dict)
    new_biases: dict[str, np.ndarray] = field(default_factory=dict)


@torch.no_grad()
def restore_(model: nn.Module, artifact: Artifact) -> nn.Module:
    """Load an Artifact into a plain model, in place; returns the model. All or nothing: if it does not fit, nothing
    changes.

    In evaluation mode the model then computes what the artifact computes, in float32; one in a narrower dtype
    rounds once more what packing has computed (folded norms, pushed biases, rescaled units). Removed units come back as
    zeros. A folded batch norm becomes the identity plus the folded bias; a layer whose bias was made by packing gets
    one. Quantized feature maps are quantized again, by frozen quantizers in model.secateur_maps, as `prepare_` puts
    them in. What no output depends on keeps the values it has. ArtifactError names what is missing, left over or of
    another shape.
    """
    if transforms_of(model) or quantizers_of(model) is not None:
        raise ArtifactError("restore_ loads into a plain model: strip_ this one first")
    dense = {name: tensor.to_dense() for name, tensor in artifact.tensors.items()}
    arrays = restore_units(dense, artifact.units, artifact.axes)
    insertion = _maps(model, artifact, arrays)
    modules, state = dict(model.named_modules()), model.state_dict(keep_vars=True)
    todo = _Assignment()
    for fold in artifact.folds:
        _identity(modules, fold, arrays, todo)
    for name, array in arrays.items():
        if name in state:
            todo.values[name] = array
        elif _can_have_bias(modules, name, array):
            todo.new_biases[name] = array
        elif not is_made(name):
            raise ArtifactError(f"the artifact holds {name!r}, which this model does not have{near(name, state)}")
    _refuse_misfits(state, todo)
    _refuse_missing(state, todo, artifact)
    for name, array in todo.values.items():
        state[name].copy_(torch.from_numpy(np.array(array)))
    for name, array in todo.new_biases.items():
        module = modules[module_of(name)]
        module.bias = nn.Parameter(torch.from_numpy(np.array(array)).to(module.get_parameter("weight")))
    if insertion is not None:
        insertion.install()
    refresh_(model)
    return model


def _maps(model: nn.Module, artifact: Artifact, arrays: dict[str, np.ndarray]) -> Insertion | None:
    """Frozen quantizers of the artifact's maps, ready to be put in; their scales are taken out of the arrays."""
    stored = stored_maps(artifact)
    if not stored.maps:
        return None
    try:
        frozen = {
            name_of(key): FrozenMap(float(arrays.pop(scale_key(key))), one.bits, one.signed, one.per)
            for key, one in stored.maps.items()
        }
        return Insertion(model, frozen, stored.inputs)
    except PlanError as error:
        raise ArtifactError(f"the quantized feature maps of this artifact do not fit the model: {error}") from None


def _identity(modules: Mapping[str, nn.Module], fold: Fold, arrays: dict[str, np.ndarray], todo: _Assignment) -> None:
    """Make a folded norm compute x + bias: the bias stays with the layer where that has one, else the norm gets it.

    Mean 0 and variance 1 - eps make the division one by sqrt(1). A norm without affine part adds by its mean.
    """
    norm, layer = modules.get(fold.norm), modules.get(fold.into)
    if not isinstance(norm, _BatchNorm | LagrangeNorm) or layer is None or norm.running_mean is None:
        raise ArtifactError(
            f"this model has no batch norm {fold.norm!r} behind {fold.into!r}{near(fold.norm, modules)}"
        )
    bias = np.zeros(norm.running_mean.shape, np.float32)
    if getattr(layer, "bias", None) is None:
        bias = arrays.pop(_key(fold.into, "bias"), bias)
    values = {"running_mean": np.zeros_like(bias), "running_var": np.full_like(bias, 1 - norm.eps)}
    if norm.weight is not None:
        values |= {"weight": np.ones_like(bias), "bias": bias}
    else:
        values["running_mean"] = -bias
    todo.values.update({_key(fold.norm, name): array for name, array in values.items()})


def _key(module: str, name: str) -> str:
    return f"{module}.{name}" if module else name


def _can_have_bias(modules: Mapping[str, nn.Module], name: str, array: np.ndarray) -> bool:
    """Whether a tensor the model lacks is the bias of a layer that could have one."""
    module = modules.get(module_of(name))
    if name.rpartition(".")[2] != "bias" or not isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
        return False
    outputs = module.out_features if isinstance(module, nn.Linear) else module.out_channels
    return module.bias is None and array.shape == (outputs,)


def _refuse_misfits(state: Mapping[str, Tensor], todo: _Assignment) -> None:
    for name, array in todo.values.items():
        if tuple(state[name].shape) != array.shape:
            raise ArtifactError(f"{name} is {tuple(state[name].shape)} in the model and {array.shape} in the artifact")


def _refuse_missing(state: Mapping[str, Tensor], todo: _Assignment, artifact: Artifact) -> None:
    """What the artifact does not hold must be what it does not need, or what it was made with."""
    unread, folded = artifact.meta.get("unread"), artifact.meta.get("folded")
    unread = unread if isinstance(unread, list) else []
    folded = folded if isinstance(folded, dict) else {}
    given = {id(state[name]) for name in todo.values}
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor) or id(tensor) in given or name in unread:
            continue
        if name in folded:
            if checksum(tensor) != folded[name]:
                raise ArtifactError(
                    f"the buffer {name!r} differs from the one the artifact was made with, which is part of its graph: "
                    "build the model with the same settings"
                )
        elif name.rpartition(".")[2] != COUNTER:
            raise ArtifactError(f"the artifact has no {name!r}, which this model needs{near(name, artifact.tensors)}")
