"""What cutting at once tells: its progress, how each tensor was cut, and the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from secateur.nn.harden import Hardening


@dataclass(frozen=True)
class OneShotStep:
    """Progress: so many of a phase's layers are done, and which comes next. phase is "measure", "repair" or
    "calibrate"."""

    phase: str
    done: int
    total: int
    layer: str


@dataclass(frozen=True)
class OneShotTensor:
    """How one tensor was cut.

    score   "|w|", or "|w| x input" where the inputs were seen
    reason  why its inputs could not be seen, so that neither its score knows them nor its values were repaired, or why
            of these only the bias was; "" else
    before, after  the layer's squared error on the calibration batches relative to the dense layer's energy, after
                   cutting and after the repair; None without repair
    """

    name: str
    score: str
    reason: str = ""
    before: float | None = None
    after: float | None = None


@dataclass(frozen=True)
class OneShot(Hardening):
    """The result of `one_shot_`: a Hardening, and how it came about.

    factor is 1: every threshold was set where its layer is cut. moved counts weights that another score than |w| kept
    or cut. allocation is one of ALLOCATIONS, or "" where nothing was to be cut; samples how many inputs the batches
    held. tried is, where the mean width of weights was to be chosen under a limit on bytes, mean width in bits -> what
    it lost: the change of the output on the first batches, or without batches the squared change of the weights
    relative to their energy, summed over the tensors.
    """

    allocation: str
    layers: tuple[OneShotTensor, ...]
    samples: int
    tried: Mapping[int, float] = field(default_factory=dict)

    @property
    def fallbacks(self) -> dict[str, str]:
        """Name -> reason of every tensor that batches could not serve in full."""
        return {layer.name: layer.reason for layer in self.layers if layer.reason}


def result_of(hardening: Hardening, allocation: str, layers: tuple[OneShotTensor, ...], samples: int) -> OneShot:
    """A Hardening, and how it came about."""
    rest = {"maps": hardening.maps, "bit_operations": hardening.bit_operations, "notes": hardening.notes}
    return OneShot(hardening.factor, hardening.tensors, allocation, layers, samples, **rest)
