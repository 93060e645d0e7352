"""From a torch model to the graph: torch.export in evaluation mode, then one lowering a call.

torch.export gives functional aten calls on tensors whose first dimension is a symbol, the batch. Calls outside the
table LOWERINGS are decomposed by torch as far as it can; then every call is lowered, or refused by name.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import Node as TorchNode
from torch.fx.node import map_arg

from secateur.errors import GraphError
from secateur.ir.graph import Graph
from secateur.ir.verify import verify
from secateur.nn.bags import refuse_offsets
from secateur.nn.exporting import INSTEAD, Example, Exported, as_inputs, exported
from secateur.nn.lowering import CHECKS, IDENTITIES, LOWERINGS
from secateur.nn.lowering.builder import Builder, Call, Result
from secateur.nn.lowering.nodes import (
    arguments_of,
    has_symbols,
    is_empty,
    is_number,
    is_random,
    place_of,
    read_of,
    type_of,
)
from secateur.nn.recomputed import WEIGHT_NORM, all_recomputed, recomputed

OUTSIDE = "is outside the closed list of graph operations"


@dataclass(frozen=True)
class Traced:
    """A model as a graph and its numbers.

    graph      what it computes
    constants  what the graph reads, by the model's own state-dict keys; tied tensors once, under their first key
    notes      what a user should know: a batch that could not stay free, masks with infinities, ...
    tied       further state-dict keys of a tensor -> its first key
    folded     state-dict keys of buffers that went, computed with, into constants of other names
    """

    graph: Graph
    constants: Mapping[str, np.ndarray]
    notes: tuple[str, ...] = ()
    tied: Mapping[str, str] = field(default_factory=dict)
    folded: tuple[str, ...] = ()


def trace(model: nn.Module, example: Example) -> Traced:
    """What a model computes in evaluation mode, as a verified graph; the model itself is left as it is.

    example is what the model is called with: a tensor or a tuple of tensors, dimension 0 of each the batch, which
    stays free in the graph (or is fixed, and a note says why). Raises GraphError, naming the operation, the module
    and the source line, for a model that the closed list of operations cannot express, and DataError for an example
    that is none.
    """
    refuse_offsets(model, example)
    done = exported(model, as_inputs(example), frozenset(LOWERINGS) | IDENTITIES | CHECKS)
    return _Tracing(done).run()


class _Tracing:
    """One pass over the nodes of an exported program."""

    def __init__(self, done: Exported) -> None:
        self.program = done.program
        self.build = Builder()
        self.folded: dict[str, None] = {}
        if done.note:
            self.build.note(done.note)
        self.modules = dict(done.model.named_modules(remove_duplicate=False))
        self.recomputed = all_recomputed(done.model)
        stored = done.model.state_dict(keep_vars=True)
        tensors = dict(done.model.named_parameters(remove_duplicate=False))
        tensors |= dict(done.model.named_buffers(remove_duplicate=False))
        first: dict[int, str] = {}
        self.names = {key: first.setdefault(id(tensors[key]), key) for key in stored if key in tensors}
        self.build.taken.update(stored)

    def run(self) -> Traced:
        outputs: list[str] = []
        sources = {spec.arg.name: spec for spec in self.program.graph_signature.input_specs}
        for node in self.program.graph.nodes:
            try:
                if node.op == "placeholder":
                    self._source(node, sources[node.name])
                elif node.op == "call_function":
                    self._call(node)
                elif node.op == "output":
                    outputs = self._outputs(node.args[0])
                elif node.users:
                    raise GraphError(f"a {node.op} {OUTSIDE}")
            except GraphError as error:
                call = "" if node.op in ("output", "placeholder") else f"{node.target} {place_of(node)}: "
                raise GraphError(f"{call}{error}{self._way_out()}. {INSTEAD}") from None
        for maker, names in self.recomputed.items():
            self.build.note(f"{maker.told(names)}, and so does the file; it is smaller after {maker.undo}(layer, name)")
        graph = self.build.graph(outputs)
        verify(graph)
        return Traced(
            graph,
            {name: self.build.constants[name] for name in graph.constants},
            tuple(self.build.notes),
            {key: name for key, name in self.names.items() if key != name},
            tuple(self.folded),
        )

    def _way_out(self) -> str:
        """What makes a graph of a model with weights whose computation no graph holds."""
        if (names := self.recomputed.get(WEIGHT_NORM)) is None:
            return ""
        return f"; {WEIGHT_NORM.told(names)}, which no graph does: {WEIGHT_NORM.undo}(layer, name) first"

    def _source(self, node: TorchNode, spec: Any) -> None:
        build = self.build
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER) and spec.target in self.names:
            build.stored[node] = (self.names[spec.target], self.program.state_dict[spec.target])
        elif spec.kind in (InputKind.BUFFER, InputKind.CONSTANT_TENSOR):  # a buffer outside the state dict, a literal
            self._refuse_left_behind(node, spec.target)
            build.known[node] = self.program.constants[spec.target]
        elif spec.kind is InputKind.USER_INPUT:
            name = build.fresh(node.name)
            build.names[node] = name
            build.types[name] = type_of(node.meta["val"])
            build.inputs.append(name)
        else:
            raise GraphError(f"an input of kind {spec.kind} {OUTSIDE}")

    def _refuse_left_behind(self, node: TorchNode, target: str) -> None:
        """GraphError for numbers that were computed from parameters some time ago and are read as they are: the file
        would not hold these parameters, and no model could be restored from it."""
        owner, _, name = target.rpartition(".")
        maker = recomputed(self.modules[owner]).get(name) if owner in self.modules else None
        if maker is not None and node.users:
            raise GraphError(
                f"{target} is read without the forward pass of its layer, in which {maker.by} computes it: "
                f"{maker.undone(name)}"
            )

    def _call(self, node: TorchNode) -> None:
        target = str(node.target)
        if target in CHECKS:
            return
        if is_number(node.meta.get("val")):  # arithmetic on sizes, or a tensor's value taken into Python
            if isinstance(node.target, torch._ops.OpOverload):
                raise GraphError("takes a value out of a tensor and computes with it in Python: keep it a tensor")
            return
        if node.target is operator.getitem:
            self._pick(node)
        elif target in IDENTITIES:
            self._alias(node)
        elif target not in LOWERINGS and is_random(node):
            raise GraphError("draws random numbers, which a graph cannot repeat")
        elif not self._fold(node):
            if target not in LOWERINGS:
                raise GraphError(OUTSIDE)
            self.build.names[node] = self._lowered(node, target)

    def _pick(self, node: TorchNode) -> None:
        source, index = node.args
        assert isinstance(source, TorchNode)
        assert isinstance(index, int)
        if source in self.build.known:
            self.build.known[node] = self.build.known[source][index]
            return
        results = self.build.names[source]
        name = results[index] if isinstance(results, tuple) else None
        if name is not None:
            self.build.names[node] = name
        elif node.users:
            raise GraphError(f"result {index} of {source.target} (indices, statistics) {OUTSIDE}")

    def _alias(self, node: TorchNode) -> None:
        source, build = node.args[0], self.build
        assert isinstance(source, TorchNode)
        if source in build.known:
            build.known[node] = build.known[source]
        elif source in build.stored:
            build.stored[node] = build.stored[source]
        else:
            build.names[node] = build.names[source]

    def _fold(self, node: TorchNode) -> bool:
        """Compute a call now if nothing in it waits for an input: positions, masks, tables made in the forward pass.

        Buffers count as fixed where the graph has no such operation, or works on whole numbers; parameters never do,
        because restore_ must find them again.
        """
        target, build = node.target, self.build
        if not isinstance(target, torch._ops.OpOverload) or has_symbols(node):
            return False
        buffers = self._fixed_buffers(node)
        if buffers is None:
            return False
        self.folded.update(dict.fromkeys(build.stored[buffer][0] for buffer in buffers))

        def fixed(argument: TorchNode) -> Any:
            return build.known[argument] if argument in build.known else build.stored[argument][1]

        args, kwargs = map_arg((node.args, node.kwargs), fixed)
        with torch.no_grad():
            build.known[node] = target(*args, **kwargs)
        return True

    def _fixed_buffers(self, node: TorchNode) -> list[TorchNode] | None:
        """The buffers among a call's tensors, None if one of its tensors is not fixed."""
        waiting = [source for source in node.all_input_nodes if source not in self.build.known]
        if not waiting:
            return []
        expressible = str(node.target) in LOWERINGS
        for source in waiting:
            if source not in self.build.stored:
                return None
            tensor = self.build.stored[source][1]
            if isinstance(tensor, nn.Parameter) or (expressible and tensor.is_floating_point()):
                return None
        return None if str(node.target) == "aten.embedding.default" else waiting

    def _lowered(self, node: TorchNode, target: str) -> Result:
        value = node.meta["val"]
        values = value if isinstance(value, tuple | list) else (value,)
        types = tuple(type_of(item) if isinstance(item, Tensor) and not is_empty(item) else None for item in values)
        build = self.build
        call = Call(target, arguments_of(node), types, place_of(node), read_of(node, len(types)))
        result = LOWERINGS[target](build, call)
        for name, expected in zip(result if isinstance(result, tuple) else (result,), types, strict=True):
            if name is not None and expected is None:
                raise GraphError("makes a tensor without elements, which no graph holds: leave that layer out")
            if name is not None and build.types[name] != expected:
                raise GraphError(f"was lowered to {build.types[name]}, torch says {expected}: please report this")
        return result

    def _outputs(self, results: Any) -> list[str]:
        specs = self.program.graph_signature.output_specs
        names: list[str] = []
        for result, spec in zip(results, specs, strict=True):
            if spec.kind is OutputKind.BUFFER_MUTATION:
                raise GraphError(f"the model changes its buffer {spec.target} when it runs, which a graph cannot")
            if spec.kind is OutputKind.USER_OUTPUT and result is not None:
                if not isinstance(result, TorchNode) or is_number(result.meta.get("val")):
                    raise GraphError("the model returns something beside tensors: return tensors only")
                names.append(self.build.value(result))
        return names
