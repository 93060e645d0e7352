"""What a graph would take is known before anything is computed, for every operation, and limits hold."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from math import prod

import numpy as np
import pytest
from sample_artifacts import tiny
from sample_graphs import one_node, small_net

from secateur.errors import DataError
from secateur.ir.effort import check_effort, constant_bytes, effort_of, fixed_batch, last_reads, runnable_batch
from secateur.ir.execute import interpret
from secateur.ir.graph import Graph, Node, ValueType
from secateur.ir.interpret import run_graph
from secateur.ir.ops import OPS
from secateur.ir.ops.op import bound_attributes

MIB = 2**20
SLACK_BYTES = 300_000  # Python's objects and numpy's buffers
BIG = {  # op -> inputs and attributes large enough that arrays outweigh everything else
    "conv": ([(20, 8, 60, 60), (8, 8, 3, 3)], {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}),
    "conv_transpose": (
        [(20, 8, 40, 40), (8, 8, 3, 3)],
        {"stride": (2, 2), "padding": (1, 1), "output_padding": (1, 0), "dilation": (1, 1), "groups": 1},
    ),
    "lstm": ([(20, 50, 30), (240, 30), (240, 60), (240,), (240,)], {"reverse": False, "cell": True}),
    "gru": ([(20, 50, 30), (180, 30), (180, 60), (180,), (180,)], {"reverse": True}),
    "rnn": ([(20, 50, 30), (60, 30), (60, 60), (60,), (60,)], {"reverse": False, "nonlinearity": "relu"}),
    "linear": ([(500, 800), (700, 800)], {}),
    "matmul": ([(500, 800), (800, 700)], {}),
    "attention": ([(4, 300, 16), (4, 700, 16), (4, 700, 16)], {"scale": 1.0, "causal": True}),
    "max_pool": (
        [(4, 4, 200, 200)],
        {"kernel": (3, 3), "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "ceil_mode": False},
    ),
    "average_pool": (
        [(4, 4, 200, 200)],
        {"kernel": (9, 2), "stride": (2, 1), "padding": (1, 1), "ceil_mode": True, "count_include_pad": False},
    ),
    "adaptive_max_pool": ([(4, 4, 200, 200)], {"output": (50, 300)}),
    "adaptive_average_pool": ([(4, 4, 200, 200)], {"output": (300, 7)}),
    "gelu": ([(400, 1000)], {"approximate": "none"}),
    "softmax": ([(400, 1000)], {"axis": 0}),
    "log_softmax": ([(400, 1000)], {"axis": 1}),
    "silu": ([(400, 1000)], {}),
    "hardswish": ([(400, 1000)], {}),
    "elu": ([(400, 1000)], {"alpha": 0.5}),
    "batch_norm": ([(40, 100, 100), *[(100,)] * 4], {"eps": 1e-5}),
    "layer_norm": ([(400, 1000), (1000,), (1000,)], {"eps": 1e-5}),
    "group_norm": ([(40, 100, 100), (100,), (100,)], {"groups": 4, "eps": 1e-5}),
    "pad": ([(20, 8, 60, 60)], {"pads": (0, 0, 0, 0, 9, 9, 9, 9), "mode": "reflect", "value": 0.0}),
    "concat": ([(400, 1000), (400, 500)], {"axis": 1}),
    "mean": ([(400, 1000)], {"axes": (0,), "keepdims": False}),
    "sum": ([(1000, 400)], {"axes": (0, 1), "keepdims": True}),
    "add": ([(400, 1000), (1000,)], {}),
    "slice": ([(400, 1000)], {"axis": 1, "start": 3, "stop": 900, "step": 2}),
    "cast": ([(400, 1000)], {"dtype": "int64"}),
    "fake_quantize": ([(400, 1000), ()], {"bits": 4, "signed": True}),
    "dynamic_quantize": ([(400, 1000), ()], {"bits": 4, "signed": True, "axes": (1,)}),
}


@pytest.mark.parametrize("op", BIG)
def test_no_operation_takes_more_memory_than_it_says(op: str):
    shapes, attributes = BIG[op]
    types = [ValueType(shape) for shape in shapes]
    output = OPS[op].shape(types, attributes)
    arrays = [np.random.default_rng(0).random(shape, dtype=np.float32) for shape in shapes]
    says = OPS[op].effort(output, *types, **bound_attributes(OPS[op], attributes, 1))
    tracemalloc.start()
    try:
        with np.errstate(all="ignore"):
            result = OPS[op].run(arrays, attributes, 1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= result.nbytes + says.scratch_bytes + SLACK_BYTES
    assert says.steps >= result.size


def test_a_batch_is_what_memory_and_time_grow_with():
    graph, _ = small_net()
    check_effort(graph, 100, max_bytes=4 * MIB, max_seconds=1.0)
    check_effort(graph, 0, max_bytes=10_000, max_seconds=0.01)
    with pytest.raises(DataError, match="for a batch of 10000, 4,194,304 are allowed: run smaller batches"):
        check_effort(graph, 10_000, max_bytes=4 * MIB, max_seconds=1.0)
    with pytest.raises(DataError, match="allow more with max_seconds"):
        check_effort(graph, 10**9, max_bytes=2**60, max_seconds=1.0)


def growing(steps: int) -> Graph:
    """x joined to itself again and again."""
    types = {f"v{n}": ValueType((2**n, -1)) for n in range(steps + 1)}
    nodes = tuple(Node("concat", (f"v{n}", f"v{n}"), f"v{n + 1}", {"axis": 0}) for n in range(steps))
    return Graph(("v0",), (f"v{steps}",), (), nodes, types)


def test_small_graphs_that_ask_for_terabytes_are_refused_before_they_run():
    with pytest.raises(DataError, match="allow more with max_bytes"):
        run_graph(growing(40), {}, [np.ones((1, 1), np.float32)])
    (y,) = run_graph(growing(10), {}, [np.ones((1, 1), np.float32)])
    assert y.shape == (1024, 1)


def test_windows_of_billions_are_refused_before_they_slide():
    """A pooling window as wide as its padding allows, over one pixel: a loop over 2**30 taps, in 4 GiB."""
    window = {"kernel": (2**20,), "stride": (1,), "padding": (2**19,), "dilation": (1,), "ceil_mode": False}
    graph = one_node("max_pool", {"x": ValueType((-1, 1, 1))}, ValueType((-1, 1, 2)), **window)
    with pytest.raises(DataError, match="max_seconds"):
        run_graph(graph, {}, [np.ones((1, 1, 1), np.float32)], max_seconds=5.0)


def test_only_what_is_alive_counts():
    """A chain of a hundred values takes no more than two of them and what an operation needs."""
    types = {f"v{n}": ValueType((-1, 250_000)) for n in range(101)}
    nodes = tuple(Node("relu", (f"v{n}",), f"v{n + 1}") for n in range(100))
    check_effort(Graph(("v0",), ("v100",), (), nodes, types), 1, max_bytes=8 * MIB, max_seconds=10.0)
    assert last_reads(Graph(("v0",), ("v100",), (), nodes, types))[:2] == [["v0"], ["v1"]]


def test_a_slice_does_not_keep_the_whole():
    x = np.zeros((2, 1000), np.float32)
    assert OPS["slice"].run([x], {"axis": 1, "start": 0, "stop": 1, "step": 1}, 1).base is None


def test_interpret_passes_its_limits_on_and_counts_weights_first():
    artifact = tiny()
    assert artifact.graph is not None
    image = np.ones((2, 1, 6, 6), np.float32)
    weights = constant_bytes(artifact.graph.types, artifact.graph.constants)
    assert weights == 4 * sum(prod(artifact.tensors[name].shape) for name in artifact.graph.constants)
    with pytest.raises(DataError, match=f"weights take {weights} bytes"):
        interpret(artifact, image, max_bytes=weights - 1)
    with pytest.raises(DataError, match="max_bytes"):
        interpret(artifact, image, max_bytes=weights + 1)
    with pytest.raises(DataError, match="max_seconds"):
        interpret(artifact, image, max_seconds=1e-9)
    assert isinstance(interpret(artifact, image), np.ndarray)


def test_memory_that_runs_out_is_said_so(monkeypatch: pytest.MonkeyPatch):
    def exhausted(*_arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr("secateur.ir.ops.op.Op.run", exhausted)
    graph, constants = small_net()
    with pytest.raises(DataError, match="not enough memory"):
        run_graph(graph, constants, [np.ones((1, 1, 6, 6), np.float32)])


def test_as_many_examples_run_at_once_as_fit():
    types = {f"v{n}": ValueType((-1, 2**20)) for n in range(3)}  # two values of 4 MiB an example
    graph = Graph(("v0",), ("v2",), (), tuple(Node("relu", (f"v{n}",), f"v{n + 1}") for n in range(2)), types)
    needed_bytes, seconds = effort_of(graph, 8)
    assert runnable_batch(graph, 64, max_bytes=needed_bytes) == 8
    assert runnable_batch(graph, 64, max_bytes=needed_bytes - 1) == 4
    assert runnable_batch(graph, 64, max_seconds=seconds) == 8
    assert runnable_batch(graph, 64) == 64
    assert runnable_batch(graph, 64, max_bytes=1) == 1
    assert runnable_batch(graph, 64, max_seconds=0.0) == 1
    fixed = replace(graph, types={name: ValueType((3, 2**20)) for name in types})
    assert (fixed_batch(graph), fixed_batch(fixed)) == (None, 3)
    assert runnable_batch(fixed, 64, max_bytes=1) == 3
