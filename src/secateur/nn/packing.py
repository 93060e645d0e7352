"""Packing: how large the file becomes if these weights stay, as often as asked: a model is traced once for it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from secateur.errors import GraphError
from secateur.ir.artifact import Artifact
from secateur.ir.rounding import Rounding
from secateur.ir.target import Target
from secateur.nn.exporting import INSTEAD, Example
from secateur.nn.pack import grids_of, plain_state, weights_only, with_graph
from secateur.nn.strip import strip_
from secateur.nn.trace import trace
from secateur.nn.transform import transforms_of


class Packing:
    """What `pack` would write of a prepared model under masks that are still to be chosen.

    The model is read once and left as it is. Errors are those of `pack`.
    """

    def __init__(self, model: nn.Module, example: Example, values: str) -> None:
        dense = copy.deepcopy(model)
        self._reuse = {site.name: site.transform.row.reuse for site in transforms_of(dense)}
        for site in transforms_of(dense):
            site.transform.prune.harden(torch.ones_like(site.original, dtype=torch.bool))
        self._grids = grids_of(dense)
        plain = strip_(dense).cpu().eval()
        self._values, self._state = values, plain_state(plain)
        self._traced, self._reason = None, ""
        try:
            self._traced = trace(plain, example)
        except GraphError as error:
            self._reason = str(error).removesuffix(f". {INSTEAD}")

    @torch.no_grad()
    def artifact(self, masks: Mapping[str, Tensor]) -> Artifact:
        """The artifact with exactly the weights under the masks (names of `transforms_of`)."""
        if self._traced is None:
            return weights_only(self._masked(masks), self._reason, Rounding(self._values, self._grids))
        constants = dict(self._traced.constants)
        for name, mask in masks.items():
            key = self._key(name)
            if key in constants:  # else no result depends on it
                constants[key] = np.where(mask.cpu().numpy(), constants[key], np.float32(0))
        return with_graph(self._state, replace(self._traced, constants=constants), Rounding(self._values, self._grids))

    def excess(self, masks: Mapping[str, Tensor], target: Target) -> str:
        """What of a limit on macs (of pruned tensors) or packed bytes the artifact does not hold, in words, else ""."""
        artifact = self.artifact(masks)
        if target.macs is not None:
            macs = sum(self._reuse[name] * self._nonzeros(artifact, name) for name in masks)
            if macs > target.macs:
                return f"{macs:,} macs, the limit is {target.macs:,}"
        if target.packed_bytes is not None and (size := len(artifact.to_bytes())) > target.packed_bytes:
            return f"{size:,} packed bytes, the limit is {target.packed_bytes:,}"
        return ""

    def _nonzeros(self, artifact: Artifact, name: str) -> int:
        tensor = artifact.tensors.get(self._key(name))
        return tensor.nonzeros if tensor else 0

    def _key(self, name: str) -> str:
        return name if self._traced is None else self._traced.tied.get(name, name)

    def _masked(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict under the masks; tied tensors stay one object."""
        done = {id(self._state[name]): torch.where(mask.cpu(), self._state[name], 0.0) for name, mask in masks.items()}
        return {name: done.get(id(tensor), tensor) for name, tensor in self._state.items()}
