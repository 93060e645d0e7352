"""Rows say what a file holds, to the byte; differences say what changed and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from random_networks import Net
from sample_artifacts import tiny

from balanced_matrices import random_balanced
from secateur.ir.artifact import Artifact
from secateur.ir.describe import FactChange, PatternRow, describe, difference
from secateur.ir.formats import Dense, from_dense, on_grid
from secateur.ir.graph import Node
from secateur.ir.grid import Grid
from secateur.ir.records import UnitGroup


def test_a_row_a_tensor():
    artifact = tiny()
    rows = {row.name: row for row in describe(artifact)}
    assert list(rows) == list(artifact.tensors)
    row = rows["fc.weight"]
    assert (row.shape, row.original_shape, row.dtype) == ((3, 8), (3, 20), "float16")
    assert row.nonzeros == artifact.tensors["fc.weight"].nonzeros == 5
    assert row.density == 5 / 60
    assert row.float32_bytes == 240
    assert row.file.positions_code == "contexts"
    assert rows["table"].file.positions_code == "dense"
    assert rows["mask"].file.values_code == "bits"
    assert row.file == artifact.bytes_by_stream().tensors["fc.weight"]


def test_a_pattern_is_found_in_every_form_a_tensor_is_stored_in():
    weight = np.where(random_balanced(32, 64, 4) != 0, 1.5, 0).astype(np.float32)
    forms = {"float": from_dense(weight), "codes": on_grid(weight, Grid(8, np.full(32, 0.5, np.float32)))}
    assert {type(one).__name__ for one in forms.values()} == {"Sparse", "Quantized"}
    for row in describe(Artifact(None, forms)):
        assert row.pattern == PatternRow("4:16", (0, 0, 0, 0, 128), 4.0, 4, 0.0)
    assert all(row.pattern is None for row in describe(tiny()))


def test_inputs_of_a_transposed_convolution_lie_on_its_first_axis():
    weight = np.ascontiguousarray(random_balanced(24, 32, 4).T)[:, :, None, None]
    net = Net(-1, 32, 3, 3)
    net.conv_transpose("x", "up", 24, 1, False)
    net.constants["up.weight"] = weight
    tensors = {name: from_dense(array) for name, array in net.constants.items()}
    (row,) = describe(Artifact(net.graph("v0"), tensors))
    assert row.pattern is not None
    assert row.pattern.pattern == "4:16"


def test_empty_tensors_have_rows():
    weights = Artifact(None, {"none": Dense(np.zeros((0, 3), dtype=np.float32))})
    (row,) = describe(weights)
    assert (row.nonzeros, row.density, row.float32_bytes, row.file.values_code) == (0, 0.0, 0, "none")


def test_equal_artifacts_do_not_differ():
    found = difference(tiny(), Artifact.from_bytes(tiny().to_bytes()))
    assert (found.tensors, found.facts) == ((), ())
    assert found.file_bytes_before == found.file_bytes_after == len(tiny().to_bytes())


def changed(name: str, array: np.ndarray) -> Artifact:
    return replace(tiny(), tensors={**tiny().tensors, name: Dense(array)})


def test_a_changed_tensor_is_measured():
    after = changed("conv.bias", np.array([0, 1.25], dtype=np.float32))
    (change,) = difference(tiny(), after).tensors
    assert (change.name, change.largest) == ("conv.bias", 0.25)
    assert change.before == describe(tiny())[1]
    assert change.after == describe(after)[1]


def test_values_that_are_no_numbers_differ_without_bound():
    nan = changed("conv.bias", np.array([0, np.nan], dtype=np.float32))
    assert [change.largest for change in difference(tiny(), nan).tensors] == [np.inf]
    other = changed("conv.bias", np.array([0.5, np.nan], dtype=np.float32))
    assert [change.largest for change in difference(nan, other).tensors] == [0.5]
    infinite = changed("conv.bias", np.array([np.inf, 1], dtype=np.float32))
    assert difference(infinite, infinite).tensors == ()


def test_a_single_number_is_measured_too():
    first, second = (Artifact(None, {"scale": Dense(np.array(scale, np.float32))}) for scale in (0.5, 0.75))
    (change,) = difference(first, second).tensors
    assert (change.name, change.largest) == ("scale", 0.25)


def test_another_form_of_the_same_values_is_a_change_of_zero():
    after = changed("fc.weight", tiny().tensors["fc.weight"].to_dense())
    (change,) = difference(tiny(), after).tensors
    assert change.largest == 0.0
    assert change.after
    assert change.after.file.positions_code == "dense"


def test_tensors_that_come_and_go():
    fewer = {name: tensor for name, tensor in tiny().tensors.items() if name != "table"}
    after = replace(tiny(), tensors={**fewer, "new": from_dense(np.eye(3, dtype=np.float32))})
    came_and_went = [
        (change.name, change.before is None, change.after is None, change.largest)
        for change in difference(tiny(), after).tensors
    ]
    assert came_and_went == [("table", False, True, None), ("new", True, False, None)]


def test_tensors_cut_to_other_units_are_compared_where_they_were():
    """Two artifacts of one model, of which the second lost one more unit."""
    weight = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    parts = []
    for kept in ([True, True, False, True], [True, False, False, True]):
        mask = np.array(kept)
        tensors = {"w": Dense(np.delete(weight, 3, axis=1)[:, : mask.sum()])}
        parts.append(Artifact(None, tensors, units=(UnitGroup(4, mask),), axes={"w": {1: (0, 1)}}))
    found = difference(*parts)
    (change,) = found.tensors
    assert change.largest == 10.0
    assert found.facts == (FactChange("units removed", "1", "2"),)
    parts[1] = Artifact(None, {"w": Dense(weight[:2])})
    assert difference(*parts).tensors[0].largest is None


def test_facts_that_changed():
    before = tiny()
    assert before.graph
    nodes = tuple(
        replace(node, op="leaky_relu", attributes={"slope": 0.5}) if node.op == "relu" else node
        for node in before.graph.nodes
    )
    after = replace(before, graph=replace(before.graph, nodes=nodes), meta={"name": "other"}, folds=())
    facts = {fact.what: (fact.before, fact.after) for fact in difference(before, after).facts}
    assert facts["meta name"] == ("tiny", "other")
    assert facts["folds"] == ("bn into conv", "-")
    assert facts["operations relu"] == ("1", "-")
    assert facts["node active"] == ("relu(maps)", "leaky_relu(maps, slope=0.5)")
    assert "inputs" not in facts
    weights = {fact.what: (fact.before, fact.after) for fact in difference(before, replace(before, graph=None)).facts}
    assert weights["graph"] == ("runs", "weights only")
    assert weights["inputs"] == ("image float32 (N, 1, 6, 6)", "-")


def test_a_renamed_node_is_said():
    before = tiny()
    assert before.graph
    relu = Node("relu", ("maps",), "renamed")
    pool = replace(before.graph.nodes[2], inputs=("renamed",))
    nodes = (before.graph.nodes[0], relu, pool, *before.graph.nodes[3:])
    types = {("renamed" if name == "active" else name): kind for name, kind in before.graph.types.items()}
    after = replace(before, graph=replace(before.graph, nodes=nodes, types=types))
    facts = difference(before, after).facts
    assert [fact.what for fact in facts] == ["node active", "node pooled", "node renamed"]
    assert facts[0].after == "-"
