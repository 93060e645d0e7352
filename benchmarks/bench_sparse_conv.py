"""Convolutional layers with zeros in their weights against every library that a CPU user has, and against ourselves.

python benchmarks/bench_sparse_conv.py [--quick] [--summary]

Layers of ResNet and MobileNet, pruned by magnitude to 80, 90 and 95 % zeros at any place, in float32. Peers compute
the 90 % ones like any others: the time of a dense sum does not depend on its weights. `dense` is what this library
takes for weights without zeros, fast convolutions included. First each result is compared with the float64 sum, then
competitors take turns as in bench_conv.py. A ratio is the median over the rounds of the other's time over ours in the
same round.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench_conv import engines, judged, missing_modules, speeds
from conv_layers import PRUNED_LAYERS, Layer, arrays, pruned, reference
from conv_peers import ENGINES, PEER_ENGINES, PEERS, ZEROS
from conv_table import geometric_mean, markdown
from conv_turns import Turns, ratios, rounds
from record import RESULTS, circumstances, record
from sparse_table import Row, best_ratio, read_rows

SHOWN = 90
"""Percent of zeros that peers compute."""
QUICK = ("3x3 128-128@28", "1x1 256-1024@14", "3x3 128-256@28/2")
NAME = "sparse_conv"


def prepare(workers: Mapping[str, Turns], layer: Layer, batch: int, folder: Path) -> dict[str, dict[str, Any]]:
    """Data and float64 results for all; every competitor's form and error."""
    x, weight, bias = arrays(layer, batch)
    for zeros in ZEROS:
        some = pruned(weight, zeros / 100)
        np.save(folder / f"weight-{zeros}.npy", some)
        np.save(folder / f"wanted-{zeros}.npy", reference(layer, x, some, bias))
    np.savez(folder / "arrays.npz", x=x, weight=np.load(folder / f"weight-{SHOWN}.npy"), bias=bias)
    np.save(folder / "wanted.npy", np.load(folder / f"wanted-{SHOWN}.npy"))
    answers = [worker.ask(prepare=layer.name, folder=str(folder)) for worker in workers.values()]
    return {name: judged(about) for answer in answers for name, about in answer.items()}


def measure(options: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """One row a layer and batch that is not there yet."""
    done = {} if options.quick or options.again else read_rows(RESULTS / f"{NAME}.jsonl", circumstances()["machine"])
    names = [
        name for name in (QUICK if options.quick else PRUNED_LAYERS) if any(part in name for part in options.layers)
    ]
    wanted = [(name, batch) for batch in options.batch for name in names if (name, batch) not in done]
    with engines(("sparse", *options.peers) if wanted else (), 1, folder) as workers:
        versions = {key: value for worker in workers.values() for key, value in worker.ask(versions=True).items()}
        for name, batch in wanted:
            layer = PRUNED_LAYERS[name]
            found = prepare(workers, layer, batch, folder)
            owners = {c: workers[e] for e, engine in ENGINES.items() for c in engine.competitors if c in found}
            least, most = (3, 3) if options.quick else (7, options.rounds)
            measured = rounds(owners, seconds=options.seconds, turn=options.turn, least=least, most=most)
            right = [one for one in (*PEERS, "dense") if one in found and not found[one]["wrong"]]
            ours = [one for one in ZEROS.values() if not found[one]["wrong"]]
            yield {
                "layer": name,
                "batch": batch,
                "threads": 1,
                "peers": versions,
                "competitors": speeds(found, measured, 2.0 * layer.shape(batch).macs),
                "ratios": ratios(measured[0], ours, right),
                "rounds": len(measured[0]["dense"]),
            }


def summary(rows: Mapping[tuple[str, int], Row]) -> str:
    """A table a batch in markdown, and geometric means over the layers."""
    parts = []
    for batch in sorted({batch for _, batch in rows}):
        chosen = [rows[name, batch] for name in PRUNED_LAYERS if (name, batch) in rows]
        names = list(dict.fromkeys(name for row in chosen for name in row["competitors"]))
        cells = []
        for row in chosen:
            found = row["competitors"]
            times = [f"{found[n]['ms'][1]:.3g}{' wrong' * found[n]['wrong']}" if n in found else "-" for n in names]
            gains = [best_ratio(row, ours, group) for ours in ZEROS.values() for group in (PEERS, ("dense",))]
            cells.append([row["layer"], *times, *(f"{gain:.2f}" if gain else "-" for gain in gains)])
        heads = [f"{zeros} % over {other}" for zeros in ZEROS for other in ("best peer", "our dense")]
        parts.append(f"### One thread, batch {batch}: milliseconds (median), ratios of times")
        parts.append(markdown(["layer", *names, *heads], cells))
        means = []
        for kind in ("3x3", "1x1", ""):
            some = [row for row in chosen if row["layer"].startswith(kind)]
            for ours in ZEROS.values() if some else ():
                over = [[g for row in some if (g := best_ratio(row, ours, group))] for group in (PEERS, ("dense",))]
                means.append(
                    [kind or "all", ours, *(f"{geometric_mean(values):.2f}" if values else "-" for values in over)]
                )
                means[-1].append(len(some))
        parts.append(markdown(["layers", "weights", "over the best peer", "over our dense", "count"], means))
    return "\n\n".join(parts)


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three rounds of three layers; not kept")
    parser.add_argument("--summary", action="store_true", help="tables of this machine's results, nothing is measured")
    parser.add_argument("--layers", nargs="+", default=[""], help="those with one of these in their name: 1x1, @56")
    parser.add_argument("--peers", nargs="+", default=list(PEER_ENGINES), choices=list(PEER_ENGINES))
    parser.add_argument("--again", action="store_true", help="also rows that are there")
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--seconds", type=float, default=3.0, help="of measurement a row")
    parser.add_argument("--turn", type=float, default=0.02, help="seconds of a competitor's turn")
    parser.add_argument("--rounds", type=int, default=25, help="at most, a row")
    options = parser.parse_args()
    if not options.summary:
        if missing := missing_modules():
            raise SystemExit(f"install {', '.join(missing)} first: see benchmarks/README.md")
        with tempfile.TemporaryDirectory() as folder:
            rows = {(row["layer"], row["batch"]): row for row in _recorded(options, Path(folder))}
        if options.quick:
            print(summary(rows))
            return
    print(summary(read_rows(RESULTS / f"{NAME}.jsonl", circumstances()["machine"])))


def _recorded(options: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """Rows as they come, with a line each; kept unless the run is a quick one."""
    for row in measure(options, folder):
        if not options.quick:
            record(NAME, benchmark=NAME, **row)
        gains = ", ".join(f"{ours} {best_ratio(row, ours, PEERS):.2f}" for ours in row["ratios"])
        print(f"{row['layer']} batch {row['batch']}: over the best peer {gains}", flush=True)
        yield row


if __name__ == "__main__":
    main()
