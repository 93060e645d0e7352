"""kernels.sparse_balanced_code: sums stay in registers on every target, in float32 and in bytes."""

import re
from dataclasses import replace

import pytest

from secateur.kernels.byte_maps import FLOATS, ByteMap, ByteMaps
from secateur.kernels.compiler import assembly
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.linear_bytes import BYTE_FEATURES
from secateur.kernels.linear_form import Form
from secateur.kernels.sparse_balanced_code import ConvCode, PixelTile, balanced_module
from secateur.kernels.target import TARGETS

PRODUCTS = {"avx512": "vpdpbusd", "avx2": "vpmaddubsw", "neon": "sdot"}


@pytest.mark.parametrize(
    ("kind", "moved"), [("float32", "floats"), ("int8", "floats"), ("int8", "bytes"), ("codes", "bytes")]
)
@pytest.mark.parametrize("name", TARGETS)
def test_sums_stay_in_registers(name, kind, moved):
    target, form = TARGETS[name], Form(kind, 4)
    if kind != "float32":
        target = replace(target, features=",".join(filter(None, (target.features, BYTE_FEATURES[name]))))
    tokens = form.most_tokens(target)
    tile = PixelTile(target, form, tokens, tuple(64 * token for token in range(tokens)))
    table = tuple(range(-8, 8)) if kind == "codes" else ()
    maps = ByteMaps(ByteMap(0.1), ByteMap(0.2, signed=True), ByteMap(0.3)) if moved == "bytes" else FLOATS
    code = ConvCode(tile, 1, Epilogue("relu", residual=True), table, maps, direct=False)
    listing = assembly(balanced_module(code), target)
    body = re.search(rf"^tile_{tokens}:\n(.*?)^\s+ret", listing, re.MULTILINE | re.DOTALL)
    assert body is not None
    wanted = r"vfmadd\w+ps|fmla" if kind == "float32" else PRODUCTS[name]
    assert len(re.findall(wanted, body[1])) >= tokens * form.records * (8 if kind == "float32" else 2)
    assert re.findall(r"vmov\w+\s+%[yz]mm\d+, -?\d*\(%rsp\)", body[1]) == []


def test_a_pixel_lies_where_the_table_says():
    tile = PixelTile(TARGETS["avx512"], Form("int8", 4), 3, (0, 128, 4096))
    assert tile.place(2, 1) == 2 * 64 + 128
    assert tile.place(0, 2) == 4096
    assert tile.arguments["places"] == "ptr"
