"""What the quantizing rivals share: a limit on the file's bytes, approached as our budget does, met by an exact cut."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

import secateur as sct
from coded import Coded, Files, most_that_fit
from rivals import ARRIVAL, original, parametrize_all, strip
from secateur.maths.threshold import packed_bits_bound
from secateur.train.refitting import is_due

MEASURED = 10
"""Times over the pruning phase that the estimate of bytes is set right by a real file."""


class CodedWeight(Protocol):
    """A rival's parametrization of one weight."""

    mask: Tensor
    fixed: Tensor
    """Buffers: once fixed, weights outside the mask are zero and widths stay."""

    def fix(self, w: Tensor) -> None:
        """From now on the mask, ranges and widths as they are."""
        ...

    def coded(self, w: Tensor) -> Coded:
        """The weight as it would be stored now."""
        ...

    def rank(self, w: Tensor) -> Tensor:
        """What is cut last: larger stays longer; comparable between tensors."""
        ...


class ByteRival(ABC):
    """One limit for the whole network. `make` puts a CodedWeight on each weight, and `press` drives them."""

    beside_file: int | None = None

    def __init__(
        self, model: nn.Module, example: Tensor, steps: int, packed_bytes: int, make: Callable[[Tensor], Any]
    ) -> None:
        self.model, self.steps, self.limit, self.taken = model, steps, packed_bytes, 0
        self.files = Files(model, example)
        self.weights: dict[str, Any] = parametrize_all(model, make)
        self.scale = 1.0
        self.start = self.estimate()

    def original(self, name: str) -> Tensor:
        """The parameter of a module."""
        return original(self.model, name).detach()

    @torch.no_grad()
    def coded(self) -> dict[str, Coded]:
        """Every weight as it would be stored now."""
        return {name: weight.coded(self.original(name)) for name, weight in self.weights.items()}

    def bound(self, coded: Mapping[str, Coded]) -> float:
        """Bytes of codes and their places, as our budget estimates them."""
        total = 0.0
        for one in coded.values():
            size = one.codes.numel()
            kept = max(0.5, float(torch.count_nonzero(one.codes))) / size
            total += size * float(packed_bits_bound(kept, one.bits)) / 8
        return total

    def estimate(self) -> float:
        """The same, by the last measured file."""
        return self.scale * self.bound(self.coded())

    def reference(self) -> float:
        """Where it should be by now: the moving target of our budget."""
        return self.start * (self.limit / self.start) ** min(1.0, self.taken / (ARRIVAL * self.steps))

    def measure(self) -> None:
        """Set the estimate right by a real file."""
        coded = self.coded()
        self.scale = self.files.size(self.files.update(self.model), coded) / self.bound(coded)

    def groups_of(self, name: str, own: list[nn.Parameter], rate: float) -> list[dict[str, Any]]:
        """Groups for an optimizer: the network's parameters, and a rival's own at their rate."""
        known = {id(p) for p in own}
        rest = [p for p in self.model.parameters() if id(p) not in known]
        return [{"params": rest}, {"name": name, "params": own, "lr": rate}]

    def penalty(self) -> Tensor:
        return torch.zeros(())

    def step(self) -> None:
        self.taken += 1
        if self.taken % max(1, self.steps // MEASURED) == 0:
            self.measure()
        self.press()

    @abstractmethod
    def press(self) -> None:
        """After every step of the pruning phase."""

    @torch.no_grad()
    def harden(self) -> None:
        for name, weight in self.weights.items():
            weight.fix(self.original(name))
        self.cut()

    @torch.no_grad()
    def cut(self) -> None:
        """Keep as many of the weights that are left as a file within the limit has room for."""
        coded, packing = self.coded(), self.files.update(self.model)
        ranks = {
            name: torch.where(coded[name].codes != 0, weight.rank(self.original(name)), -math.inf)
            for name, weight in self.weights.items()
        }
        order = torch.cat([rank.flatten() for rank in ranks.values()]).sort(descending=True, stable=True).indices
        left = sum(int(torch.count_nonzero(one.codes)) for one in coded.values())

        def masks(keep: int) -> dict[str, Tensor]:
            flat = torch.zeros(len(order))
            flat[order[:keep]] = 1
            parts = flat.split([rank.numel() for rank in ranks.values()])
            return {name: part.reshape(ranks[name].shape) for name, part in zip(ranks, parts, strict=True)}

        def size(keep: int) -> int:
            kept = masks(keep)
            cut = {name: Coded(one.codes * kept[name], one.scale, one.bits) for name, one in coded.items()}
            return self.files.size(packing, cut) + (self.beside_file or 0)

        for name, mask in masks(most_that_fit(size, left, self.limit)).items():
            self.weights[name].mask.mul_(mask)

    def tuned(self, epoch: int, epochs: int) -> None:
        if is_due(epoch, epochs):
            self.cut()

    def packed(self, example: Tensor) -> sct.Artifact:  # noqa: ARG002 - the interface
        self.cut()
        return self.files.artifact(self.model, self.coded())

    def strip(self) -> None:
        strip(self.model)

    def densities(self) -> dict[str, float]:
        return {name: float((one.codes != 0).float().mean()) for name, one in self.coded().items()}

    def state_dict(self) -> dict[str, Any]:
        return {"taken": self.taken, "scale": self.scale, "start": self.start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.taken, self.scale, self.start = state["taken"], state["scale"], state["start"]
