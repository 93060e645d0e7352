"""What accelerating did: a row a layer, before and after, as a table and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from secateur.ir.text_table import text_table

HEADER = (
    *("layer", "shape", "zeros", "algorithm", "with", "PyTorch us", "here us", "gain", "error"),
    "why left to PyTorch, or not in 8 bits",
)
RIGHT = HEADER[5:9]


@dataclass(frozen=True)
class LayerReport:
    """One layer.

    shape       of input and weight
    algorithm   that computes it now; None: left to PyTorch
    fused       what the same call does besides: "batch norm", "residual", an activation
    before_us, after_us   medians of PyTorch's layer and of this one, in turns; None where they were not measured
    error       max|y - y64| / max|y64| on the layer's own weights and the example, y64 in float64
    class_error the same on normal input and weights, which the class of accuracy bounds
    measured    when the algorithm was chosen; `secateur.forget_choices` drops choices
    reason      why it is left to PyTorch
    zeros       the part of the weights that is zero, and why it is of no use where the sparse kernel is not
    tried       what was tried in 8 bits before, and why it is not that
    maps        with accuracy "int8": whether it takes and gives bytes with static scales, and why not
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
    maps: str = ""

    @property
    def gain(self) -> float | None:
        """PyTorch's time over the kernel's; None where one was not measured."""
        return gain_of(self.before_us, self.after_us)


@dataclass(frozen=True)
class Acceleration:
    """What became of a model.

    accuracy, limit       class, and the error it allows a layer
    threads               that it was measured with
    layers                a row for every convolution and linear layer
    before_us, after_us   the whole model, as given and accelerated, in turns; None where not measured
    difference            max|y - before| / max|before| over the outputs on the example
    notes                 what else a user should know
    """

    accuracy: str
    limit: float
    threads: int
    layers: tuple[LayerReport, ...]
    before_us: float | None = None
    after_us: float | None = None
    difference: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def replaced(self) -> int:
        """How many layers run on generated kernels."""
        return sum(layer.algorithm is not None for layer in self.layers)

    @property
    def gain(self) -> float | None:
        """Time of the whole model before, over that after; None where one was not measured."""
        return gain_of(self.before_us, self.after_us)

    def to_json(self) -> str:
        """Everything, for programs."""
        return json.dumps(asdict(self) | {"replaced": self.replaced}, indent=1)

    def __str__(self) -> str:
        head = f"{self.replaced} of {len(self.layers)} layers replaced, accuracy {self.accuracy!r}"
        lines = [f"{head} (error of a layer at most {self.limit:.1e}), {self.threads} threads"]
        if self.layers:
            told = any(layer.maps for layer in self.layers)
            cells = [(*_cells(layer), *([layer.maps or "-"] if told else [])) for layer in self.layers]
            lines.append(text_table((*HEADER, *(["maps"] if told else [])), cells, right=RIGHT))
        if self.gain is not None:
            lines.append(
                f"whole model: {self.before_us:.0f} us before, {self.after_us:.0f} us after, {self.gain:.2f} x"
            )
        lines.append(f"outputs differ by {self.difference:.1e} of the largest")
        if times := sorted(layer.measured for layer in self.layers if layer.measured):
            lines.append(f"algorithms were chosen by measurements from {times[0]} to {times[-1]}")
        return "\n".join([*lines, *self.notes])


def gain_of(before_us: float | None, after_us: float | None) -> float | None:
    """How many times as fast; None where it was not measured."""
    return before_us / after_us if before_us and after_us else None


def _cells(layer: LayerReport) -> tuple[str, ...]:
    gain = "-" if layer.gain is None else f"{layer.gain:.2f}"
    times = ("-" if time is None else f"{time:.0f}" for time in (layer.before_us, layer.after_us))
    error = "-" if layer.error is None else f"{layer.error:.1e}"
    fused = ", ".join(layer.fused) or "-"
    return (
        layer.name,
        layer.shape,
        layer.zeros or "-",
        layer.algorithm or "-",
        fused,
        *times,
        gain,
        error,
        "; ".join(filter(None, (layer.reason, layer.tried))),
    )
