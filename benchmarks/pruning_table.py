"""The results of pruning benchmarks as a Markdown table: mean and deviation over the seeds."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import Any

COLUMNS = ("network", "limit", "shifts", "epochs", "method", "seeds", "test error %", "validation %", "sparsity x")
SIZES = ("file bytes", "parameters left")


def markdown(lines: list[dict[str, Any]]) -> str:
    """One row a setting and method, in the order of the settings; the seeds' standard deviation with n - 1."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        options = ", ".join(f"{key} {value}" for key, value in line["options"].items())
        method = line["method"] + (f" ({options})" if options else "")
        epochs = f"{line['prune_epochs']}+{line['finetune_epochs']} {line['precision']}"
        epochs += f", rate {line.get('learning_rate', 1e-3):g}"
        shifts = "+-1" if line["shift"] else "none"
        groups[line["network"], _limit(line), shifts, epochs, method].append(line)
    rows = [COLUMNS + SIZES, ("---",) * len(COLUMNS + SIZES)]
    for key in sorted(groups, key=lambda k: k[:4]):
        group = groups[key]
        cells = [spread([line[name] for line in group]) for name in ("test_error", "validation_error", "sparsity_x")]
        sizes = [spread([line[name] for line in group], 0) for name in ("file_bytes", "parameters_left")]
        rows.append((*key, str(len(group)), *cells, *sizes))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _limit(line: dict[str, Any]) -> str:
    """What a run had to keep to: bytes of the file where it was given them, else the fraction of weights left."""
    limit = line["options"].get("packed_bytes")
    return f"{line['density']:.1%}" if limit is None else f"{limit:,} bytes"


def spread(values: list[float | None], digits: int = 2) -> str:
    """mean +- deviation, or - where a value was not measured."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "-"
    deviation = f" +- {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{statistics.mean(known):,.{digits}f}{deviation}"
