"""The rows of a plan: a tensor with what may happen to it, a feature map with how many bits it is kept in."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from math import prod
from typing import Protocol

from secateur.errors import PlanError
from secateur.ir.rules import Prune, Quantize

NOT_CHOSEN = "kept by choice"
"""Why a tensor or map is kept that can be given any rule."""
NO_PATTERN = "no pattern fits: "
"""How a reason begins why a tensor has no `Prune` that leaves n of every m: it can have another rule, or has one."""


OUTPUT = "an output of the model stays float"
WHOLE = "whole numbers, not quantized"
INPUT = "input"
"""Kind of the maps that are inputs of the model: only those who bring the data know their signs."""
OWN = ("Parameter", "Buffer")
"""Kinds of maps that are tensors of the model itself, and so in its file, and no memory an example takes."""
READS_AS_FLOAT = " reads it in floating point"
"""How a reason ends why a map has no rule though one can be given: no integers are computed from it."""
FLOAT_BYTES = 4
ROW, EXAMPLE = "row", "example"
NO_ROW = "one number an example, which has no scale to find"
"""Why a map has no scale that is found at run time."""


def scaled_axes(per: str, rank: int) -> tuple[int, ...]:
    """The axes along which one scale, found at run time, holds: of a "row" the last; of an "example" all but the first,
    which is the batch."""
    return (rank - 1,) if per == ROW else tuple(range(min(1, rank - 1), rank))


class Unchanged:
    """What `Plan.replace` leaves as it is."""


UNCHANGED = Unchanged()


@dataclass(frozen=True)
class TensorPlan:
    """One row: a tensor of the model and what may happen to it.

    name      state-dict key, "conv1.weight"; `tied` lists further keys of the very same tensor
    kind      type of the module that owns it
    shape     its shape
    reuse     how often each of its weights is multiplied for one example, so its MACs are reuse x size; 0 where unknown
    prune     which of its weights go, or None where all stay
    quantize  in how many bits those that stay are kept, or None where they stay numbers in floating point
    reason    why it is kept ("" where it is pruned or quantized), or why not pruned by the pattern of its plan
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    reuse: int = 0
    prune: Prune | None = None
    reason: str = ""
    tied: tuple[str, ...] = ()
    quantize: Quantize | None = None

    @property
    def size(self) -> int:
        """Number of weights."""
        return prod(self.shape)

    @property
    def macs(self) -> int:
        """Dense multiply-accumulates for one example."""
        return self.reuse * self.size


@dataclass(frozen=True)
class MapPlan:
    """One row: a feature map, a value the model makes while it runs, and the one quantizer that it can have.

    name      path of the module that makes it, "layer1.0.relu"; where a function does, that function behind the path
              of the module whose code calls it, "layer1.0.add"; "_1", "_2" behind what runs again; an input's own name
    kind      type of that module, or the function
    shape     its shape for one example
    signed    whether it can be negative; an input can, unless `Plan.replace` says that it never is
    quantize  in how many bits its values are kept, or None where they stay numbers in floating point
    reason    why they do ("" where they are quantized)
    reads     state-dict keys of the weights that multiply this map
    per       what one scale is for where scales are found at run time: a "row", that is the last dimension, as a token
              has it; or, where a convolution or an average pooling reads the map, an "example"
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    signed: bool = True
    quantize: Quantize | None = None
    reason: str = ""
    reads: tuple[str, ...] = ()
    per: str = ROW

    @property
    def size(self) -> int:
        """Number of values for one example."""
        return prod(self.shape)

    @property
    def is_free(self) -> bool:
        """Whether it can be given a rule."""
        return self.reason in ("", NOT_CHOSEN, NO_ROW) or self.reason.endswith(READS_AS_FLOAT)

    @property
    def float_bytes(self) -> int:
        """Bytes for one example where it stays float32, as `float_map_bytes` counts them; 0 where it is quantized."""
        return 0 if self.quantize is not None else float_map_bytes(self)


class MapKind(Protocol):
    """What tells whose memory a map that stays float32 is; `MapPlan` is one."""

    @property
    def kind(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


def float_map_bytes(row: MapKind) -> int:
    """Bytes of a map in float32 for one example; 0 of outputs and of inputs that are whole numbers, which the caller
    holds, and of tensors of the model."""
    return 0 if row.reason in (OUTPUT, WHOLE) or row.kind in OWN else FLOAT_BYTES * prod(row.shape)


def with_rules(row: TensorPlan, prune: Prune | Unchanged | None, quantize: Quantize | Unchanged | None) -> TensorPlan:
    """The row under these rules, UNCHANGED: the one it has; PlanError where it can have none."""
    wanted_prune = row.prune if isinstance(prune, Unchanged) else prune
    wanted_quantize = row.quantize if isinstance(quantize, Unchanged) else quantize
    if wanted_prune is None and wanted_quantize is None:
        return dataclasses.replace(row, prune=None, quantize=None, reason=row.reason or NOT_CHOSEN)
    unfit = row.reason.startswith(NO_PATTERN)
    if row.reason not in ("", NOT_CHOSEN) and not unfit:
        done = "pruned" if wanted_prune else "quantized"
        raise PlanError(f"{row.name} cannot be {done}: {row.reason}")
    reason = row.reason if unfit and wanted_prune is None else ""
    return dataclasses.replace(row, prune=wanted_prune, quantize=wanted_quantize, reason=reason)


def with_map_rule(row: MapPlan, quantize: Quantize | None) -> MapPlan:
    """The row under this rule; PlanError where it can have none, or the rule is none for maps."""
    if quantize is None:
        return dataclasses.replace(row, quantize=None, reason=row.reason or NOT_CHOSEN)
    check_map_rule(quantize)
    if not row.is_free:
        raise PlanError(f"the map {row.name} cannot be quantized: {row.reason}")
    if quantize.is_dynamic and not row.shape:
        raise PlanError(f"the map {row.name} cannot be quantized: {NO_ROW}")
    return dataclasses.replace(row, quantize=quantize, reason="")


def with_sign(row: MapPlan, signed: bool) -> MapPlan:
    """The row of an input that can be negative or never is; PlanError for a map whose sign the model decides."""
    if not isinstance(signed, bool):
        raise PlanError(f"signed={signed!r}: True where an input can be negative, False where it never is")
    if row.kind != INPUT:
        raise PlanError(
            f"the map {row.name} is signed or not by what makes it ({row.kind}); signed= is for inputs of the model"
        )
    return dataclasses.replace(row, signed=signed)


def check_rules(**rules: object) -> None:
    """PlanError where what is given as `prune`, `quantize` or `maps` is no rule of that kind."""
    for name, rule in rules.items():
        kind = Prune if name == "prune" else Quantize
        if rule is not None and not isinstance(rule, kind | Unchanged):
            example = "Prune()" if kind is Prune else "Quantize(bits=8)"
            raise PlanError(f"{name}={rule!r} is no rule: give {name}={example}, or None for none")
        if name == "quantize" and isinstance(rule, Quantize):
            check_weight_rule(rule)


def check_weight_rule(rule: Quantize) -> None:
    """PlanError for a rule that only feature maps can have."""
    if rule.is_dynamic:
        raise PlanError(
            'quantize=Quantize(scale="dynamic"): a weight does not change at run time, so its scale is stored; '
            '"dynamic" is for maps='
        )


def check_map_rule(rule: Quantize) -> None:
    """PlanError for a rule that only weights can have."""
    if rule.granularity != "tensor":
        raise PlanError(
            f"maps=Quantize(granularity={rule.granularity!r}): a feature map has one scale, "
            'so that sums over channels stay integers; granularity "tensor" is the one it can have'
        )
    if rule.level != "width":
        raise PlanError(
            f'maps=Quantize(level={rule.level!r}): a feature map is averaged over its widths; level "width" is the one '
            "it can have"
        )
