"""The whole fast convolution as one thread sees it: block after block of tiles through the three stages.

Blocks are as large as their transformed data may be to stay in a core's own cache. Threads take blocks of their own,
or, where a layer has too few, work on the same block, a share of every stage each, with barriers between.
"""

from __future__ import annotations

from dataclasses import dataclass

from secateur.kernels.code import I64, PTR, Function, Module, Value, Variable
from secateur.kernels.layout import CALL, LAYER, STAGES
from secateur.kernels.target import Target
from secateur.kernels.waiting import emit_barrier

JOB = {"layer": PTR, "call": PTR, "member": I64, "members": I64}
"""Arguments of every function that threads run together."""


@dataclass(frozen=True)
class _Block:
    """What the stages of one block of tiles need."""

    f: Function
    target: Target
    layer: dict[str, Value]
    tile: Value
    count: Value
    v: Value
    m: Value
    share: tuple[Value, Value, Variable]
    points: Value


def emit_driver(module: Module, target: Target) -> None:
    """fast_convolution(layer, call, member, members)."""
    f = module.function("fast_convolution", JOB)
    layer = LAYER.read(f, f["layer"])
    shared = layer["shared"].equals(1)
    member, members = f.choose(shared, f["member"], 0), f.choose(shared, f["members"], 1)
    passed = f.variable(I64, 0)
    space = CALL.read_pointer(f, f["call"], "workspace")
    space = space + f.choose(shared, 0, f["member"] * layer["group_bytes"])
    number = f.variable(I64, 0)
    with f.loop(0, layer["blocks"]) as turn:
        number.set(turn)
        with f.otherwise(shared):
            number.set(f.add_atomic(CALL.place(f["call"], "next_block"), 1))
        tile = number.get() * layer["block_tiles"]
        with f.when(tile < layer["tiles"]):
            count = f.least(layer["block_tiles"], layer["tiles"] - tile)
            share = (member, members, passed)
            space_m = space + layer["m_offset_bytes"]
            _emit_block(_Block(f, target, layer, tile, count, space, space_m, share, layer["points"]))
    f.give()


def _emit_block(block: _Block) -> None:
    """One block of tiles: transformed once, then multiplied and transformed back, some output channels at a time."""
    f, layer = block.f, block.layer
    source, target, residual = (CALL.read_pointer(f, f["call"], name) for name in ("source", "target", "residual"))
    with f.when(_runs(block, "input")):
        start, stop = _share(block, layer["channel_blocks"] * block.count)
        stage = LAYER.read_pointer(f, f["layer"], "input_stage")
        f.call(stage, [f["layer"], source, block.v, block.tile, block.count, start, stop])
    _barrier(block)
    with f.loop(0, layer["panels"], layer["chunk_panels"]) as first:
        panels = f.least(layer["chunk_panels"], layer["panels"] - first)
        with f.when(_runs(block, "products")):
            start, stop = _share(block, block.points * panels)
            f.call("products_stage", [f["layer"], block.v, block.m, block.count, first, panels, start, stop])
        _barrier(block)
        with f.when(_runs(block, "output")):
            first_block = first * block.target.columns
            blocks = f.least(panels * block.target.columns, layer["out_blocks"] - first_block)
            start, stop = _share(block, blocks * block.count)
            stage = LAYER.read_pointer(f, f["layer"], "output_stage")
            given = [block.tile, block.count, first_block, start, stop]
            f.call(stage, [f["layer"], target, residual, block.m, *given])
        _barrier(block)


def _runs(block: _Block, stage: str) -> Value:
    return block.f.emit("i1", f"icmp ne i64 {(block.layer['stages'] & STAGES[stage]).text}, 0")


def _share(block: _Block, items: Value) -> tuple[Value, Value]:
    """The range of items that belongs to this thread."""
    member, members, _ = block.share
    return items * member // members, items * (member + 1) // members


def _barrier(block: _Block) -> None:
    _, members, passed = block.share
    emit_barrier(block.f, block.target, CALL.place(block.f["call"], "arrived"), members, passed)
