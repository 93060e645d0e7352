"""compress() with quantized feature maps: both targets hold in the file, rows of maps, and exact resuming."""

import os
import signal
import warnings

import pytest
from tiny_task import OPTIONS, STEPS, failing_loss, tiny_task

from secateur.compression.compress import compress
from secateur.compression.result import Compression
from secateur.errors import SecateurWarning, TargetError
from secateur.ir.artifact import Artifact
from secateur.ir.plan_rows import NOT_CHOSEN
from secateur.ir.rules import Prune, Quantize
from secateur.ir.target import Target
from secateur.nn.planning import plan

TARGET = Target(bit_operations=9_000, largest_map_bytes=12)


def rows(**rules):
    task = tiny_task()
    rules = {"prune": Prune(), "quantize": Quantize((2, 8)), "maps": Quantize((2, 8)), **rules}
    return plan(task.model, task.example, **rules)


def run(folder, target=TARGET, loss=None, **rules):
    task = tiny_task(loss) if loss else tiny_task()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecateurWarning)
        return compress(task, target, out=folder, plan=rows(**rules), options=OPTIONS)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps") / "run"
    return folder, run(folder)


def test_the_targets_hold_and_the_rows_say_how(finished):
    folder, result = finished
    assert result.met
    assert 0 < result.bit_operations <= 9_000
    quantized = [row for row in result.maps if row.bits is not None]
    assert len(quantized) == 3
    assert all(row.bytes == (row.values * row.bits + 7) // 8 <= 12 for row in quantized)
    assert [row.reason for row in result.maps if row.bits is None] == ["an output of the model stays float"]
    by_hand = 0
    maps = {row.name: row.bits for row in quantized}
    for row in rows():
        if row.reuse:
            found = next(layer for layer in result.layers if layer.name == row.name)
            reading = [one.name for one in rows().quantized_maps if row.name in one.reads]
            by_hand += found.nonzeros * found.bits * maps[reading[0]]
    assert result.bit_operations == by_hand
    graph = Artifact.load(folder / "model.secat").graph
    assert sum(node.op == "fake_quantize" for node in graph.nodes) == 3


def test_the_result_can_be_read_again_and_printed(finished):
    folder, result = finished
    again = Compression.from_json((folder / "result.json").read_text())
    assert again == result
    assert "rule or why float" in str(result)
    page = (folder / "report.html").read_text()
    assert 'id="maps"' in page
    assert "Bits by tensor and feature map" in page
    assert "Cost: bit operations" in page


@pytest.mark.parametrize("step", [7, 13, STEPS - 1])
def test_interrupted_it_goes_on_to_the_same_bytes(tmp_path, finished, step):
    def interrupt(found):
        os.kill(os.getpid(), signal.SIGINT)
        return found

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", loss=failing_loss(step, interrupt))
    run(tmp_path / "run")
    assert (tmp_path / "run" / "model.secat").read_bytes() == (finished[0] / "model.secat").read_bytes()


def test_layers_that_the_plan_keeps_count_and_can_be_too_much(tmp_path):
    kept = rows().replace("4.weight", prune=None, quantize=None)
    widest = 16 * 16 * 32 * 8
    with pytest.raises(TargetError, match=f"what the plan keeps in float32 takes {widest:,}"):
        compress(tiny_task(), Target(bit_operations=widest), out=tmp_path / "much", plan=kept, options=OPTIONS)
    target = Target(bit_operations=widest + 9_000)
    result = compress(tiny_task(), target, out=tmp_path / "kept", plan=kept, options=OPTIONS)
    (reads,) = [row.name for row in kept.quantized_maps if "4.weight" in row.reads]
    (bits,) = [row.bits for row in result.maps if row.name == reads]
    assert 16 * 16 * 32 * bits < result.bit_operations <= widest + 9_000


def test_a_large_map_kept_by_choice_is_named(tmp_path):
    chosen = rows()
    name = chosen.quantized_maps[1].name
    chosen = chosen.replace(name, maps=None)
    assert chosen.map(name).reason == NOT_CHOSEN
    with pytest.raises(TargetError, match=f"the map {name} is kept in float32 and takes .* or give it a rule"):
        compress(tiny_task(), TARGET, out=tmp_path / "run", plan=chosen, options=OPTIONS)


def test_missed_is_told(tmp_path):
    with pytest.raises(TargetError, match="largest_map_bytes"):
        run(tmp_path / "run", Target(largest_map_bytes=3))
