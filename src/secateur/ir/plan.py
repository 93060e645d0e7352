"""Plan: what may change in a model, tensor by tensor and map by map. Data that can be printed, compared, edited and
kept in a file."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from secateur.errors import PlanError
from secateur.ir.plan_json import map_from_dict, row_to_dict, tensor_from_dict
from secateur.ir.plan_rows import (
    UNCHANGED,
    MapPlan,
    TensorPlan,
    Unchanged,
    check_rules,
    with_map_rule,
    with_rules,
    with_sign,
)
from secateur.ir.rules import Prune, Quantize, named_rule, near
from secateur.ir.text_table import aligned

PLAN_VERSION = 1


@dataclass(frozen=True)
class Plan:
    """One row a tensor, in the model's own order, and one a feature map, in the order in which they are made; no maps
    where nobody asked for them. Iterating, `len` and `plan[name]` mean tensors. Pure: every change returns a new Plan.
    """

    tensors: tuple[TensorPlan, ...]
    maps: tuple[MapPlan, ...] = ()

    def __iter__(self) -> Iterator[TensorPlan]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __getitem__(self, name: str) -> TensorPlan:
        for row in self.tensors:
            if name == row.name or name in row.tied:
                return row
        if any(name == row.name for row in self.maps):
            raise PlanError(f"{name!r} is a feature map, no tensor: plan.map({name!r}) is its row")
        raise PlanError(f"no tensor {name!r} in this plan{near(name, self.names())}")

    def names(self) -> tuple[str, ...]:
        """State-dict keys of the tensors."""
        return tuple(row.name for row in self.tensors)

    def map(self, name: str) -> MapPlan:
        """The row of the feature map of that name."""
        for row in self.maps:
            if name == row.name:
                return row
        raise PlanError(f"no map {name!r} in this plan{near(name, [row.name for row in self.maps])}")

    @property
    def pruned(self) -> tuple[TensorPlan, ...]:
        """The rows whose weights may be cut."""
        return tuple(row for row in self.tensors if row.prune is not None)

    @property
    def pattern_density(self) -> float | None:
        """Fraction of the weights that stays where every pruned tensor has one pattern, n of every m, but for shorter
        last groups, which round up; None for any other plan."""
        pruned = [(row.size, row.prune.patterns) for row in self.pruned if row.prune is not None]
        if not pruned or not all(len(patterns) == 1 for _, patterns in pruned):
            return None
        return sum(size * patterns[0].density for size, patterns in pruned) / sum(size for size, _ in pruned)

    @property
    def changed(self) -> tuple[TensorPlan, ...]:
        """The tensors that have a rule: pruned, quantized or both."""
        return tuple(row for row in self.tensors if row.prune is not None or row.quantize is not None)

    @property
    def quantized_maps(self) -> tuple[MapPlan, ...]:
        """The feature maps that have a rule."""
        return tuple(row for row in self.maps if row.quantize is not None)

    def matching(self, pattern: str) -> tuple[str, ...]:
        """Names of tensors that equal the pattern, lie under it as a module, or match it as a shell pattern; PlanError
        if there are none."""
        found = tuple(row.name for row in self.tensors if any(_fits(name, pattern) for name in (row.name, *row.tied)))
        if not found:
            if any(_fits(row.name, pattern) for row in self.maps):
                instead = f"replace({pattern!r}, maps=...) gives it a rule"
                raise PlanError(f"{pattern!r} is a feature map, no tensor: {instead}")
            raise PlanError(f"nothing in this plan is called {pattern!r}{near(pattern, _known(self.names()))}")
        return found

    def matching_maps(self, pattern: str) -> tuple[str, ...]:
        """The same for feature maps."""
        names = [row.name for row in self.maps]
        # A module that is called in one piece has rows behind its own name, of what is inside it.
        found = (pattern,) if pattern in names else tuple(name for name in names if _fits(name, pattern))
        if not found:
            instead = near(pattern, _known(names)) if names else ": plan with maps=Quantize() to have any"
            raise PlanError(f"no map in this plan is called {pattern!r}{instead}")
        return found

    def replace(
        self,
        pattern: str,
        *,
        prune: Prune | Unchanged | None = UNCHANGED,
        quantize: Quantize | Unchanged | None = UNCHANGED,
        maps: Quantize | Unchanged | str | None = UNCHANGED,
        signed: bool | Unchanged = UNCHANGED,
    ) -> Plan:
        """A new plan in which every tensor the pattern names has these rules of `prune` and `quantize`, and every
        feature map it names the rule `maps` (None: none of that kind; left out: the one it had). signed=False says that
        the inputs it names are never negative, which leaves their codes a bit more; a negative value is then an error.
        What can have no rule because of what it is raises PlanError with the reason."""
        rule = named_rule(maps)
        check_rules(prune=prune, quantize=quantize, maps=rule)
        of_tensors = not (isinstance(prune, Unchanged) and isinstance(quantize, Unchanged))
        of_maps = not (isinstance(rule, Unchanged) and isinstance(signed, Unchanged))
        if not of_tensors and not of_maps:
            raise PlanError(
                f"replace({pattern!r}) changes nothing: name prune=, quantize=, maps=, signed= or several, None for no "
                "rule"
            )
        chosen = set(self.matching(pattern)) if of_tensors else set()
        named = set(self.matching_maps(pattern)) if of_maps else set()
        tensors = tuple(with_rules(row, prune, quantize) if row.name in chosen else row for row in self.tensors)
        return Plan(tensors, tuple(_changed_map(row, rule, signed) if row.name in named else row for row in self.maps))

    def skip(self, pattern: str) -> Plan:
        """A new plan in which no tensor and no feature map that the pattern names has a rule; PlanError if there is
        neither."""
        if any(_fits(row.name, pattern) for row in self.maps):
            rest = self.replace(pattern, maps=None)
            named = any(_fits(name, pattern) for row in self.tensors for name in (row.name, *row.tied))
            return rest.replace(pattern, prune=None, quantize=None) if named else rest
        return self.replace(pattern, prune=None, quantize=None)

    def to_json(self) -> str:
        """Text that `from_json` reads back to an equal Plan; one row a line, so that plans can be compared by eye."""
        maps = f', "maps": [\n{_lines(self.maps)}\n]' if self.maps else ""
        return f'{{"secateur_plan": {PLAN_VERSION}, "tensors": [\n{_lines(self.tensors)}\n]{maps}}}\n'

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The Plan in a JSON text; PlanError says what is wrong with it."""
        try:
            data = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise PlanError(f"this is not JSON: {error}") from None
        if not isinstance(data, dict) or data.get("secateur_plan") != PLAN_VERSION:
            raise PlanError(
                f'not a plan of version {PLAN_VERSION}: expected {{"secateur_plan": {PLAN_VERSION}, "tensors": [...]}}'
            )
        tensors, maps = (_rows_of(data, name) for name in ("tensors", "maps"))
        plan = cls(tuple(map(tensor_from_dict, tensors)), tuple(map(map_from_dict, maps)))
        for what, names in (("tensor", plan.names()), ("map", [row.name for row in plan.maps])):
            if len(set(names)) != len(names):
                raise PlanError(f"a {what} appears twice in this plan")
        return plan

    def __str__(self) -> str:
        header = ("tensor", "kind", "shape", "weights", "MACs", "prune", "quantize", "why kept")
        rows = [header, *(_row_to_text(row) for row in self.tensors)]
        if not any(row.quantize for row in self.tensors):
            rows = [(*row[:6], row[7]) for row in rows]
        text = _table(rows, right=(3, 4))
        if not self.maps:
            return text
        header = ("map", "kind", "shape", "values", "sign", "quantize", "why float")
        return f"{text}\n\n{_table([header, *(_map_to_text(row) for row in self.maps)], right=(3,))}"


def _changed_map(row: MapPlan, rule: Quantize | Unchanged | None, signed: bool | Unchanged) -> MapPlan:
    row = row if isinstance(rule, Unchanged) else with_map_rule(row, rule)
    return row if isinstance(signed, Unchanged) else with_sign(row, signed)


def _rows_of(data: dict[str, Any], name: str) -> list[Any]:
    rows = data.get(name, [] if name == "maps" else None)  # plans older than maps have none
    if not isinstance(rows, list):
        raise PlanError(f'"{name}" must be a list of rows')
    return rows


def _fits(name: str, pattern: str) -> bool:
    return name == pattern or name.startswith(pattern + ".") or fnmatch.fnmatchcase(name, pattern)


def _known(names: Sequence[str]) -> list[str]:
    return [*names, *sorted({name.rpartition(".")[0] for name in names})]


def _lines(rows: Sequence[TensorPlan | MapPlan]) -> str:
    return ",\n".join("  " + json.dumps(row_to_dict(row)) for row in rows)


def _table(rows: list[tuple[str, ...]], right: tuple[int, ...]) -> str:
    lines = aligned(rows, right=right)
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _shape_to_text(row: TensorPlan | MapPlan) -> str:
    return "x".join(map(str, row.shape)) or "scalar"


def _row_to_text(row: TensorPlan) -> tuple[str, ...]:
    prune = str(row.prune) if row.prune else "-"
    quantize = f"{row.quantize.bits!s} bits, per {row.quantize.granularity}" if row.quantize else "-"
    if row.quantize and row.quantize.level == "value":
        quantize += ", by value"
    tied = f" (tied: {', '.join(row.tied)})" if row.tied else ""
    macs = f"{row.macs:,}" if row.reuse else "-"
    return (row.name + tied, row.kind, _shape_to_text(row), f"{row.size:,}", macs, prune, quantize, row.reason)


def _map_to_text(row: MapPlan) -> tuple[str, ...]:
    quantize = str(row.quantize) if row.quantize else "-"
    if row.quantize and row.quantize.is_dynamic:
        quantize += f", per {row.per}"
    sign = "+-" if row.signed else "+"
    return (row.name, row.kind, _shape_to_text(row), f"{row.size:,}", sign, quantize, row.reason)
