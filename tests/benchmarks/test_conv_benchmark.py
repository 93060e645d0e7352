"""What bench_conv.py rests on: the right layers, a float64 result, fair turns, ratios that leave wrong results out."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import bench_conv
import conv_table
from conv_layers import LAYERS, NETWORKS, Layer, arrays, reference
from conv_peers import CLASSES, ENGINES, PEERS, Form, Job, ours
from conv_turns import Turns, quartiles, ratios, rounds
from conv_worker import burst, error_of

SMALL = Layer(3, 5, 6, 4)
COUNTING = """
import sys, threading, json
turns = 0
def spin():
    global turns
    while True: turns += 1
threading.Thread(target=spin, daemon=True).start()
for line in sys.stdin:
    asked = json.loads(line)
    if "die" in asked: sys.exit("so it ends")
    print(json.dumps([[1e-3, 2e-3, 9e-3], 4e-3] if "run" in asked else turns), flush=True)
"""


@pytest.mark.parametrize(("network", "count"), [("ResNet-18", 13), ("ResNet-50", 13), ("VGG-16", 13)])
def test_networks_have_all_their_layers(network, count):
    """ResNet-18: 16 3x3 layers, 3 of stride 2. ResNet-50: 16, 3 of stride 2. VGG-16: 13."""
    assert sum(NETWORKS[network].values()) == count
    assert all(LAYERS[layer.name] is not None and layer.taps == 3 for layer in NETWORKS[network])


def test_the_reference_is_torch_in_float64_and_a_wrong_weight_shows():
    x, weight, bias = arrays(SMALL, 2)
    wanted = reference(SMALL, x, weight, bias)
    given = [torch.from_numpy(np.ascontiguousarray(a)).double() for a in (x.transpose(0, 3, 1, 2), weight, bias)]
    found = torch.nn.functional.conv2d(*given, padding=1).numpy().transpose(0, 2, 3, 1)
    assert np.abs(found - wanted).max() < 1e-12
    weight[2, 1, 0, 0] += 1e-2
    assert np.abs(reference(SMALL, x, weight, bias) - wanted).max() > 1e-4
    assert np.array_equal(arrays(SMALL, 2)[0], x)


def test_errors_are_relative_to_the_largest_result_and_found_in_every_image():
    wanted = np.array([[1.0, -4.0], [2.0, 3.0]])
    given = wanted.copy()
    form = Form("a", "b", lambda: None, lambda: given)
    assert error_of(form, wanted) == 0
    given[1, 0] += 0.4
    assert error_of(form, wanted) == pytest.approx(0.1)


def test_a_burst_has_two_calls_at_least_and_warms_up_first():
    calls = []
    form = Form("a", "b", lambda: calls.append(time.sleep(1e-3)), lambda: np.zeros(1))
    times, processor = burst(form, 0.0)
    assert len(times) == 2
    assert len(calls) > 2
    assert min(times) >= 1e-3 > processor  # asleep most of the time


def test_our_own_forms_are_right_in_every_class(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = arrays(SMALL, 1)
    forms = list(ours(Job(SMALL, 1, *data, tmp_path)))
    assert [form.competitor for form in forms] == list(CLASSES)
    assert all(error_of(form, reference(SMALL, *data)) < 1e-5 for form in forms)


@pytest.fixture
def turns(tmp_path):
    with Turns([sys.executable, "-c", COUNTING], tmp_path / "log") as process:
        yield process


def test_a_process_stands_still_while_it_is_not_its_turn(turns):
    turns.ask(count=True)
    state = Path(f"/proc/{turns._process.pid}/stat").read_text().rpartition(")")[2].split()
    time.sleep(0.05)
    later = Path(f"/proc/{turns._process.pid}/stat").read_text().rpartition(")")[2].split()
    assert state[0] == later[0] == "T"
    assert state[11:13] == later[11:13]
    assert turns.ask(count=True) > 0


def test_a_process_that_dies_says_why(turns):
    with pytest.raises(SystemExit, match="so it ends"):
        turns.ask(die=True)


def test_every_round_has_a_turn_of_everybody(turns):
    times, processor = rounds({"a": turns, "b": turns}, seconds=0, turn=0, least=3, most=9)
    assert times == {"a": [2e-3] * 3, "b": [2e-3] * 3}
    assert processor == {"a": [4e-3] * 3, "b": [4e-3] * 3}
    assert len(rounds({"a": turns}, seconds=1, turn=0, least=3, most=9)[0]["a"]) == 9


def test_ratios_are_of_the_same_round():
    times = {"we": [1.0, 2.0, 4.0], "they": [2.0, 4.0, 12.0]}
    assert ratios(times, ["we"], ["they"]) == {"we": {"they": [2.0, 2.0, 2.5]}}
    assert quartiles([3.0]) == [3.0] * 3


def row_with(layer, speeds, batch=1, wrong=()):
    """A row in which we take 1 ms and each peer as much as given."""
    errors = {**dict.fromkeys(CLASSES, 1e-6), **{peer: 1e-2 if peer in wrong else 1e-6 for peer in speeds}}
    found = {name: {"form": "f", "error": error, "wrong": error > bench_conv.WRONG} for name, error in errors.items()}
    times = {name: [1e-3 * speeds.get(name, 1.0)] * 3 for name in found}
    return {"layer": layer, "batch": batch, "threads": 1, **bench_conv.row_of(found, (times, times), 1e9)}


def test_a_wrong_result_is_shown_and_not_ranked():
    row = row_with("3x3 64-64@56", {"torch": 4.0, "torch.compile": 3.0, "ncnn": 2.0, "MNN": 1.5}, wrong=["MNN"])
    assert conv_table.fastest_peer(row) == "ncnn"
    assert conv_table.ratio(row, "default") == 2.0
    assert conv_table.ratio(row, "default", ("torch", "torch.compile")) == 3.0
    assert conv_table.ratio(row, "default", ("MNN",)) is None
    assert "1.5 wrong" in conv_table.layer_table([row])
    assert "WRONG: MNN" in bench_conv.progress(row, "")
    assert row["competitors"]["default"]["gflops"] == 1000.0


def test_bars_are_geometric_means_and_say_where_they_are_missed():
    speeds = {"torch": 4.0, "torch.compile": 9.0, "ncnn": 1.2}
    rows = {conv_table.key_of(row): row for row in (row_with(name, speeds) for name in conv_table.THREES)}
    slow = row_with(conv_table.THREES[0], {**speeds, "torch": 0.5})
    rows[conv_table.key_of(slow)] = slow
    table = conv_table.bar_table(rows, 1)
    mean = (4.0**12 * 0.5) ** (1 / 13)
    assert f"| {mean:.2f} | met | 0.50 ({conv_table.THREES[0]}) | 13 of 13 |" in table
    assert "over ncnn | default | 1.4 | 1.20 | MISSED" in table
    assert "1 thread, batch 1" in conv_table.summary(rows)


def test_finished_rows_of_this_machine_are_read_the_last_of_each(tmp_path):
    path = tmp_path / "conv.jsonl"
    assert conv_table.read(path, "m") == {}
    lines = [("m", 1), ("m", 2), ("other", 3)]
    path.write_text(
        "".join(
            json.dumps({"layer": "a", "batch": 1, "threads": 1, "machine": m, "x": x, "ratios": 0}) + "\n"
            for m, x in lines
        )
    )
    assert {key: row["x"] for key, row in conv_table.read(path, "m").items()} == {("a", 1, 1): 2}


def test_every_engine_says_who_binds_its_threads():
    assert {engine.binding for engine in ENGINES.values()} <= {"OpenMP", "worker", "itself"}
    assert set(PEERS) == {"torch", "torch.compile", "onnxruntime", "openvino", "ncnn", "MNN"}
    assert all(bar.peers is None or set(bar.peers) <= set(PEERS) for bar in conv_table.BARS)
