"""An artifact and a report in which every section has something to show, and names try to break out of the page."""

import json
import math
from dataclasses import replace

import numpy as np

from secateur.ir.artifact import Artifact
from secateur.ir.formats import from_dense
from secateur.ir.pattern import GroupCounts
from secateur.ir.records import UnitGroup
from secateur.reporting.facts import Epoch, Training
from secateur.reporting.layers import LayerRow
from secateur.reporting.measurement import Change, Measurement
from secateur.reporting.report import report
from secateur.reporting.weight_histogram import WeightHistogram

HOSTILE = '</script><script>alert("&1")</script>'


def sample_artifact(name="fc1.weight"):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(3, 40)).astype(np.float32) * (rng.random((3, 40)) < 0.1)
    kept = np.array([True, False, True, True, False])
    tensors = {name: from_dense(weight.astype(np.float32), "float16"), "fc1.bias": from_dense(np.ones(3, np.float32))}
    return Artifact(
        None, tensors, {"weights_only": "test"}, (UnitGroup(5, kept),), {name: {0: (0, 1)}, "fc1.bias": {0: (0, 1)}}
    )


def sample_layers(name="fc1.weight"):
    rng = np.random.default_rng(1)
    weights = {"trained, dense": rng.normal(size=200), "after self-pruning": rng.laplace(size=200)}
    histogram = WeightHistogram.of(name, weights, 0.5)
    why = f"{name} has no pruning rule"
    return (
        LayerRow(
            name, "Linear", (5, 40), "pruned", "", "threshold per tensor", 0.5, 200, 12, 3, 800, 90, 200, 12, histogram
        ),
        LayerRow("fc2.weight", "Linear", (2, 5), "kept", "kept by choice", "", math.nan, 10, 10, 0, 40, 50, 10, 10),
        LayerRow("fc1.bias", "Linear", (5,), "skipped", why, "", math.nan, 5, 3, 0, 20, 30, 0, 0),
        LayerRow(
            "fc3.weight",
            "Linear",
            (2, 2),
            "quantized",
            "",
            "2-8 bits per tensor",
            math.nan,
            4,
            4,
            0,
            16,
            8,
            4,
            4,
            bits=4,
        ),
        LayerRow(
            "fc4.weight",
            "Linear",
            (4, 16),
            "pruned",
            "",
            "balanced 4:16",
            0.3,
            64,
            16,
            5,
            256,
            60,
            64,
            16,
            pattern="4:16",
            groups=GroupCounts((0, 0, 1, 0, 2, 1), (0, 0, 0, 0, 4)),
        ),
    )


def sample_report(name="fc1.weight", title="A network"):
    epochs = [Epoch("dense", 0.5, 0.8, 1.0)]
    for d in (1.0, 0.5, 0.1):
        pressed = {
            "multipliers": {"density": 1 - d},
            "costs": {"density": (d, 0.9 * d)},
            "terms": {"task": 0.3, "budget": d},
        }
        epochs += [Epoch("prune", 0.4, 0.9, d, {name: d}, {name: 0.1 / d}, **pressed)]
    epochs += [Epoch("finetune", math.nan, 0.91, 0.1, {name: 0.1}, {name: 1.0})]
    how = "1,000 images & more"
    summary = (
        Change(Measurement("accuracy", 0.9, "fraction", how), Measurement("accuracy", 0.895, "fraction", how)),
        Change(Measurement("file size", 900, "bytes", "before"), Measurement("file size", 90, "bytes", title)),
    )
    return report(
        sample_artifact(name),
        title=title,
        summary=summary,
        training=Training(f"accuracy on {title}", tuple(epochs), "fraction"),
        layers=sample_layers(name),
        notes=[f"A note on {title}."],
    ).with_speed(json.dumps(sample_speed(name.removesuffix(".weight"))))


def sample_speed(name="fc1"):
    """The account of an accelerated model, as it writes it: a kernel that gains, one that does not, and none."""
    left = {"reason": "sparse is not faster by more than noise", "before_us": 9.5, "after_us": 12.0, "error": 2e-7}
    ran = {"algorithm": "balanced 4:16 int8", "before_us": 120.25, "after_us": 30.5, "error": 0.0123, "zeros": "75%"}
    return {
        "accuracy": "int8",
        "limit": 0.05,
        "threads": 1,
        "layers": [
            {"name": name, "shape": "8x40, 5x40", "fused": ["batch norm", "relu"], **ran},
            {"name": "fc2", "shape": "8x5, 2x5", **left},
            {"name": "attention", "shape": "", "reason": "kernels compute Conv1d, Conv2d and Linear"},
        ],
        "before_us": 140.0,
        "after_us": 50.0,
        "difference": 0.011,
        "notes": ["not traced"],
        "replaced": 1,
    }


def deep_report(layers, epochs):
    """A run of many pruned tensors with long names, each with its bias, over many epochs: nothing is round."""
    made, rng = sample_report(), np.random.default_rng(0)
    names = [f"encoder.layer.{n // 2}.{('attention.self.query', 'output.dense')[n % 2]}.weight" for n in range(layers)]
    rows, tensors = [], []
    for name in names:
        weights, density, threshold = (
            int(rng.integers(50_000, 3_000_000)),
            rng.uniform(0.01, 0.4),
            rng.uniform(0.01, 0.1),
        )
        before = rng.normal(size=500) * 0.05
        series = {"trained, dense": before, "after self-pruning": before + rng.laplace(size=500) * 0.01}
        row = replace(
            made.layers[0], name=name, shape=(768, weights // 768), threshold=threshold, weights=weights,
            nonzeros=int(density * weights), moved=int(rng.integers(100)), bytes_before=4 * weights,
            bytes_after=int(2.7 * density * weights), macs_before=128 * weights,
            macs_after=int(128 * density * weights), histogram=WeightHistogram.of(name, series, threshold),
        )  # fmt: skip
        bias = name.replace("weight", "bias")
        rows += [row, replace(made.layers[2], name=bias, reason="Linear.bias has no pruning rule")]
        held = replace(made.tensors[0], name=name, nonzeros=row.nonzeros, density=density, float32_bytes=4 * weights)
        tensors += [held, replace(made.tensors[1], name=bias)]
    course = [_deep_epoch(rows[::2], done / epochs) for done in range(epochs)]
    training = Training("cosine to the dense embeddings, 500 passages", tuple(course))
    return replace(made, title="A deep network", layers=tuple(rows), tensors=tuple(tensors), training=training)


def _deep_epoch(rows, done):
    densities = {row.name: row.density**done for row in rows}
    mean = float(np.mean(list(densities.values())))
    return Epoch(
        "prune" if done < 0.7 else "finetune", 0.3 + 0.5 * math.exp(-9 * done), 0.9 - 0.1 * done, mean, densities,
        {row.name: row.threshold * (0.1 + done) for row in rows},
        {"density": 0.3 * done, "packed_bytes": 0.1 * done},
        {"density": (mean, 0.9 * mean), "packed_bytes": (1e8 * mean, 9e7 * mean)},
        {"task": 0.3 + 0.5 * math.exp(-9 * done), "budget": 0.1 * done * (1 - done), "distillation": 0.2 * done},
    )  # fmt: skip
