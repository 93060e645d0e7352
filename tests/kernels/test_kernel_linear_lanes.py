"""Look-ups by nibble and products of bytes: the instructions that each target makes of them."""

import pytest

from secateur.kernels.compiler import assembly
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.linear_bytes import byte_target
from secateur.kernels.linear_code import LinearPlan, linear_module
from secateur.kernels.linear_form import DENSE, Form
from secateur.kernels.target import TARGETS

INSTRUCTIONS = {
    "float32": {
        "avx512": ("vperm", "vfmadd"),
        "avx2": ("vperm", "vblendvp", "vfmadd"),
        "neon": ("tbl", "fmla"),
    },
    "int8": {
        "avx512": ("vpermb", "vpdpbusd"),
        "avx2": ("vpshufb", "vpsignb", "vpmaddubsw"),
        "neon": ("tbl", "sdot"),
    },
    "codes": {
        "avx512": ("vpermb", "vpdpbusd"),
        "avx2": ("vpshufb", "vpsignb", "vpmaddubsw"),
        "neon": ("tbl", "sdot"),
    },
    DENSE: {"avx512": ("vpdpbusd",), "avx2": ("vpsignb", "vpmaddubsw"), "neon": ("sdot",)},
}
"""Kind -> target -> what the inner loop does for every token."""
CODES = tuple(range(-8, 8))
STACK = ("(%rsp)", "(%rbp)", "[sp")


def tile_lines(form: Form, name: str) -> tuple[list[str], LinearPlan]:
    """Assembly of the tile with most tokens."""
    target = TARGETS[name] if form.kind == "float32" else byte_target(TARGETS[name])
    tokens = form.most_tokens(target)
    plan = LinearPlan((tokens, 300, 40), form, Epilogue(), target, 1, CODES if form.kind == "codes" else ())
    lines = assembly(linear_module(plan), target).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"tile_{tokens}:"))
    tile = [line.split("#")[0] for line in lines[start:]]
    return tile[: next(number for number, line in enumerate(tile) if line.strip().startswith("ret"))], plan


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("kind", INSTRUCTIONS)
@pytest.mark.parametrize("name", TARGETS)
def test_the_inner_loop_is_look_ups_and_multiply_adds(name, kind, count):
    """Sums stay in registers: a loop that spilled them would store vectors."""
    tile, plan = tile_lines(Form(kind) if kind == DENSE else Form(kind, count), name)
    steps = plan.tile_tokens[-1] * plan.tile(1).parts * (8 if kind == "float32" else 2)
    for instruction in INSTRUCTIONS[kind][name]:
        assert sum(instruction in line for line in tile) >= steps, instruction
    moved = [
        line for line in tile if any(place in line for place in STACK) and ("mm" in line or "q" in line.split()[1])
    ]
    assert not moved, moved[:3]


@pytest.mark.parametrize("name", TARGETS)
def test_scales_for_groups_of_columns_are_multiplied_in_float32(name):
    tile, _ = tile_lines(Form("codes", 4, scaled=True), name)
    assert any("fmadd" in line or "fmla" in line for line in tile)
    assert any("cvtph2ps" in line or "fcvtl" in line for line in tile)
