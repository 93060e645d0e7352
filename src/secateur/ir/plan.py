"""Plan: what may change in a model, tensor by tensor. Data that can be printed, compared, edited and kept in a file."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from secateur.errors import PlanError
from secateur.ir.rules import Prune, Quantize, near
from secateur.ir.text_table import aligned

PLAN_VERSION = 1
NOT_CHOSEN = "kept by choice"
"""The one reason for which a kept tensor can still be given a rule."""


class _Unchanged:
    """What `Plan.replace` leaves as it is."""


UNCHANGED = _Unchanged()


@dataclass(frozen=True)
class TensorPlan:
    """One row: a tensor of the model and what may happen to it.

    name      state-dict key, "conv1.weight"; `tied` lists further keys of the very same tensor
    kind      type of the module that owns it
    shape     its shape
    reuse     how often each of its weights is multiplied for one example, so its MACs are reuse x size; 0 where unknown
    prune     which of its weights go, or None where all stay
    quantize  in how many bits those that stay are kept, or None where they stay numbers in floating point
    reason    why it is kept ("" where it is pruned or quantized)
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
        size = 1
        for extent in self.shape:
            size *= extent
        return size

    @property
    def macs(self) -> int:
        """Dense multiply-accumulates for one example."""
        return self.reuse * self.size


@dataclass(frozen=True)
class Plan:
    """One row a tensor, in the model's own order. Pure: every change returns a new Plan."""

    tensors: tuple[TensorPlan, ...]

    def __iter__(self) -> Iterator[TensorPlan]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __getitem__(self, name: str) -> TensorPlan:
        for row in self.tensors:
            if name == row.name or name in row.tied:
                return row
        raise PlanError(f"no tensor {name!r} in this plan{near(name, self.names())}")

    def names(self) -> tuple[str, ...]:
        """State-dict keys of the rows."""
        return tuple(row.name for row in self.tensors)

    @property
    def pruned(self) -> tuple[TensorPlan, ...]:
        """The rows whose weights may be cut."""
        return tuple(row for row in self.tensors if row.prune is not None)

    @property
    def changed(self) -> tuple[TensorPlan, ...]:
        """The rows that have a rule: pruned, quantized or both."""
        return tuple(row for row in self.tensors if row.prune is not None or row.quantize is not None)

    def matching(self, pattern: str) -> tuple[str, ...]:
        """Names that equal the pattern, lie under it as a module, or match it as a shell pattern; PlanError if none."""
        found = tuple(
            row.name
            for row in self.tensors
            if any(
                n == pattern or n.startswith(pattern + ".") or fnmatch.fnmatchcase(n, pattern)
                for n in (row.name, *row.tied)
            )
        )
        if not found:
            modules = {name.rpartition(".")[0] for name in self.names()}
            raise PlanError(
                f"nothing in this plan is called {pattern!r}{near(pattern, [*self.names(), *sorted(modules)])}"
            )
        return found

    def replace(
        self,
        pattern: str,
        *,
        prune: Prune | _Unchanged | None = UNCHANGED,
        quantize: Quantize | _Unchanged | None = UNCHANGED,
    ) -> Plan:
        """A new plan in which every tensor the pattern names has these rules (None: none of that kind; left out: the
        one it had). A tensor that can have no rule because of what it is raises PlanError with the reason."""
        if isinstance(prune, _Unchanged) and isinstance(quantize, _Unchanged):
            raise PlanError(f"replace({pattern!r}) changes nothing: name prune=, quantize= or both, None for no rule")
        chosen = set(self.matching(pattern))
        return Plan(tuple(_with_rules(row, prune, quantize) if row.name in chosen else row for row in self.tensors))

    def to_json(self) -> str:
        """Text that `from_json` reads back to an equal Plan; one row a line, so that plans can be compared by eye."""
        rows = ",\n".join("  " + json.dumps(_row_to_dict(row)) for row in self.tensors)
        return f'{{"secateur_plan": {PLAN_VERSION}, "tensors": [\n{rows}\n]}}\n'

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
        rows = data.get("tensors")
        if not isinstance(rows, list):
            raise PlanError('"tensors" must be a list of rows')
        plan = cls(tuple(_row_from_dict(row) for row in rows))
        if len(set(plan.names())) != len(plan):
            raise PlanError("a tensor appears twice in this plan")
        return plan

    def __str__(self) -> str:
        header = ("tensor", "kind", "shape", "weights", "MACs", "prune", "quantize", "why kept")
        rows = [header, *(_row_to_text(row) for row in self.tensors)]
        if not any(row.quantize for row in self.tensors):
            rows = [(*row[:6], row[7]) for row in rows]
        lines = aligned(rows, right=(3, 4))
        return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _with_rules(
    row: TensorPlan, prune: Prune | _Unchanged | None, quantize: Quantize | _Unchanged | None
) -> TensorPlan:
    wanted_prune = row.prune if isinstance(prune, _Unchanged) else prune
    wanted_quantize = row.quantize if isinstance(quantize, _Unchanged) else quantize
    if wanted_prune is None and wanted_quantize is None:
        return dataclasses.replace(row, prune=None, quantize=None, reason=row.reason or NOT_CHOSEN)
    if row.reason not in ("", NOT_CHOSEN):
        done = "pruned" if wanted_prune else "quantized"
        raise PlanError(f"{row.name} cannot be {done}: {row.reason}")
    return dataclasses.replace(row, prune=wanted_prune, quantize=wanted_quantize, reason="")


def _row_to_dict(row: TensorPlan) -> dict[str, Any]:
    data = dataclasses.asdict(row)
    return {key: value for key, value in data.items() if value not in ((), "", None)}


def _row_from_dict(data: object) -> TensorPlan:
    if not isinstance(data, dict):
        raise PlanError(f"a row of a plan is an object, got {data!r}")
    known = {field.name for field in dataclasses.fields(TensorPlan)}
    for key in data:
        if key not in known:
            raise PlanError(f"unknown key {key!r} in a row{near(key, known)}")
    for key, check in _ROW_CHECKS.items():
        if key in data and not check(data[key]):
            raise PlanError(f"row {data.get('name')!r}: {key}={data[key]!r} has the wrong type")
    if missing := [key for key in ("name", "kind", "shape") if key not in data]:
        raise PlanError(f"row {data.get('name')!r} lacks {', '.join(missing)}")
    fields: dict[str, Any] = {**data, "shape": tuple(data["shape"]), "tied": tuple(data.get("tied", ()))}
    for key, kind in (("prune", Prune), ("quantize", Quantize)):
        if data.get(key) is not None:
            fields[key] = _rule_from_dict(key, kind, data[key])
    return TensorPlan(**fields)


def _rule_from_dict(name: str, kind: type[Prune] | type[Quantize], data: dict[str, Any]) -> Prune | Quantize:
    known = {field.name for field in dataclasses.fields(kind)}
    for key in data:
        if key not in known:
            raise PlanError(f"unknown key {key!r} in a {name} rule{near(key, known)}")
    return kind(**data)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


_ROW_CHECKS = {
    "name": lambda v: isinstance(v, str) and v != "",
    "kind": lambda v: isinstance(v, str),
    "shape": lambda v: isinstance(v, list) and all(map(_is_count, v)),
    "reuse": _is_count,
    "prune": lambda v: v is None or isinstance(v, dict),
    "quantize": lambda v: v is None or isinstance(v, dict),
    "reason": lambda v: isinstance(v, str),
    "tied": lambda v: isinstance(v, list) and all(isinstance(name, str) for name in v),
}


def _row_to_text(row: TensorPlan) -> tuple[str, ...]:
    prune = f"{row.prune.method}, {row.prune.form}, per {row.prune.granularity}" if row.prune else "-"
    quantize = f"{row.quantize.bits!s} bits, per {row.quantize.granularity}" if row.quantize else "-"
    shape = "x".join(map(str, row.shape)) or "scalar"
    tied = f" (tied: {', '.join(row.tied)})" if row.tied else ""
    macs = f"{row.macs:,}" if row.reuse else "-"
    return (row.name + tied, row.kind, shape, f"{row.size:,}", macs, prune, quantize, row.reason)
