"""Packing: how large the file becomes if these weights stay, as often as asked: a model is traced once for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from secateur.errors import GraphError
from secateur.ir.artifact import Artifact, encoded_bytes
from secateur.ir.rounding import Rounding
from secateur.ir.target import Target
from secateur.nn.copying import copied
from secateur.nn.exporting import INSTEAD, Example, inputs_in
from secateur.nn.map_sites import maps_of
from secateur.nn.maps.insertion import freeze_, frozen_maps
from secateur.nn.maps.stored import fact_of
from secateur.nn.pack import plain_state, weights_only, with_graph
from secateur.nn.strip import bake_
from secateur.nn.trace import trace
from secateur.nn.transform import transforms_of


class Packing:
    """What `pack` would write of a prepared model under masks that are still to be chosen.

    The model is traced once and left as it is; its weights are read whenever it is asked. Errors are those of `pack`.
    """

    def __init__(self, model: nn.Module, example: Example, values: str, *, sort: bool = False) -> None:
        self._sites = transforms_of(model)
        dense = copied(model).float()
        for site in transforms_of(dense):
            site.transform.harden_whole()
        for site in maps_of(dense):
            site.quantizer.harden(site.quantizer.width())
        plain = bake_(dense).cpu().eval()
        freeze_(plain)
        self._sort = sort
        self._values, self._state = values, plain_state(plain)
        self._facts = fact_of(frozen_maps(plain), inputs_in(example))
        self._traced, self._reason = None, ""
        try:
            self._traced = trace(plain, example)
        except GraphError as error:
            self._reason = str(error).removesuffix(f". {INSTEAD}")

    @torch.no_grad()
    def artifact(self, masks: Mapping[str, Tensor], widths: Mapping[str, int] | None = None) -> Artifact:
        """The artifact with exactly the weights under the masks (names of `transforms_of`), and those that are to be
        quantized in so many bits (None: as `WidthQuantize.width` says)."""
        bits = widths or {}
        baked = {
            site.name: site.transform.baked(site.original, masks.get(site.name), bits.get(site.name))
            for site in self._sites
        }
        found = {site.name: site.transform.grid_of(bits.get(site.name)) for site in self._sites}
        grids = {name: grid for name, grid in found.items() if grid is not None}
        if self._traced is None:
            return weights_only(self._with(baked), self._reason, Rounding(self._values, grids), self._facts)
        constants = dict(self._traced.constants)
        for name, weight in baked.items():
            key = self._key(name)
            if key in constants:  # else no result depends on it
                constants[key] = weight.cpu().numpy()
        traced = replace(self._traced, constants=constants)
        return with_graph(self._state, traced, Rounding(self._values, grids), sort=self._sort)

    def sizes(
        self, masks: Mapping[str, Tensor], target: Target, widths: Mapping[str, int] | None = None
    ) -> dict[str, int]:
        """Of what a target limits, macs (of pruned tensors) and packed_bytes of the artifact."""
        artifact, found = self.artifact(masks, widths), {}
        if target.macs is not None:
            reuse = {site.name: site.transform.row.reuse for site in self._sites}
            found["macs"] = sum(reuse[name] * self._nonzeros(artifact, name) for name in masks)
        if target.packed_bytes is not None:
            found["packed_bytes"] = len(artifact.to_bytes())
        return found

    def parts(self, masks: Mapping[str, Tensor]) -> tuple[int, int]:
        """Bytes of the artifact, and how many of them are those of the tensors that are transformed."""
        artifact = self.artifact(masks)
        names = {self._key(site.name) for site in self._sites}
        stored = [tensor for name, tensor in artifact.tensors.items() if name in names]
        return len(artifact.to_bytes()), sum(map(encoded_bytes, stored))

    def excess(self, masks: Mapping[str, Tensor], target: Target, widths: Mapping[str, int] | None = None) -> str:
        """What of these limits the artifact does not hold, in words, else ""."""
        limits = target.wishes()
        for name, size in self.sizes(masks, target, widths).items():
            if size > limits[name]:
                return f"{size:,} {name.replace('_', ' ')}, the limit is {limits[name]:,}"
        return ""

    def _nonzeros(self, artifact: Artifact, name: str) -> int:
        tensor = artifact.tensors.get(self._key(name))
        return tensor.nonzeros if tensor else 0

    def _key(self, name: str) -> str:
        return name if self._traced is None else self._traced.tied.get(name, name)

    def _with(self, baked: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state dict with these weights; tied tensors stay one object."""
        done = {id(self._state[name]): weight.cpu() for name, weight in baked.items()}
        return {name: done.get(id(tensor), tensor) for name, tensor in self._state.items()}
