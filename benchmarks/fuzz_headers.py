"""Hostile headers under right checksums: JSON that is none, values beyond all bounds, graphs that are none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

from fuzz_file import Honest, as_text, sealed
from secateur.ir.container import HEADER_LIMIT
from secateur.ir.ops import OPS

HOSTILE: tuple[Any, ...] = (
    *(2**63, 2**63 - 1, -(2**63), -(2**63) - 1, 2**64, 10**400, 2**40, 2**40 + 1, 2**32, 2**31, 2**20, 65536, 1000),
    *(-(2**40), -1000, -2, -1, 0, 1, 2, 3, 7),
    *(1e308, -1e308, 1e39, 5e-324, -0.0, 0.5, float("nan"), float("inf"), float("-inf")),
    *(True, False, None, "", "inf", "x", "\0", "\ud800", "\x1b[2J", "y" * 1025, "constant", "float32", "bool"),
    *([], {}, [[]], [0], [-1], [2**40], [1] * 17, [1] * 33, [2**20, 2**20], {"": 0}, [None], ["inf"]),
)


def header_bits(rng: Random, honest: Honest, _other: Honest) -> bytes:
    text = bytearray(honest.text)
    for _ in range(rng.randint(1, 4)):
        text[rng.randrange(len(text))] ^= 1 << rng.randrange(8)
    return sealed(bytes(text), honest.body)


def header_cut(rng: Random, honest: Honest, _other: Honest) -> bytes:
    return sealed(honest.text[: rng.randrange(len(honest.text))], honest.body)


def header_piece_repeated(rng: Random, honest: Honest, _other: Honest) -> bytes:
    first, last = sorted(rng.sample(range(len(honest.text) + 1), 2))
    return sealed(honest.text[:last] + honest.text[first:], honest.body)


def header_of_another(_rng: Random, honest: Honest, other: Honest) -> bytes:
    return sealed(other.text, honest.body)


def key_twice(rng: Random, honest: Honest, _other: Honest) -> bytes:
    """A member stands twice, with its own value or another."""
    text = honest.text.decode()
    key = rng.choice(list(honest.header()))
    value = json.dumps(rng.choice(HOSTILE))
    return sealed(("{" + json.dumps(key) + ":" + value + "," + text[1:]).encode(), honest.body)


def value_replaced(rng: Random, honest: Honest, _other: Honest) -> bytes:
    header = honest.header()
    for _ in range(rng.choice((1, 1, 2, 5))):
        holder, key = rng.choice(list(places(header)))
        holder[key] = rng.choice(HOSTILE)
    return sealed(as_text(header), honest.body)


def number_nudged(rng: Random, honest: Honest, _other: Honest) -> bytes:
    """Numbers that stay plausible: one more, one less, twice, the opposite."""
    header = honest.header()
    numbers = [(holder, key) for holder, key in places(header) if type(holder[key]) in (int, float)]
    for _ in range(rng.choice((1, 2, 3))):
        if numbers:
            holder, key = rng.choice(numbers)
            holder[key] = rng.choice(
                (holder[key] + 1, holder[key] - 1, 2 * holder[key], -holder[key], holder[key] * 64)
            )
    return sealed(as_text(header), honest.body)


def text_swapped(rng: Random, honest: Honest, _other: Honest) -> bytes:
    """A name or word in the place of another: names defined twice, operations with foreign inputs."""
    header = honest.header()
    words = [(holder, key) for holder, key in places(header) if type(holder[key]) is str]
    known = [holder[key] for holder, key in words] + list(OPS)
    for _ in range(rng.choice((1, 1, 3))):
        if words:
            holder, key = rng.choice(words)
            holder[key] = rng.choice(known)
    return sealed(as_text(header), honest.body)


def item_moved(rng: Random, honest: Honest, _other: Honest) -> bytes:
    """An item of a list dropped, said twice, or exchanged with its neighbour."""
    header = honest.header()
    lists = [holder[key] for holder, key in places(header) if type(holder[key]) is list and holder[key]]
    items = rng.choice(lists or [[]])
    if items:
        place, what = rng.randrange(len(items)), rng.randrange(3)
        if what == 0:
            del items[place]
        elif what == 1:
            items.insert(place, items[place])
        else:
            items[place - 1], items[place] = items[place], items[place - 1]
    return sealed(as_text(header), honest.body)


def member_dropped(rng: Random, honest: Honest, _other: Honest) -> bytes:
    header = honest.header()
    if rng.random() < 0.5:
        del header[rng.choice(list(header))]
    else:
        header[rng.choice(("tensors", "inputs", "nodes", "outputs", "constants", "groups", "folds", "meta", "x"))] = (
            rng.choice(HOSTILE)
        )
    return sealed(as_text(header), honest.body)


def shape_huge(rng: Random, honest: Honest, _other: Honest) -> bytes:
    """Shapes of tensors and inputs with sizes up to beyond 64 bits."""
    header = honest.header()
    rows = [row for row in [*header["tensors"], *header.get("inputs", [])] if type(row[1]) is list]
    for row in rng.sample(rows, rng.randint(1, len(rows))) if rows else []:
        row[1] = [*row[1]] if row[1] and rng.random() < 0.8 else [1]
        row[1][rng.randrange(len(row[1]))] = rng.choice((2**63, 2**62, 2**40, 2**36, 2**31, 2**30, 2**24, 2**20, -1, 0))
    return sealed(as_text(header), honest.body)


def reference_changed(rng: Random, honest: Honest, _other: Honest) -> bytes:
    """A node reads another value: itself, a later one (a cycle), a constant beyond the last."""
    header = honest.header()
    lists = [node[1] for node in header.get("nodes", [])] + [header.get("outputs", [])]
    numbers = rng.choice(lists)
    if numbers:
        numbers[rng.randrange(len(numbers))] = rng.randint(-6, 6)
    return sealed(as_text(header), honest.body)


def attribute_huge(rng: Random, honest: Honest, _other: Honest) -> bytes:
    """Strides, kernels, pads, axes, groups up to 2**40, of one node or all."""
    header = honest.header()
    sizes = (0, 1, 2, 3, 5, 2**10, 2**16, 2**20, 2**24, 2**28, 2**31, 2**39, 2**40)
    for node in header.get("nodes", []):
        for name, value in (node[2] if len(node) > 2 else {}).items():
            if rng.random() < 0.5:
                if type(value) is list and value:
                    value[rng.randrange(len(value))] = rng.choice(sizes)
                elif type(value) is int:
                    node[2][name] = rng.choice(sizes)
                elif type(value) is float:
                    node[2][name] = rng.choice((0.0, 1e-45, 3e38, -3e38, 1e30, -1.0))
    return sealed(as_text(header), honest.body)


def node_added(rng: Random, honest: Honest, other: Honest) -> bytes:
    """Nodes of another file, or one that grows what it reads, many times."""
    header, foreign = honest.header(), other.header().get("nodes", [])
    nodes = header.setdefault("nodes", [])
    size = rng.choice((2, 2**8, 2**16, 2**30))
    growing = rng.choice(
        (
            ["concat", [1] * rng.choice((2, 3, 1000)), {"axis": rng.randrange(4)}],
            ["add", [1, 1]],
            ["matmul", [1, 1]],
            ["pad", [1], {"pads": [0] * 2 + [size] * 6, "mode": "constant", "value": 0.0}],
            ["expand", [1], {"shape": [size, -1, 2, 5, 5]}],
            [
                "max_pool",
                [1],
                {"kernel": [size] * 2, "stride": [1, 1], "padding": [size // 2] * 2, "dilation": [1, 1]}
                | {"ceil_mode": bool(size & 2)},
            ],
            ["adaptive_max_pool", [1], {"output": [size, size]}],
        )
    )
    added = [growing] * rng.choice((1, 5, 40)) if rng.random() < 0.6 else foreign
    place = rng.randint(0, len(nodes))
    header["nodes"] = nodes[:place] + added + nodes[place:]
    return sealed(as_text(header), honest.body)


def units_edited(rng: Random, honest: Honest, _other: Honest) -> bytes:
    """Axes that lost units: other axes, groups and repeats, of all tensors."""
    header = honest.header()
    for row in header["tensors"]:
        if rng.random() < 0.7:
            numbers = [rng.choice((0, 0, 1, 2, 5, 2**20, 2**39, 2**63, -1)) for _ in range(rng.choice((3, 3, 3, 6, 4)))]
            row[2:] = [numbers] if len(row) == 2 else [[*row[2][:-1], rng.choice(numbers)]]
    if rng.random() < 0.5:
        header["groups"] = rng.choice((0, 1, 2, 3, 99_999, 2**40))
    return sealed(as_text(header), honest.body)


def header_large(rng: Random, honest: Honest, _other: Honest) -> bytes:
    """A little file whose header holds as many small things as its limit allows, or is nested deeply."""
    header = honest.header()
    piece, where = rng.choice(
        (
            ("[]", "meta"),
            ('{"":0}', "meta"),
            ("1e9", "meta"),
            ('["x",[],[]]', "tensors"),
            ('["relu",[1]]', "nodes"),
            ('["add",[1,1],{}]', "nodes"),
            ('["x",[1]]', "inputs"),
            ("1", "constants"),
            ('["a","b",1.0]', "folds"),
        )
    )
    room = rng.choice((HEADER_LIMIT - len(honest.text) - 100, HEADER_LIMIT // 8, HEADER_LIMIT // 64, HEADER_LIMIT * 2))
    items = ",".join([piece] * max(1, room // (len(piece) + 1)))
    if rng.random() < 0.2:
        items = "[" * rng.choice((10, 20, 1000, 100_000)) + "]" * 100_000
    elif piece.startswith('["x"'):
        items = ",".join(piece.replace("x", f"{n:x}") for n in range(room // (len(piece) + 5)))
    header.pop(where, None)
    many = f'{{"{where}":[{items}],' if where != "meta" else f'{{"meta":{{"a":[{items}]}},'
    return sealed(many.encode() + as_text(header)[1:], honest.body)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place a value stands in, as (list or object, index or key)."""
    for key in range(len(value)) if type(value) is list else list(value):
        yield value, key
        if type(value[key]) in (list, dict):
            yield from places(value[key])


HEADER_KINDS = (
    header_bits,
    header_cut,
    header_piece_repeated,
    header_of_another,
    key_twice,
    value_replaced,
    number_nudged,
    text_swapped,
    item_moved,
    member_dropped,
    shape_huge,
    reference_changed,
    attribute_huge,
    node_added,
    units_edited,
    header_large,
)
