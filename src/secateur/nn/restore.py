"""restore_(): the other way, an Artifact back into a plain torch model of the architecture it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from secateur.errors import ArtifactError
from secateur.ir.artifact import Artifact
from secateur.ir.naming import module_of
from secateur.ir.plan import near
from secateur.ir.records import Fold, restore_units
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

    In evaluation mode the model then computes what the artifact computes. Removed units come back as zeros. A folded
    batch norm becomes the identity plus the folded bias; a layer whose bias was made by packing gets one. Parameters no
    output depends on keep the values they have. ArtifactError names what is missing, left over or of another shape.
    """
    if transforms_of(model):
        raise ArtifactError("restore_ loads into a plain model: strip_ this one first")
    dense = {name: tensor.to_dense() for name, tensor in artifact.tensors.items()}
    arrays = restore_units(dense, artifact.units, artifact.axes)
    modules = dict(model.named_modules())
    todo = _Assignment()
    for fold in artifact.folds:
        _identity(modules, fold, arrays, todo)
    state = model.state_dict(keep_vars=True)
    for name, array in arrays.items():
        if name in state:
            todo.values[name] = array
        elif _can_have_bias(modules, name):
            todo.new_biases[name] = array
        elif artifact.graph is None:
            raise ArtifactError(f"the artifact holds {name!r}, which this model does not have{near(name, state)}")
    _refuse_misfits(state, todo, artifact)
    for name, array in todo.values.items():
        state[name].copy_(torch.from_numpy(np.array(array)))
    for name, array in todo.new_biases.items():
        module = modules[module_of(name)]
        weight = module.get_parameter("weight")
        module.bias = nn.Parameter(torch.from_numpy(np.array(array)).to(weight))
    return model


def _identity(modules: Mapping[str, nn.Module], fold: Fold, arrays: dict[str, np.ndarray], todo: _Assignment) -> None:
    """Make a folded norm compute x + bias; the bias goes to the layer where that has one, else to the norm."""
    norm, layer = modules.get(fold.norm), modules.get(fold.into)
    if not isinstance(norm, nn.modules.batchnorm._BatchNorm) or layer is None or norm.running_mean is None:
        raise ArtifactError(
            f"this model has no batch norm {fold.norm!r} behind {fold.into!r}{near(fold.norm, modules)}"
        )
    size = norm.num_features
    todo.values[f"{fold.norm}.running_mean"] = np.zeros(size, np.float32)
    todo.values[f"{fold.norm}.running_var"] = np.full(size, 1 - norm.eps, np.float32)
    if not norm.affine:
        return
    bias = np.zeros(size, np.float32)
    if getattr(layer, "bias", None) is None:
        bias = arrays.pop(_key(fold.into, "bias"), bias)
    todo.values[f"{fold.norm}.weight"] = np.ones(size, np.float32)
    todo.values[f"{fold.norm}.bias"] = bias


def _key(module: str, name: str) -> str:
    return f"{module}.{name}" if module else name


def _can_have_bias(modules: Mapping[str, nn.Module], name: str) -> bool:
    module = modules.get(module_of(name))
    return name.rpartition(".")[2] == "bias" and module is not None and getattr(module, "bias", module) is None


def _refuse_misfits(state: Mapping[str, Tensor], todo: _Assignment, artifact: Artifact) -> None:
    for name, array in todo.values.items():
        if name in state and tuple(state[name].shape) != array.shape:
            raise ArtifactError(f"{name} is {tuple(state[name].shape)} in the model and {array.shape} in the artifact")
    unread = artifact.meta.get("unread", [])
    given = {id(state[name]) for name in todo.values}
    excused = set(unread) if isinstance(unread, list) else set()
    for name, tensor in state.items():
        if isinstance(tensor, nn.Parameter) and id(tensor) not in given and name not in excused:
            raise ArtifactError(f"the artifact has no {name!r}, which this model needs{near(name, artifact.tensors)}")
