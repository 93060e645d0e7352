"""Integer against float interpretation: trained networks with quantized weights and maps, on 2,000 test images.

    python benchmarks/bench_integer.py
    python benchmarks/bench_integer.py --networks branches --bits 4 --seeds 0 1 2

Each network is trained in float32 on the 8,000 images of Fashion-MNIST that ship with the demo, then quantized (weights
and maps in so many bits, one scale each, ranges from training batches), fine-tuned with both in place, packed, and
interpreted in both arithmetics. Results go to results/integer.jsonl: how many codes differ, by how much, and the same
arg max; and once more with biases rounded to whole accumulator steps, k = 0, to see what their fraction is good for.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import secateur as sct
from record import record
from resnet import Block
from secateur.cli.demo_data import load_demo_data
from secateur.cli.demo_network import DEVIATION, MEAN, LeNet5
from secateur.ir.artifact import Artifact
from secateur.ir.integer import products
from secateur.ir.ops import OPS
from secateur.nn.map_sites import maps_of

BATCH, RATE = 64, 1e-3
MOST_FRACTION = products.MOST_FRACTION


class Branches(nn.Module):
    """A residual block, two branches that are joined, a mean over space: sums and joints of maps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.block = Block(12, 12)
        self.wide = nn.Sequential(nn.Conv2d(12, 12, 3, 1, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.narrow = nn.Sequential(nn.Conv2d(12, 12, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.pool = nn.AvgPool2d(2)
        self.last = nn.Sequential(nn.Conv2d(24, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, 28, 28) -> (n, 10) logits."""
        x = self.block(self.stem(x))
        x = self.pool(torch.cat([self.wide(x), self.narrow(x)], 1))
        return self.head(self.last(x).mean((2, 3)))


class Small(nn.Sequential):
    """ResNet-20's plan with a block a stage, for gray images."""

    def __init__(self) -> None:
        stem = [nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
        blocks = [Block(16, 16), Block(16, 32), Block(32, 64)]
        super().__init__(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


NETWORKS = {"lenet5": LeNet5, "branches": Branches, "resnet": Small}


def images(part: str) -> tuple[Tensor, Tensor]:
    """Images of the demo's training or test half, normalised, and their labels."""
    data = load_demo_data()
    pixels = torch.as_tensor(getattr(data, f"{part}_images")).float().div(255).sub(MEAN).div(DEVIATION).unsqueeze(1)
    return pixels, torch.as_tensor(getattr(data, f"{part}_labels")).long()


def batches(seed: int, epochs: float) -> Iterator[tuple[Tensor, Tensor]]:
    """So many epochs of training batches, in a new order each."""
    x, y = images("train")
    generator, count = torch.Generator().manual_seed(seed), round(epochs * len(y) / BATCH)
    orders = itertools.chain.from_iterable(
        torch.randperm(len(y), generator=generator).split(BATCH) for _ in itertools.count()
    )
    return ((x[chosen], y[chosen]) for chosen in itertools.islice(orders, count))


def train(model: nn.Module, seed: int, epochs: float, rate: float) -> None:
    """Adam, its rate falling to zero along a cosine."""
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    steps = list(batches(seed, epochs))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, len(steps)))
    for x, y in steps:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()


def quantized(name: str, bits: int, seed: int, epochs: float) -> tuple[nn.Module, Artifact]:
    """A network trained, quantized at one width, and fine-tuned for half as long; and the same packed."""
    torch.manual_seed(seed)
    model, (x, _) = NETWORKS[name](), images("train")
    train(model, seed, epochs, RATE)
    rule = sct.Quantize(bits=bits)
    sct.prepare_(model, sct.plan(model, x[:2], quantize=rule, maps=rule))
    for batch, _ in batches(seed + 1, 0.1):
        model.train()(batch)
    for site in maps_of(model):
        site.quantizer.start()
    sct.harden_(model)
    train(model, seed + 2, epochs / 2, RATE / 4)
    return model, sct.pack(model, x[:2])


def compared(artifact: Artifact, x: np.ndarray) -> dict[str, Any]:
    """Codes of every map and the outputs under both arithmetics."""
    assert artifact.graph is not None
    maps = [node for node in artifact.graph.nodes if node.op == "fake_quantize"]
    every = tuple(dict.fromkeys((*(node.output for node in maps), *artifact.graph.outputs)))
    watched = replace(artifact, graph=replace(artifact.graph, outputs=every))
    runs = [watched_outputs(watched, x, arithmetic) for arithmetic in ("integer", "float", "float64")]
    apart, exact = {}, dict.fromkeys(("integer", "float"), 0.0)
    for node in maps:
        ours, theirs, wide = (np.rint(run[node.output] / artifact.constants[node.inputs[1]]) for run in runs)
        steps = np.abs(ours - theirs)
        apart[node.output] = {"share": float((steps > 0).mean()), "most": int(steps.max())}
        exact["integer"] += float((ours != wide).mean()) / len(maps)
        exact["float"] += float((theirs != wide).mean()) / len(maps)
    (output,) = artifact.graph.outputs
    ours, theirs, _ = (run[output] for run in runs)
    step = float(artifact.constants[maps[-1].inputs[1]])
    return {
        "operations": len(artifact.graph.nodes),
        "integer": sum(row.arithmetic == "integer" for row in sct.integer_layers(artifact)),
        "maps": len(maps),
        "codes_apart_from_float64": exact,
        "codes_apart": sum(row["share"] for row in apart.values()) / len(apart),
        "most_steps_apart": max(row["most"] for row in apart.values()),
        "last_map": apart[maps[-1].output],
        "same_arg_max": float((ours.argmax(1) == theirs.argmax(1)).mean()),
        "largest_difference": float(np.abs(ours - theirs).max()),
        "mean_difference": float(np.abs(ours - theirs).mean()),
        "last_scale": step,
        "largest_output": float(np.abs(theirs).max()),
    }


def watched_outputs(artifact: Artifact, x: np.ndarray, arithmetic: str) -> dict[str, np.ndarray]:
    """Every quantized map and the output, by name, a few hundred images at a time."""
    assert artifact.graph is not None
    run = in_float64 if arithmetic == "float64" else partial(sct.interpret, arithmetic=arithmetic)
    parts = [run(artifact, part) for part in np.split(x, len(x) // 250)]
    return dict(zip(artifact.graph.outputs, map(np.concatenate, zip(*parts, strict=True)), strict=True))


def in_float64(artifact: Artifact, x: np.ndarray) -> tuple[np.ndarray, ...]:
    """The outputs of a graph, its operations computing in float64 (all but a mean's last rounding): next to exact."""
    graph = artifact.graph
    assert graph is not None
    values = {name: array.astype(np.float64) for name, array in artifact.constants.items()}
    values[graph.inputs[0]] = x.astype(np.float64)
    for node in graph.nodes:
        if node.op == "fake_quantize" and node.inputs[0] == graph.inputs[0]:  # where all begin with the same codes
            codes = OPS[node.op].run([x, artifact.constants[node.inputs[1]]], node.attributes, len(x))
            values[node.output] = codes.astype(np.float64)
            continue
        arrays = [values[name] for name in node.inputs]
        values[node.output] = OPS[node.op].run(arrays, node.attributes, len(x)).astype(np.float64)
    return tuple(values[name] for name in graph.outputs)


def main() -> None:
    """Every network, width and seed that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--bits", nargs="+", type=int, default=[4, 8])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=float, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    x, y = images("test")
    for name, bits, seed in itertools.product(options.networks, options.bits, options.seeds):
        _, artifact = quantized(name, bits, seed, options.epochs)
        asked = {"network": name, "bits": bits, "seed": seed, "epochs": options.epochs}
        for most in (MOST_FRACTION, 0):
            products.MOST_FRACTION = most
            fresh = replace(artifact)  # whose program is not made yet
            parts = [sct.interpret(fresh, part) for part in np.split(x.numpy(), len(x) // 250)]
            accuracy = float((np.concatenate(parts).argmax(1) == y.numpy()).mean())
            record("integer", **asked, most_fraction=most, accuracy=accuracy, **compared(fresh, x.numpy()))


if __name__ == "__main__":
    main()
