"""Look-ups by nibble: the instructions that each target makes of them."""

import pytest

from secateur.kernels.compiler import assembly
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.linear_code import FLOAT_TOKENS, LinearPlan, linear_module
from secateur.kernels.target import TARGETS

INSTRUCTIONS = {
    "avx512": ("vperm", "vfmadd"),
    "avx2": ("vperm", "vblendvp", "vfmadd"),
    "neon": ("tbl", "fmla"),
}


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("name", TARGETS)
def test_the_inner_loop_is_look_ups_and_multiply_adds(name, count):
    """Sums stay in registers: a loop that spilled them would store vectors."""
    tokens = FLOAT_TOKENS[name]
    plan = LinearPlan(tokens, 300, 40, count, Epilogue(), TARGETS[name], 1)
    lines = assembly(linear_module(plan), plan.target).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"tile_{tokens}:"))
    tile = [line.split("#")[0] for line in lines[start : start + 4000]]
    tile = tile[: next(number for number, line in enumerate(tile) if line.strip().startswith("ret"))]
    for instruction in INSTRUCTIONS[name]:
        assert sum(instruction in line for line in tile) >= 8 * tokens * plan.tile(1).parts, instruction
    stack = ("(%rsp)", "(%rbp)", "[sp")
    moved = [
        line for line in tile if any(place in line for place in stack) and ("mm" in line or "q" in line.split()[1])
    ]
    assert not moved, moved[:3]
