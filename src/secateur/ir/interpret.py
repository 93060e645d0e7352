"""Run a graph in numpy: THE oracle that every faster execution must equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from secateur.errors import DataError
from secateur.ir.effort import MAX_RUN_BYTES, MAX_RUN_SECONDS, check_effort, last_reads
from secateur.ir.graph import Graph, ValueType
from secateur.ir.ops import OPS
from secateur.ir.ops.sizes import show


def run_graph(
    graph: Graph,
    constants: Mapping[str, np.ndarray],
    inputs: Mapping[str, np.ndarray] | Sequence[np.ndarray],
    *,
    max_bytes: int = MAX_RUN_BYTES,
    max_seconds: float = MAX_RUN_SECONDS,
) -> tuple[np.ndarray, ...]:
    """The outputs of a graph that passed `verify`, in order, as arrays of their own.

    Inputs come by name or in the graph's order; shapes and dtypes are those of graph.types, where a size -k stands for
    k times the batch size, the same in all inputs. Arithmetic is IEEE 754 without warnings: 1 / 0 is an infinity.
    max_bytes    limit of constants, values and working memory together;  max_seconds: of a rough estimate of the time
    DataError for inputs or constants that do not fit, and before anything is computed where a limit would be passed.
    """
    values, batch = bound_inputs(graph, constants, inputs)
    check_effort(graph, batch, max_bytes=max_bytes, max_seconds=max_seconds)
    try:
        with np.errstate(all="ignore"):
            for node, dying in zip(graph.nodes, last_reads(graph), strict=True):
                arrays = [values[name] for name in node.inputs]
                values[node.output] = OPS[node.op].run(arrays, node.attributes, batch)
                for name in dying:
                    del values[name]
        return tuple(own(values[name]) for name in graph.outputs)
    except MemoryError as error:
        raise DataError(f"not enough memory to run this graph for a batch of {batch}: run smaller batches") from error


def bound_inputs(
    graph: Graph,
    constants: Mapping[str, np.ndarray],
    inputs: Mapping[str, np.ndarray] | Sequence[np.ndarray],
) -> tuple[dict[str, np.ndarray], int]:
    """Inputs and constants by name as read-only views, and the batch size; DataError where something does not fit."""
    given = _named(graph, inputs)
    batch = _batch(graph, given)
    values = {name: _checked(name, graph.types[name], array, batch) for name, array in given.items()}
    for name in graph.constants:
        if name not in constants:
            raise DataError(f"constant {name!r} is missing: the graph reads {len(graph.constants)} constants")
        if not isinstance(constants[name], np.ndarray):
            raise DataError(f"constant {name!r}: expected a numpy array, got {type(constants[name]).__name__}")
        values[name] = _checked(name, graph.types[name], constants[name], batch)
    return values, batch


def own(array: np.ndarray) -> np.ndarray:
    """A result that shares no memory with an input, a constant or another value."""
    # Not ascontiguousarray: it makes a vector of a 0-d array.
    return np.asarray(array, order="C") if array.flags.owndata and array.flags.writeable else array.copy()


def _named(graph: Graph, inputs: Mapping[str, np.ndarray] | Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    expected = ", ".join(graph.inputs)
    if isinstance(inputs, Mapping):
        if set(inputs) != set(graph.inputs):
            raise DataError(f"expected the inputs {expected}; got {', '.join(map(str, inputs)) or 'none'}")
        return {name: inputs[name] for name in graph.inputs}
    if isinstance(inputs, np.ndarray):
        raise DataError("inputs must be a sequence or a mapping of arrays, not one array; put it in a list")
    if len(inputs) != len(graph.inputs):
        raise DataError(f"expected {len(graph.inputs)} inputs ({expected}), got {len(inputs)}")
    return dict(zip(graph.inputs, inputs, strict=True))


def _batch(graph: Graph, given: Mapping[str, np.ndarray]) -> int:
    """The batch size the inputs agree on; 1 where no input has one."""
    found: dict[int, str] = {}
    for name, array in given.items():
        expected = graph.types[name]
        if not isinstance(array, np.ndarray):
            raise DataError(f"{name!r}: expected a numpy array, got {type(array).__name__}; convert it first")
        if array.ndim != len(expected.shape):
            raise _misfit(name, expected, array)
        for size, actual in zip(expected.shape, array.shape, strict=True):
            if size < 0:
                if actual % -size:
                    raise _misfit(name, expected, array)
                found.setdefault(actual // -size, name)
    if len(found) > 1:
        sizes = ", ".join(f"{batch} from {name!r}" for batch, name in found.items())
        raise DataError(f"the inputs disagree on the batch size: {sizes}")
    return next(iter(found), 1)


def _checked(name: str, expected: ValueType, array: np.ndarray, batch: int) -> np.ndarray:
    """The array as a read-only view, so that no operation can write into what belongs to the caller."""
    if array.dtype != expected.dtype or array.shape != expected.bind(batch):
        raise _misfit(name, expected, array)
    view = array.view()
    view.flags.writeable = False
    return view


def _misfit(name: str, expected: ValueType, array: np.ndarray) -> DataError:
    got = f"{array.dtype} {show(array.shape)}"
    return DataError(f"{name!r}: expected {expected.dtype} {show(expected.shape)}, got {got}")
