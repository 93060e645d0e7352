"""An artifact and a report in which every section has something to show, and names try to break out of the page."""

import math

import numpy as np

from secateur.ir.artifact import Artifact
from secateur.ir.formats import from_dense
from secateur.ir.records import UnitGroup
from secateur.reporting.facts import Epoch, Training, WeightHistogram
from secateur.reporting.measurement import Change, Measurement
from secateur.reporting.report import report

HOSTILE = '</script><script>alert("&1")</script>'


def sample_artifact(name="fc1.weight"):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(3, 40)).astype(np.float32) * (rng.random((3, 40)) < 0.1)
    kept = np.array([True, False, True, True, False])
    tensors = {name: from_dense(weight.astype(np.float32), "float16"), "fc1.bias": from_dense(np.ones(3, np.float32))}
    return Artifact(
        None, tensors, {"weights_only": "test"}, (UnitGroup(5, kept),), {name: {0: (0, 1)}, "fc1.bias": {0: (0, 1)}}
    )


def sample_report(name="fc1.weight", title="A network"):
    epochs = [Epoch("dense", 0.5, 0.8, 1.0)]
    epochs += [Epoch("prune", 0.4, 0.9, d, {name: d}, {name: 0.1 / d}) for d in (1.0, 0.5, 0.1)]
    epochs += [Epoch("finetune", math.nan, 0.91, 0.1, {name: 0.1}, {name: 1.0})]
    rng = np.random.default_rng(1)
    weights = {"trained, dense": rng.normal(size=200), "after self-pruning": rng.laplace(size=200)}
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
        histograms=[WeightHistogram.of(name, weights, 0.5)],
        notes=[f"A note on {title}."],
    )
