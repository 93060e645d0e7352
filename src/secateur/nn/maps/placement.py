"""Where quantizers of feature maps belong: one a map that integer arithmetic reads, at the place where it is made.

From everything in READS_CODES we go back through what keeps a grid to the value that is made, and quantize that once,
whoever else reads it. So convolution -> batch norm -> ReLU has one quantizer, behind the ReLU; a sum has one on each
branch; what a concatenation alone reads shares the one behind it. Our reading: US20200293893A1 quantizes the output
feature maps of a layer and leaves open what sums and concatenations read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import fx

from secateur.ir.plan_rows import EXAMPLE, OUTPUT, READS_AS_FLOAT, ROW, WHOLE, MapPlan
from secateur.nn.maps.flow import Flow
from secateur.nn.maps.operations import READS_CODES, READS_WHOLE, WEIGHED, argument, operands, read_as_floats, source_of
from secateur.nn.maps.weights import is_opaque, projections, weights_inside, weights_on

UNREAD = "nothing that integers compute reads it"
INSIDE = "computed in one call, whose own products read numbers in floating point"
INFINITE = "infinities in it have no code"
COMPUTED = "a weight that the forward pass computes has no code"


def place_maps(flow: Flow, names: dict[fx.Node, str]) -> tuple[MapPlan, ...]:
    """The maps of a traced model, in the order they are made, without rules: where `reason` is "" a map can have one.

    names  of its nodes, as `names_of` gives them
    """
    found = _Placement(flow)
    found.visit()
    return found.rows(names)


@dataclass
class _Placement:
    """One pass over a graph.

    reads    node that makes a map -> state-dict keys of what multiplies it
    reasons  those of them that stay float, and why
    inside   calls in which maps are made that cannot be seen
    whole    those that are read by what sums over more than the last dimension, so that one scale is an example's
    """

    flow: Flow
    reads: dict[fx.Node, dict[str, None]] = field(default_factory=dict)
    reasons: dict[fx.Node, str] = field(default_factory=dict)
    inside: list[fx.Node] = field(default_factory=list)
    whole: set[fx.Node] = field(default_factory=set)

    def visit(self) -> None:
        """Find all maps."""
        flow = self.flow
        for node in flow.nodes:
            word = flow.words[node]
            if word in READS_CODES and self._computes(node):
                self._consume(node, word)
            elif word == "multihead":
                for operand, weights in zip(operands(node, word), projections(flow, node), strict=False):
                    self._read(operand, weights)
            if word in ("attention", "multihead") or is_opaque(flow, node):
                self.inside.append(node)
        for node in flow.nodes:
            self._read_as_floats(node)
        self._let_relus_ride()
        for node in flow.nodes:
            if node.op == "output":
                for maker in map(flow.maker, node.all_input_nodes):
                    if flow.is_real(maker):
                        self._stays_float(maker, OUTPUT)
            elif node.op == "placeholder" and node in flow.seen:
                self._stays_float(node, UNREAD if flow.is_real(node) else WHOLE)

    def rows(self, names: dict[fx.Node, str]) -> tuple[MapPlan, ...]:
        """What was found, in the order of the graph."""
        flow, found = self.flow, list[MapPlan]()
        for node in flow.nodes:
            kind, shape = flow.kind(node), flow.shape(node)
            if node in self.reads:
                signed, reason = flow.signed[node], self.reasons.get(node, "")
                per, reads = EXAMPLE if node in self.whole else ROW, tuple(self.reads[node])
                found.append(MapPlan(names[node], kind, shape, signed, reason=reason, reads=reads, per=per))
            if node in self.inside:
                weights, largest = tuple(weights_inside(flow, node)), self._largest_inside(node)
                found.append(MapPlan(f"{names[node]}.inside", kind, largest, reason=INSIDE, reads=weights))
        return tuple(found)

    def _largest_inside(self, node: fx.Node) -> tuple[int, ...]:
        """The shape of what a call makes; of self-attention that of its one projection, query, key and value in one."""
        shape = self.flow.shape(node)
        joined = self.flow.words[node] == "multihead" and len(set(operands(node, "multihead"))) == 1
        return (*shape[:-1], 3 * shape[-1]) if joined else shape

    def _consume(self, node: fx.Node, word: str) -> None:
        flow = self.flow
        if word == "concat":
            readers = flow.readers(node)
            if not self._shares(node) and any(reader.op != "output" for reader in readers):
                self.reads.setdefault(node, {})
        for operand in dict.fromkeys(operands(node, word)):
            shared = word == "concat" and self._shares(flow.maker(operand))
            weight = word == "product" and operand in flow.fixed
            if not shared and not weight:
                self._read(operand, weights_on(flow, node, operand))
                if word in READS_WHOLE or (word == "linear" and self._is_merged(operand)):
                    self.whole.add(flow.maker(operand))
        weight = argument(node, 1, "weight") if word in WEIGHED else None
        if isinstance(weight, fx.Node) and flow.maker(weight).op != "get_attr":
            if weight in flow.fixed:
                self._stays_float(flow.maker(weight), COMPUTED)
            else:
                self._read(weight, [])

    def _is_merged(self, operand: fx.Node) -> bool:
        """Whether rows of what a layer reads are made of several rows of the map, as heads are that are joined."""
        seen = [self.flow.seen.get(node) for node in (self.flow.maker(operand), operand)]
        shapes = [value.shape for value in seen if value is not None and value.shape]
        return len(shapes) == 2 and shapes[0][-1] % max(1, shapes[1][-1]) != 0

    def _computes(self, node: fx.Node) -> bool:
        """Whether a call is arithmetic on maps: not on sizes, on whole numbers, or of one map and one number."""
        flow = self.flow
        if not flow.is_real(node) or node in flow.fixed:
            return False
        if flow.words[node] != "add":
            return True
        terms = operands(node, "add")
        return len(terms) > 1 and all(flow.is_real(term) and not flow.is_number(term) for term in terms)

    def _shares(self, maker: fx.Node) -> bool:
        """Whether a concatenation alone reads a value, which is then quantized behind it."""
        readers = self.flow.readers(maker)
        return maker.op != "placeholder" and len(readers) == 1 and self.flow.words[next(iter(readers))] == "concat"

    def _read(self, operand: fx.Node, weights: Iterable[str]) -> None:
        """Integer arithmetic reads this value: what it is made by gets a quantizer, or a reason."""
        maker = self.flow.maker(operand)
        if maker not in self.flow.seen:
            return
        value = self.flow.seen[maker]
        self.reads.setdefault(maker, {}).update(dict.fromkeys(weights))
        if not value.is_real or not value.is_finite:
            self.reasons[maker] = INFINITE if value.is_real else WHOLE

    def _read_as_floats(self, node: fx.Node) -> None:
        """What reads maps in floating point finds them in memory, where nothing quantized them."""
        flow = self.flow
        found, least = (node.all_input_nodes, 1) if is_opaque(flow, node) else read_as_floats(node, flow.module)
        maps = dict.fromkeys(flow.maker(part) for part in found if flow.is_real(part) and part not in flow.fixed)
        for maker in maps if len({flow.sources[maker] for maker in maps}) >= least else ():
            if flow.is_real(maker) and not flow.is_number(maker):
                finite = flow.seen[maker].is_finite
                self._stays_float(maker, f"{flow.kind(node)}{READS_AS_FLOAT}" if finite else INFINITE)

    def _stays_float(self, node: fx.Node, reason: str) -> None:
        if node not in self.reads:
            self.reads[node], self.reasons[node] = {}, reason

    def _let_relus_ride(self) -> None:
        """A ReLU of a map that is quantized already, for another reader, lies on that map's grid."""
        for node in self.flow.nodes:
            source = source_of(node) if node in self.reads and self.flow.words[node] == "relu" else None
            maker = self.flow.maker(source) if source is not None else None
            if maker in self.reads and maker not in self.reasons:
                self.reads[maker].update(self.reads.pop(node))
                if node in self.whole:
                    self.whole.add(maker)
