"""Tables of what bench_conv.py measured: ratios a layer, geometric means a network and kind of layer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import exp, log
from pathlib import Path
from typing import Any

from conv_layers import LARGE, LAYERS, NETWORKS
from conv_peers import CLASSES

Row = Mapping[str, Any]
Key = tuple[str, int, int]
PYTORCH = ("torch", "torch.compile")


def key_of(row: Row) -> Key:
    """Layer, batch, threads: what is measured once."""
    return row["layer"], row["batch"], row["threads"]


def read(path: Path, machine: str, ranked_by: str = "ratios") -> dict[Key, Row]:
    """The last row of each key of this machine; as its ratios those of this name."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [row for row in map(json.loads, lines) if row["machine"] == machine]
    return {key_of(row): {**row, "ratios": row[ranked_by]} for row in rows}


def ratio(row: Row, accuracy: str, peers: Iterable[str] | None = None) -> float | None:
    """Median ratio to the fastest of `peers` (of all: None) that computed the layer right; None where there is none."""
    found = row["ratios"][accuracy]
    medians = [found[peer][1] for peer in (found if peers is None else peers) if peer in found]
    return min(medians, default=None)


def fastest_peer(row: Row) -> str:
    """Whose ratio is least."""
    found = row["ratios"]["default"]
    return min(found, key=lambda peer: found[peer][1], default="-")


def geometric_mean(values: Mapping[float, int] | Iterable[float]) -> float:
    """Of numbers."""
    logs = [log(value) for value in values]
    return exp(sum(logs) / len(logs))


@dataclass(frozen=True)
class Bar:
    """A geometric mean that must be reached: over these layers, in this class, over the fastest of these peers."""

    name: str
    layers: tuple[str, ...]
    batch: int
    accuracy: str
    peers: tuple[str, ...] | None
    least: float


THREES = tuple(dict.fromkeys(layer.name for network in NETWORKS.values() for layer in network))
FIVES, SEVENS = (tuple(layer.name for layer in LARGE if layer.taps == taps) for taps in (5, 7))
BARS = (
    Bar("3x3, batch 1, over PyTorch", THREES, 1, "default", PYTORCH, 2.4),
    Bar("3x3, batch 1, over ncnn", THREES, 1, "default", ("ncnn",), 1.4),
    Bar("3x3, batch 8, over PyTorch", THREES, 8, "default", PYTORCH, 1.9),
    Bar("5x5, batch 1, over MNN", FIVES, 1, "default", ("MNN",), 2.0),
    Bar("7x7, batch 1, over the fastest peer", SEVENS, 1, "default", None, 2.0),
    Bar("7x7, batch 1, over the fastest peer", SEVENS, 1, "fast", None, 3.5),
)


def markdown(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """In markdown; nothing where there are no rows."""
    cells = [[str(cell) for cell in row] for row in rows]
    if not cells:
        return ""
    lines = [list(head), ["---"] * len(cells[0]), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _ratio_text(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def layer_table(rows: Iterable[Row]) -> str:
    """Milliseconds of all competitors and what we are faster by; wrong results are marked and not ranked."""
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row["competitors"]))
    ranked = ("strict/best", "default/best", "fast/best", "fastest peer", "default/PyTorch", "default/ncnn")
    cells = []
    for row in rows:
        found = row["competitors"]
        times = [f"{found[n]['ms'][1]:.3g}{' wrong' * found[n]['wrong']}" if n in found else "-" for n in names]
        best = [_ratio_text(ratio(row, accuracy)) for accuracy in CLASSES]
        others = [_ratio_text(ratio(row, "default", peers)) for peers in (PYTORCH, ("ncnn",))]
        cells.append([row["layer"], *times, *best, fastest_peer(row), *others])
    return markdown(("layer", *names, *ranked), cells)


def network_table(rows: Mapping[str, Row]) -> str:
    """Geometric means over the layers of each network, each as often as it occurs there."""
    against = {"PyTorch": PYTORCH, "ncnn": ("ncnn",), "the fastest": None}
    cells = []
    for network, layers in NETWORKS.items():
        present = [(rows[layer.name], count) for layer, count in layers.items() if layer.name in rows]
        missing = len(layers) - len(present)
        for accuracy in CLASSES if present else ():
            values = []
            for peers in against.values():
                found = [value for row, n in present for value in [ratio(row, accuracy, peers)] * n if value]
                values.append(_ratio_text(geometric_mean(found) if found else None))
            cells.append([network, accuracy, *values, f"{missing} layers missing" if missing else ""])
    return markdown(("network", "accuracy", *(f"over {name}" for name in against), ""), cells)


def bar_table(rows: Mapping[Key, Row], threads: int) -> str:
    """Each bar, what was reached, and the least ratio of a layer."""
    cells = []
    for bar in BARS:
        present = [rows[layer, bar.batch, threads] for layer in bar.layers if (layer, bar.batch, threads) in rows]
        found = {row["layer"]: value for row in present if (value := ratio(row, bar.accuracy, bar.peers)) is not None}
        if not found:
            continue
        lowest = min(found, key=lambda layer: found[layer])
        mean = geometric_mean(found.values())
        verdict = "met" if mean >= bar.least else "MISSED"
        count = f"{len(found)} of {len(bar.layers)}"
        cells.append(
            [bar.name, bar.accuracy, bar.least, f"{mean:.2f}", verdict, f"{found[lowest]:.2f} ({lowest})", count]
        )
    return markdown(("bar", "accuracy", "at least", "reached", "", "least of a layer", "layers"), cells)


def summary(rows: Mapping[Key, Row]) -> str:
    """All tables in markdown."""
    parts = []
    for threads in sorted({threads for _, _, threads in rows}):
        for batch in sorted({b for _, b, t in rows if t == threads}):
            chosen = {name: rows[name, batch, threads] for name in LAYERS if (name, batch, threads) in rows}
            parts.append(
                f"### {threads} thread{'s' * (threads > 1)}, batch {batch}: milliseconds (median), ratios of times"
            )
            parts += [layer_table(chosen.values()), network_table(chosen)]
        parts += [f"### {threads} thread{'s' * (threads > 1)}: bars", bar_table(rows, threads)]
    return "\n\n".join(part for part in parts if part)
