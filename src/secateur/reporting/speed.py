"""What running on generated kernels brought, layer by layer: the account that `accelerate` gives, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from secateur.reporting.reading import json_object, made_from


@dataclass(frozen=True)
class KernelRow:
    """One layer of an accelerated model, with the fields of `accelerate`'s own rows.

    shape       of input and weight
    algorithm   that computes it; None: left to PyTorch, for this reason
    fused       what the same call does besides
    before_us, after_us   medians of PyTorch's layer and of this one, in turns; None where they were not measured
    error       max|y - y64| / max|y64| on the layer's own weights and data; class_error: the same on normal ones
    measured    when the algorithm was chosen
    zeros       the part of the weights that is zero, and what it is good for
    tried       what was tried in 8 bits before, and why it is not that
    """

    name: str
    shape: str
    algorithm: str | None = None
    fused: tuple[str, ...] = ()
    before_us: float | None = None
    after_us: float | None = None
    error: float | None = None
    class_error: float | None = None
    measured: str = ""
    reason: str = ""
    zeros: str = ""
    tried: str = ""

    @property
    def gain(self) -> float | None:
        """PyTorch's time over the kernel's."""
        return gain_of(self.before_us, self.after_us)


@dataclass(frozen=True)
class Speed:
    """The whole account: class of accuracy and the error it allows a layer, threads, layers, times and difference of
    the whole model before and after."""

    accuracy: str
    limit: float
    threads: int
    layers: tuple[KernelRow, ...]
    before_us: float | None = None
    after_us: float | None = None
    difference: float = 0.0
    notes: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, text: str | bytes, what: str = "account of accelerate") -> Speed:
        """From the JSON of an accelerated model's `report.to_json()`; DataError naming `what` for anything else."""
        data = json_object(text.encode(errors="surrogatepass") if isinstance(text, str) else text, what)
        return cls.of(data, what)

    @classmethod
    def of(cls, data: Mapping[str, Any], what: str = "account of accelerate") -> Speed:
        """The same from the object that it holds."""
        return made_from(cls, {key: value for key, value in data.items() if key != "replaced"}, what)

    @property
    def replaced(self) -> int:
        """Layers that run on generated kernels."""
        return sum(row.algorithm is not None for row in self.layers)

    @property
    def gain(self) -> float | None:
        """Time of the whole model before, over that after."""
        return gain_of(self.before_us, self.after_us)


def gain_of(before_us: float | None, after_us: float | None) -> float | None:
    """How many times as fast; None where it was not measured."""
    return before_us / after_us if before_us and after_us else None
