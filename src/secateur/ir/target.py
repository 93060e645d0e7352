"""Target: the frozen wish. What must hold after hardening, in the units a user has."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from secateur.errors import TargetError
from secateur.ir.rules import NARROWEST

VALUE_BITS = {"float32": 32, "float16": 16, "int8": 8}


@dataclass(frozen=True)
class Target:
    """What the compressed network must satisfy. At least one wish; several hold at once.

    density       fraction of the weights in pruned tensors that stay, exact to the weight after `harden_`: 0 < density
                  <= 1
    macs          multiply-accumulates for one example that touch a non-zero weight: upper limit
    average_bits  mean bits of a kept weight in quantized tensors: upper limit, 2 or more
    packed_bytes  size of the whole artifact file in bytes, with values stored as `values`: upper limit
    max_drop      largest loss of the task's metric on validation data, in the metric's own unit; only `compress` can
                  hold it, which has the data: `Budget` and `harden_` look at the wishes above
    bit_operations     those macs times bits of the weight times bits of the feature map it multiplies, 32 where one of
                       them stays floating point: upper limit
    largest_map_bytes  bytes of the largest feature map for one example, in float32 where it is not quantized; not of
                       outputs and of inputs that are whole numbers, which the caller holds: upper limit
    values        "float32", "float16" or "int8": how `pack` will store the numbers that packed_bytes counts
    """

    density: float | None = None
    macs: int | None = None
    packed_bytes: int | None = None
    max_drop: float | None = None
    values: str = "float32"
    average_bits: float | None = None
    bit_operations: int | None = None
    largest_map_bytes: int | None = None

    def __post_init__(self) -> None:
        wishes = self.wishes()
        if not wishes and self.max_drop is None:
            raise TargetError(
                "a Target needs at least one of density, macs, packed_bytes, average_bits, bit_operations, "
                "largest_map_bytes: Target(density=0.1)"
            )
        if self.max_drop is not None and not (math.isfinite(self.max_drop) and self.max_drop >= 0):
            raise TargetError(f"max_drop is a loss of the metric, 0 or more, got {self.max_drop}; one point is 0.01")
        for name, value in wishes.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
                raise TargetError(f"Target({name}={value!r}) must be a positive finite number")
        if self.density is not None and self.density > 1:
            raise TargetError(
                f"density is a fraction of the weights, 0 < density <= 1, got {self.density}; 10 % is 0.1"
            )
        for name in ("macs", "packed_bytes", "bit_operations", "largest_map_bytes"):
            if name in wishes and wishes[name] < 1:
                raise TargetError(f"{name} is a count, not a fraction: got {wishes[name]}")
        if self.average_bits is not None and self.average_bits < NARROWEST:
            raise TargetError(f"no width is narrower than {NARROWEST} bits, got average_bits={self.average_bits}")
        if self.values not in VALUE_BITS:
            raise TargetError(f"values must be one of {', '.join(VALUE_BITS)}, got {self.values!r}")

    def wishes(self) -> dict[str, float]:
        """The wishes for the network itself that are set, by name."""
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("values", "max_drop")}
        return {name: value for name, value in named.items() if value is not None}

    def refuse_without_size(self) -> None:
        """TargetError where nothing but max_drop is wished for."""
        if not self.wishes():
            raise TargetError("max_drop says nothing of size: compress(task, target) finds the sparsest network for it")

    @property
    def limits_size(self) -> bool:
        """Whether there is an upper limit on macs or packed bytes: what a file has to be packed for to know it."""
        return self.macs is not None or self.packed_bytes is not None

    @property
    def value_bits(self) -> int:
        """Bits a kept weight takes before entropy coding."""
        return VALUE_BITS[self.values]
