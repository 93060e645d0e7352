"""An artifact and a report in which every section has something to show, and names try to break out of the page."""

import math

import numpy as np

from secateur.ir.artifact import Artifact
from secateur.ir.formats import from_dense
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
    )
