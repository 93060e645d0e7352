"""Files of rivals that quantize: what a network takes whose weights are these codes. The same form of file as ours, so
that only the methods differ."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import secateur as sct
from secateur.nn.packing import Packing
from secateur.nn.transform import Transformed, transforms_of

VALUES = "int8"
"""Of biases, as in our own quantized files."""


@dataclass(frozen=True)
class Coded:
    """A weight as integers of so many bits, `bits` 2 to 8, of magnitude 2^(bits-1) - 1 at most, times a scale."""

    codes: Tensor
    scale: float
    bits: int


class Files:
    """A plain copy of a network that takes codes, and is packed like any other.

    plain  the network before a rival puts its parametrizations in
    """

    def __init__(self, plain: nn.Module, example: Tensor) -> None:
        self._model, self._example = copy.deepcopy(plain), example
        sct.prepare_(self._model, sct.plan(self._model, example, quantize=sct.Quantize((2, 8))))

    def update(self, model: nn.Module) -> Packing:
        """Take over the biases of the rival's network; returns what `size` needs, good until they change."""
        biases = {name: p for name, p in model.named_parameters() if p.dim() == 1}
        with torch.no_grad():
            for name, own in self._model.named_parameters():
                if name in biases:
                    own.copy_(biases[name])
        return Packing(self._model, self._example, VALUES)

    def size(self, packing: Packing, coded: Mapping[str, Coded]) -> int:
        """Bytes of the file with these codes, by name of the module."""
        bits = {site.name: self._put(site, coded[_module(site)]) for site in self._sites()}
        return len(packing.artifact({}, bits).to_bytes())

    def artifact(self, model: nn.Module, coded: Mapping[str, Coded]) -> sct.Artifact:
        """The file itself."""
        self.update(model)
        hard = copy.deepcopy(self)
        for site in hard._sites():
            site.transform.quantize.harden(hard._put(site, coded[_module(site)]))
        return sct.pack(hard._model, self._example, values=VALUES, sort=True)

    def _sites(self) -> tuple[Transformed, ...]:
        return transforms_of(self._model)

    @torch.no_grad()
    def _put(self, site: Transformed, coded: Coded) -> int:
        site.original.copy_(coded.codes * coded.scale)
        site.transform.quantize.log_range.fill_(math.log(coded.scale * (2 ** (coded.bits - 1) - 1)))
        return coded.bits


def most_that_fit(size: Callable[[int], int], total: int, limit: int) -> int:
    """The largest count of weights, to one part in 200, with which a file has `limit` bytes at most; 0 where none."""
    if size(total) <= limit:
        return total
    low, high = 0, total
    while high - low > max(1, low // 200):
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) <= limit else (low, middle)
    return low


def _module(site: Transformed) -> str:
    return site.name.rpartition(".")[0]
