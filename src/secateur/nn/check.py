"""check(): does an artifact compute what a torch model computes? check_file(): what the model restored from it does?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree

from secateur.errors import ArtifactError
from secateur.ir.artifact import Artifact
from secateur.ir.effort import MAX_RUN_BYTES, MAX_RUN_SECONDS
from secateur.ir.execute import interpret
from secateur.maths.map_grid import codes
from secateur.nn.copying import copied
from secateur.nn.exporting import Example, as_inputs
from secateur.nn.maps.stored import stored_maps
from secateur.nn.restore import restore_

TOLERANCE = 1e-4
"""Largest relative difference of a sound file from the float32 model restored from it: sums in another order. With
quantized maps see `tolerance_of`."""


@dataclass(frozen=True)
class Check:
    """An artifact beside a torch model on the same inputs.

    examples             batch size compared
    largest_difference   max |y_artifact - y_torch| over all outputs; infinite where only one of the two is a number
    relative_difference  the same over max |y_torch|
    agreement            fraction of positions with the same arg max over the last axis
    tolerance            the largest relative difference of a sound file, as `tolerance_of` says
    """

    examples: int
    largest_difference: float
    relative_difference: float
    agreement: float
    tolerance: float = TOLERANCE


def tolerance_of(artifact: Artifact) -> float:
    """Largest relative difference of a sound file: TOLERANCE, or one step of its coarsest map, relative to that map's
    range. A sum at the edge between two codes may go to either, in another order of its terms."""
    steps = [1 / codes(one.bits, signed=one.signed)[1] for one in stored_maps(artifact).maps.values()]
    return max([TOLERANCE, *steps])


@torch.no_grad()
def check(
    artifact: Artifact,
    model: nn.Module,
    example: Example,
    *,
    max_bytes: int = MAX_RUN_BYTES,
    max_seconds: float = MAX_RUN_SECONDS,
) -> Check:
    """Compare `interpret` with the model in evaluation mode, in float32 on the CPU; the model is left as it is. A
    network with quantized maps is compared in float32 too, the arithmetic of its model.

    max_bytes, max_seconds  limits of `interpret`; DataError where the example would pass them
    ArtifactError for a weights-only artifact, or one whose outputs differ from the model's in number or shape.
    """
    inputs = as_inputs(example)
    arrays = (tensor.numpy() for tensor in inputs)
    found = interpret(artifact, *arrays, arithmetic="float", max_bytes=max_bytes, max_seconds=max_seconds)
    outputs = copied(model).cpu().float().eval()(*inputs)
    ours = found if isinstance(found, tuple) else (found,)
    theirs = [leaf.numpy() for leaf in _pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]
    if [array.shape for array in ours] != [array.shape for array in theirs]:
        shapes = [", ".join(str(array.shape) for array in side) for side in (ours, theirs)]
        raise ArtifactError(f"the artifact gives {shapes[0]}, the model {shapes[1]}: they are not the same network")
    pairs = list(zip(ours, theirs, strict=True))
    largest = max(_largest_difference(a, b) for a, b in pairs)
    scale = max(_largest_difference(b, np.zeros_like(b)) for _, b in pairs)
    same = np.concatenate([np.ravel(_choice(a) == _choice(b)) for a, b in pairs])
    return Check(
        len(inputs[0]), largest, largest / scale if scale else largest, float(same.mean()), tolerance_of(artifact)
    )


def check_file(
    artifact: Artifact,
    plain: nn.Module,
    example: Example,
    *,
    max_bytes: int = MAX_RUN_BYTES,
    max_seconds: float = MAX_RUN_SECONDS,
) -> Check:
    """`check` against the model that the artifact itself restores into; a sound file is within its `tolerance_of`.

    plain  a model of the architecture, not prepared; it stays as it is. It is restored in float32 whatever its dtype:
           what packing has computed (folded norms, pushed biases) need not fit into a narrower one, and that rounding
           would be the model's own, not a difference of the file
    """
    restored = restore_(copied(plain).float(), artifact)
    return check(artifact, restored, example, max_bytes=max_bytes, max_seconds=max_seconds)


def _largest_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """max |ours - theirs|, where equal infinities and two NaN differ by nothing."""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    with np.errstate(invalid="ignore"):
        distance = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    return float(np.where(np.isnan(distance), np.inf, distance).max(initial=0.0))


def _choice(array: np.ndarray) -> np.ndarray:
    """The arg max over the last axis; of a single number, the number's sign."""
    return np.sign(array) if array.ndim == 0 else array.argmax(-1)
