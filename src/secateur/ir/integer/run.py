"""Run a graph in integers: every step on integers where it can, else in float32 between dequantizing and quantizing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from secateur.errors import DataError
from secateur.ir.effort import MAX_RUN_BYTES, MAX_RUN_SECONDS, check_effort, last_reads
from secateur.ir.integer.dynamic import DYNAMIC, Scaled
from secateur.ir.integer.lower import RULES, Program, Step
from secateur.ir.integer.quantizing import quantize
from secateur.ir.interpret import bound_inputs, own
from secateur.ir.ops import OPS


def run_integers(
    program: Program,
    constants: Mapping[str, np.ndarray],
    inputs: Mapping[str, np.ndarray] | Sequence[np.ndarray],
    *,
    max_bytes: int = MAX_RUN_BYTES,
    max_seconds: float = MAX_RUN_SECONDS,
) -> tuple[np.ndarray, ...]:
    """The outputs of a program, in order, float32 where the graph's are; inputs, limits and errors as in `run_graph`.

    A value that ends as integers becomes float32(integer) * float32(scale), where scales are found at run time too.
    """
    graph = program.graph
    values, batch = bound_inputs(graph, constants, inputs)
    scales: dict[str, np.ndarray] = {}
    check_effort(graph, batch, max_bytes=max_bytes, max_seconds=max_seconds, integers=True)
    try:
        with np.errstate(all="ignore"):
            for step, dying in zip(program.steps, last_reads(graph), strict=True):
                made = _run(program, step, values, scales, batch)
                if isinstance(made, Scaled):
                    made, scales[step.node.output] = made
                values[step.node.output] = made
                for name in dying:
                    del values[name]
                    scales.pop(name, None)
            return tuple(own(_real(program, name, values, scales)) for name in graph.outputs)
    except MemoryError as error:
        raise DataError(f"not enough memory to run this graph for a batch of {batch}: run smaller batches") from error


def _run(
    program: Program, step: Step, values: Mapping[str, np.ndarray], scales: Mapping[str, np.ndarray], batch: int
) -> np.ndarray | Scaled:
    node = step.node
    if step.dynamic is not None and step.arithmetic == "integer":
        inputs = [Scaled(values[name], scales[name]) if name in scales else values[name] for name in node.inputs]
        return DYNAMIC[node.op].run(inputs, node, step.dynamic, batch)
    if step.arithmetic == "integer":
        assert step.lowered is not None
        arrays = [values[name] for name in node.inputs if name in program.held]
        return RULES[node.op].run(arrays, node, step.lowered, batch)
    arrays = [_real(program, name, values, scales) for name in node.inputs]
    if step.dynamic is not None:
        return DYNAMIC[node.op].run(arrays, node, step.dynamic, batch)
    if step.arithmetic == "quantize":
        return quantize(arrays[0], arrays[1], node)
    return OPS[node.op].run(arrays, node.attributes, batch)


def _real(
    program: Program, name: str, values: Mapping[str, np.ndarray], scales: Mapping[str, np.ndarray]
) -> np.ndarray:
    """A value as float operations see it."""
    if name in scales:
        return np.asarray(values[name].astype(np.float32) * scales[name])
    return program.held[name].real(values[name]) if name in program.held else values[name]
