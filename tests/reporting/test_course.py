"""What changed over training: every fact has its chart and its column."""

import math
import re

from sample_report import deep_report, sample_report

from secateur.reporting.course import bands_of, course, tensor_charts
from secateur.reporting.facts import Epoch, Training

SMALL = [
    "Cosine to the dense embeddings, 500 passages", "Loss of the task", "Terms of the loss", "Density", "Cost: density",
    "Cost: bytes of the file", "Multipliers",
]  # fmt: skip


def test_every_fact_has_its_chart():
    found = course(deep_report(3, 20).training)
    assert [picture.heading for picture in found.small] == SMALL
    assert [picture.heading for picture in found.wide] == ["Density by tensor", "Thresholds by tensor"]
    assert all(picture.chart.startswith("<svg") for picture in (*found.small, *found.wide))
    terms = next(picture.chart for picture in found.small if picture.heading == "Terms of the loss")
    assert all(f"{name}: from" in terms for name in ("task", "budget", "distillation"))
    cost = next(picture.chart for picture in found.small if picture.heading == "Cost: bytes of the file")
    assert re.search(r"cost: from 100 MB to [\d.]+ MB; asked for: from 90 MB to", cost)


def test_every_epoch_is_a_row_of_numbers():
    found = course(sample_report().training)
    assert found.header == (
        "epoch", "phase", "score", "loss", "task", "budget", "density", "cost: density", "asked for",
        "multiplier: density",
    )  # fmt: skip
    assert found.rows[0] == ("1", "dense", "80 %", "0.5", "-", "-", "100 %", "-", "-", "-")
    assert found.rows[2] == ("3", "prune", "90 %", "0.4", "0.3", "0.5", "50 %", "50.00 %", "45.00 %", "0.5")
    assert found.rows[-1][3] == "-"  # a loss that is not a number


def test_what_was_not_recorded_is_left_out():
    bare = Training("accuracy", (Epoch("prune", math.nan, 0.5, 1.0),))
    assert [picture.heading for picture in course(bare).small] == ["Accuracy", "Density"]
    assert course(bare).wide == ()
    assert course(Training("accuracy", ())).small == ()


def test_names_are_shortened_to_what_tells_them_apart():
    (densities, _) = course(deep_report(3, 5).training).wide
    assert "0.attention.self.query" in densities.chart
    assert "encoder" not in densities.chart


def test_a_wish_unknown_to_the_page_is_shown_as_it_is_called():
    epochs = tuple(Epoch("prune", 0.5, 0.5, 1.0, costs={"joules": (2.0, 1.0)}) for _ in range(2))
    found = course(Training("accuracy", epochs))
    assert "Cost: joules" in [picture.heading for picture in found.small]
    assert "cost: joules" in found.header


def learned_widths():
    taken = [{}, {"2": 0.5, "4": 0.5}, {"2": 0.1, "4": 0.9}, {}]
    epochs = [
        Epoch("prune" if n < 3 else "finetune", 0.5, 0.5, 1.0, bits={"fc1.weight": 3.0, "relu": 4.0},
              shares={"fc1.weight": shares} if shares else {},
              rounding={"fc1.weight": 0.1 / n, "relu": 0.02} if shares else {})
        for n, shares in enumerate(taken)
    ]  # fmt: skip
    return Training("accuracy", tuple(epochs))


def test_what_rounding_costs_is_drawn_while_widths_are_learned():
    pictures = {picture.heading: picture for picture in course(learned_widths()).wide}
    chart = pictures["Loss by rounding, by tensor and feature map"].chart
    assert "fc1.weight: from 0.1 to 0.05" in chart
    assert "relu: from 0.02 to 0.02" in chart
    assert chart.index("fc1.weight") < chart.index("relu"), "those first that cost most"
    assert "Loss by rounding" not in "".join(p.heading for p in course(sample_report().training).wide)


def test_distances_of_norms_and_their_multipliers_are_drawn_by_layer():
    epochs = [
        Epoch("train", 0.5, 0.5, 1.0, norms={"norm1": (0.3 / n, 0.5, 0.01 * n), "norm2": (0.9, 1.5, 0.02)})
        for n in (1, 2)
    ]
    pictures = {picture.heading: picture.chart for picture in course(Training("accuracy", tuple(epochs))).wide}
    assert "norm1: from 0.3 to 0.15" in pictures["Distance from mean 0, by layer"]
    assert "norm2: from 1.5 to 1.5" in pictures["Distance from the wanted variance, by layer"]
    assert "norm1: from 0.01 to 0.02" in pictures["Multipliers of normalization, by layer"]
    assert not any("normalization" in p.heading for p in course(sample_report().training).wide)


def test_the_probabilities_of_widths_are_drawn_by_tensor():
    pictures = {picture.heading: picture.chart for picture in tensor_charts(learned_widths(), "fc1.weight")}
    assert "2 bits: from 50 % to 10 %" in pictures["Probability of widths"]
    assert "4 bits: from 50 % to 90 %" in pictures["Probability of widths"]
    assert "Probability of widths" not in {p.heading for p in tensor_charts(learned_widths(), "relu")}


def test_phases_are_bands():
    bands = [(band.label, band.first, band.last) for band in bands_of(sample_report().training)]
    assert bands == [("dense", 1, 1), ("prune", 2, 4), ("finetune", 5, 5)]


def test_one_tensor_over_the_epochs():
    training = sample_report().training
    assert [picture.heading for picture in tensor_charts(training, "fc1.weight")] == ["Density", "Threshold"]
    assert tensor_charts(training, "unknown") == []
