"""What the demo tells: one table of before and after, and the report."""

from __future__ import annotations

from collections.abc import Callable

from secateur.cli.demo_line import VALUES, DemoResult
from secateur.ir.artifact import Artifact
from secateur.ir.count import Count, count
from secateur.reporting.facts import Training
from secateur.reporting.layers import layer_rows
from secateur.reporting.measurement import Change, Measurement
from secateur.reporting.report import Report, report

VALIDATION = "accuracy on 1,000 validation images"


def summary(result: DemoResult) -> list[Change]:
    """Before and after: what the network knows, how many weights it has, how many bytes."""
    before, after = _count(result.dense), _count(result.packed)

    def both(name: str, unit: str, of: Callable[[Count], float], how: str) -> Change:
        return Change(Measurement(name, of(before), unit, how), Measurement(name, of(after), unit, how))

    return [
        Change(
            Measurement("accuracy", result.accuracy_dense, "fraction", "torch on 2,000 test images, read once"),
            Measurement("accuracy", result.accuracy_packed, "fraction", "demo.secat in numpy on the same"),
        ),
        Change(
            Measurement("density", _density(result, result.dense), "fraction", "non-zeros in 4 weight tensors"),
            Measurement("density", _density(result, result.packed), "fraction", "the same in demo.secat"),
        ),
        Change(
            Measurement("file size", _bytes(result.dense), "bytes", "dense, packed as float32"),
            Measurement("file size", _bytes(result.packed), "bytes", f"whole demo.secat, {VALUES} values"),
        ),
        both("parameters", "weights", lambda c: c.parameters, "all tensors; after: without dead units"),
        both("multiply-accumulates", "macs", lambda c: c.effective_macs, "one image, on non-zero weights"),
    ]


def verified(result: DemoResult) -> str:
    """What the comparison with torch found, in a sentence."""
    found = result.check
    same = round(found.agreement * found.examples)
    return (
        f"demo.secat in numpy and the torch model restored from it give the same class for {same:,} of "
        f"{found.examples:,} test images; outputs differ by at most {found.relative_difference:.0e} of the largest"
    )


def demo_report(result: DemoResult, took: str) -> Report:
    """The report; took: a sentence on time and threads."""
    fitted = result.fitted
    sizes = {row.name: row.size for row in result.plan}
    course = Training.of(fitted.history, sizes, VALIDATION, "fraction")
    notes = [
        "LeNet-5 in Caffe's form was trained on 7,000 images of Fashion-MNIST and then pruned itself: every tensor "
        "learned its own threshold by back-propagation (US20190180184A1), until the network kept the number of weights "
        "that was asked for. 1,000 further training images steered and are what the curves show; the test images were "
        "read once, at the end.",
        "Hardening the soft gates to exact masks took accuracy on the validation images from "
        f"{100 * fitted.score_soft:.1f} to {100 * fitted.score_hard:.1f} %; all learned thresholds were multiplied by "
        f"{fitted.hardening.factor:.3f} to meet the density to the weight.",
        f"Verified: {verified(result)}.",
        took,
    ]
    return report(
        result.packed,
        title="LeNet-5 on Fashion-MNIST, self-pruned",
        summary=summary(result),
        training=Training(course.score, (*result.epochs, *course.epochs), course.unit),
        layers=layer_rows(result.plan, result.packed, fitted.hardening, result.histograms),
        notes=notes,
    )


def _count(artifact: Artifact) -> Count:
    assert artifact.graph is not None  # every operation of this network has its row
    return count(artifact.graph, artifact.constants)


def _density(result: DemoResult, artifact: Artifact) -> float:
    rows = result.plan.pruned
    return sum(artifact.tensors[row.name].nonzeros for row in rows) / sum(row.size for row in rows)


def _bytes(artifact: Artifact) -> int:
    return artifact.bytes_by_stream().total
