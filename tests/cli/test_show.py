"""`show` tells every byte of a file, and what differs between two."""

import dataclasses

import numpy as np

from balanced_matrices import random_balanced
from secateur.ir.artifact import Artifact
from secateur.ir.formats import from_dense
from secateur.ir.graph import Graph, Node, ValueType
from secateur.ir.map_names import key_of, scale_key


def test_table_and_totals(secateur, packed, artifact):
    ran = secateur("show", packed)
    assert ran.status == 0
    assert ran.err == ""
    size = packed.stat().st_size
    assert f"{size:,} bytes" in ran.out
    for name in artifact.tensors:
        assert f"\n{name} " in ran.out
    assert "runs: 3 operations" in ran.out
    assert "float32 (N, 4)" in ran.out
    assert "dead units removed: " in ran.out


def test_json_accounts_for_every_byte(secateur, packed):
    data = secateur("show", packed, "--json").json
    streams = sum(row["file"][part] for row in data["tensors"] for part in ("positions", "values", "scales", "framing"))
    frame = data["header_bytes"] + data["unit_mask_bytes"] + data["framing_bytes"]
    assert streams + frame == data["file_bytes"] == packed.stat().st_size
    assert data["float32_bytes"] == 4 * (32 + 8 + 16 + 2)
    assert data["graph"]["effective_macs"] < data["graph"]["macs"]
    assert data["units"][0]["kept"] < data["units"][0]["size"]


def test_difference_of_two_files(secateur, packed, artifact, tmp_path):
    same = secateur("show", packed, packed)
    assert (same.status, "hold the same" in same.out) == (0, True)
    name = "2.bias"
    changed = from_dense(artifact.tensors[name].to_dense() + np.float32(0.25))
    other = dataclasses.replace(
        artifact, tensors={**artifact.tensors, name: changed}, meta={**artifact.meta, "note": "changed"}
    )
    other.save(tmp_path / "other.secat")
    ran = secateur("show", packed, tmp_path / "other.secat")
    assert ran.status == 0
    assert "meta note: - -> changed" in ran.out
    row = next(line for line in ran.out.splitlines() if line.startswith(name))
    assert row.split()[-1] == "0.25"
    data = secateur("show", packed, tmp_path / "other.secat", "--json").json
    assert [change["name"] for change in data["tensors"]] == [name]


def test_a_tensor_only_one_file_holds(secateur, tmp_path):
    weight = from_dense(np.eye(3, dtype=np.float32))
    Artifact(None, {"a": weight}, {"weights_only": "test"}).save(tmp_path / "a.secat")
    Artifact(None, {"b": weight}, {"weights_only": "test"}).save(tmp_path / "b.secat")
    ran = secateur("show", tmp_path / "a.secat", tmp_path / "b.secat")
    assert "3 -> absent" in ran.out
    assert "absent -> 3" in ran.out
    assert "weights only" in secateur("show", tmp_path / "a.secat").out


def test_names_in_a_file_cannot_steer_the_terminal(secateur, tmp_path):
    weight = from_dense(np.eye(3, dtype=np.float32))
    Artifact(None, {"a\x1b[2Jb": weight}, {"weights_only": "\x07\x9b"}).save(tmp_path / "a.secat")
    ran = secateur("show", tmp_path / "a.secat")
    assert ran.status == 0
    assert "a\\x1b[2Jb" in ran.out
    assert not {"\x1b", "\x07", "\x9b"} & set(ran.out)


def test_what_is_no_artifact_ends_with_one_line(secateur, tmp_path):
    (tmp_path / "x.secat").write_bytes(b"no artifact at all")
    for path in (tmp_path / "x.secat", tmp_path / "missing.secat", tmp_path):
        ran = secateur("show", path)
        assert (ran.status, ran.out) == (2, "")
        assert ran.err.startswith("error: ")
        assert ran.err.count("\n") == 1


def test_a_limit_of_bytes_holds_for_both_files(secateur, packed):
    for files in ([packed], [packed, packed]):
        ran = secateur("show", *files, "--max-bytes", 40)
        assert (ran.status, "40 are allowed" in ran.err) == (2, True)


def test_maps_and_what_runs_in_integers(secateur, quantized_maps, packed):
    path, artifact = quantized_maps
    ran = secateur("show", path)
    assert ran.status == 0
    count = len(artifact.graph.nodes)
    assert f"arithmetic: {count - 1} of {count} operations in integers" in ran.out
    assert "\n  q0 quantizes float32: reads x, which is float32\n" in ran.out
    graph = secateur("show", path, "--json").json["graph"]
    assert graph["largest_map"] in graph["maps"]
    assert graph["largest_map_bytes"] == max(row["bytes"] for row in graph["maps"])
    assert graph["bit_operations"] == sum(row["bit_operations"] for row in graph["layers"])
    assert f"bit operations: {graph['bit_operations']:,} (" in ran.out
    assert f", {graph['largest_map_bytes']:,} bytes" in ran.out
    assert [row["arithmetic"] for row in graph["arithmetic"]] == ["quantize", *["integer"] * (count - 1)]
    assert {row["map"] for row in graph["maps"]} == {None}
    own = {"s0": scale_key("x"), "s1": scale_key(key_of("fc.relu"))}
    nodes = [dataclasses.replace(n, inputs=tuple(own.get(i, i) for i in n.inputs)) for n in artifact.graph.nodes]
    types = {own.get(name, name): one for name, one in artifact.graph.types.items()}
    tensors = {own.get(name, name): one for name, one in artifact.tensors.items()}
    renamed = dataclasses.replace(artifact.graph, nodes=tuple(nodes), types=types, constants=tuple(tensors))
    dataclasses.replace(artifact, graph=renamed, tensors=tensors).save(path)
    named = secateur("show", path, "--json").json["graph"]
    assert {row["name"]: row["map"] for row in named["maps"]}.items() >= {"q0": "x", "q1": "fc.relu"}.items()
    assert f"largest map: {named['largest_map']['map']} " in secateur("show", path).out
    plain = secateur("show", packed, "--json").json["graph"]
    assert plain["arithmetic"] == []
    assert plain["bit_operations"] == 32 * 32 * plain["effective_macs"]
    assert "arithmetic:" not in secateur("show", packed).out


def test_products_of_maps_are_told_apart_from_work_on_weights(secateur, tmp_path):
    path, square = tmp_path / "products.secat", ValueType((-1, 4, 4))
    nodes = (Node("linear", ("x", "w"), "h"), Node("matmul", ("h", "x"), "y"))
    types = {"x": square, "w": ValueType((4, 4)), "h": square, "y": square}
    Artifact(Graph(("x",), ("y",), ("w",), nodes, types), {"w": from_dense(np.eye(4, dtype=np.float32))}).save(path)
    graph = secateur("show", path, "--json").json["graph"]
    products, dense, weights = 64, 64, 16
    assert (graph["macs"], graph["effective_macs"], graph["map_macs"]) == (products + dense, weights, products)
    assert (graph["bit_operations"], graph["map_bit_operations"]) == (1024 * weights, 1024 * products)
    shown = secateur("show", path).out
    assert f"{dense:,} MACs dense, {weights:,} on non-zero weights, and {products:,} of products of maps" in shown
    assert f"bit operations of products of maps: {1024 * products:,}, not in those on weights" in shown


def test_patterns_have_a_column(secateur, packed, tmp_path):
    assert not any(line.endswith(" pattern") for line in secateur("show", packed).out.splitlines())
    weight, other = random_balanced(16, 64, 4), np.ones((2, 2), np.float32)
    weight[0, 0:16] *= np.arange(16) < 8
    tensors = {"balanced": from_dense(weight), "full": from_dense(other)}
    Artifact(None, tensors, {"weights_only": "test"}).save(tmp_path / "a.secat")
    lines = secateur("show", tmp_path / "a.secat").out.splitlines()
    row = next(line for line in lines if line.startswith("balanced "))
    assert "4:16: " in row
    assert "of 4 a group, " in row
    assert "of lanes idle" in row
    assert next(line for line in lines if line.startswith("full ")).split()[-1] == "-"
    found, none = (row["pattern"] for row in secateur("show", tmp_path / "a.secat", "--json").json["tensors"])
    assert none is None
    assert found["pattern"] == "4:16"
    assert sum(found["counts"]) == 64
    assert found["idle"] == 1 - found["mean"] / found["most"]
