"""Candidates: what a network was after the epochs of its self-pruning, and how each would do if it were cut there."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from secateur.compression.checkpoint import Checkpoints, from_bytes, to_bytes
from secateur.compression.line import Line
from secateur.ir.target import Target
from secateur.nn.copying import copied
from secateur.nn.harden import harden_
from secateur.train.record import Record, record_from

STEP_DOWN = 0.85
"""A candidate is kept once the density fell to this share of the last one's."""
EPOCHS = "candidates.json"


class Candidates:
    """By epoch the density, the loss of a copy hardened to it, and whether the soft network was kept.

    All of it lies in the run's folder. Repeating an epoch after an interruption repeats its files.
    """

    def __init__(self, line: Line, name: str) -> None:
        """name: of the pass that prunes itself."""
        self._line, self._name = line, name

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """One row an epoch: "epoch", "density", "drop" (None where it was no number), "kept"."""
        return (self._line.folder.read_json(EPOCHS) or {"epochs": []})["epochs"]

    @property
    def kept(self) -> list[dict[str, Any]]:
        """The rows whose network was kept, the densest first: candidate 0, 1, ..."""
        return [row for row in self.epochs if row["kept"]]

    def add(self, model: nn.Module, record: Record) -> None:
        """An epoch of self-pruning is over. model: soft, and it stays so."""
        sizes = {row.name: row.size for row in self._line.plan}
        total = sum(sizes[name] for name in record.density)
        density = sum(share * sizes[name] for name, share in record.density.items()) / total
        before = [row for row in self.epochs if row["epoch"] < record.epoch]
        kept = density <= STEP_DOWN * min((row["density"] for row in before if row["kept"]), default=1.0)
        if kept:
            self._line.folder.write(_file(record.epoch), to_bytes({"model": model.state_dict()}))
        row = {"epoch": record.epoch, "density": density, "drop": self._drop(model, density), "kept": kept}
        self._line.folder.write_json(EPOCHS, {"epochs": [*before, row]})

    def _drop(self, model: nn.Module, density: float) -> float | None:
        hard = copied(model)
        harden_(hard, self.cut_to(density))
        drop = self._line.drop(self._line.score(hard))
        return drop if math.isfinite(drop) else None

    def cut_to(self, density: float) -> Target:
        """What a candidate of this density is hardened to: its own density."""
        return Target(density=density, values=self._line.values)

    def state(self, number: int) -> dict[str, Any]:
        """State dict of a candidate's prepared model."""
        path = self._line.folder.path / _file(self.kept[number]["epoch"])
        return from_bytes(path.read_bytes())["model"]

    def history(self, number: int) -> tuple[Record, ...]:
        """The epochs of self-pruning up to a candidate, as far as the state of that pass has them."""
        state = Checkpoints(self._line.folder.path, self._name).load() or {"history": []}
        records = [record_from(row) for row in state["history"]]
        last = self.kept[number]["epoch"]
        return tuple(record for record in records if record.phase == "prune" and record.epoch <= last)


def _file(epoch: int) -> str:
    return f"candidate-{epoch:04d}.state"
