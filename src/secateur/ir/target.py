"""Target: the frozen wish. What must hold after hardening, in the units a user has."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from secateur.errors import TargetError

VALUE_BITS = {"float32": 32, "float16": 16}


@dataclass(frozen=True)
class Target:
    """What the compressed network must satisfy. At least one wish; several hold at once.

    density       fraction of the weights in pruned tensors that stay, exact to the weight after `harden_`: 0 < density
                  <= 1
    macs          multiply-accumulates for one example that touch a non-zero weight: upper limit
    packed_bytes  size of the whole artifact file in bytes, with values stored as `values`: upper limit
    values        "float32" or "float16": how `pack` will store the numbers that packed_bytes counts
    """

    density: float | None = None
    macs: int | None = None
    packed_bytes: int | None = None
    values: str = "float32"

    def __post_init__(self) -> None:
        wishes = self.wishes()
        if not wishes:
            raise TargetError("a Target needs at least one of density, macs, packed_bytes: Target(density=0.1)")
        for name, value in wishes.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
                raise TargetError(f"Target({name}={value!r}) must be a positive finite number")
        if self.density is not None and self.density > 1:
            raise TargetError(
                f"density is a fraction of the weights, 0 < density <= 1, got {self.density}; 10 % is 0.1"
            )
        for name in ("macs", "packed_bytes"):
            if name in wishes and wishes[name] < 1:
                raise TargetError(f"{name} is a count, not a fraction: got {wishes[name]}")
        if self.values not in VALUE_BITS:
            raise TargetError(f"values must be one of {', '.join(VALUE_BITS)}, got {self.values!r}")

    def wishes(self) -> dict[str, float]:
        """The wishes that are set, by name."""
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "values"}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def value_bits(self) -> int:
        """Bits a kept weight takes before entropy coding."""
        return VALUE_BITS[self.values]
