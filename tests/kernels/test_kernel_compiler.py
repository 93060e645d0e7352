"""One generator, three instruction sets; what is not code is refused."""

import re
from dataclasses import replace

import pytest

from secateur.errors import KernelError
from secateur.kernels.algorithms import plane_algorithm
from secateur.kernels.compiler import assembly, compile_object, load_objects
from secateur.kernels.depthwise import depthwise_module
from secateur.kernels.direct import direct_module
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.fast import driver_module, input_module, output_module
from secateur.kernels.gate import gate_module
from secateur.kernels.levels import levels_module
from secateur.kernels.map_levels import MapWidths, map_module
from secateur.kernels.moments import moments_module
from secateur.kernels.norm_terms import Bounds, norm_terms_module
from secateur.kernels.shape import ConvShape
from secateur.kernels.target import TARGETS, host_target
from secateur.kernels.value_levels import value_levels_module

REGISTERS = {"avx512": r"%zmm\d", "avx2": r"%ymm\d", "neon": r"\bv\d+\.4s"}
MULTIPLY_ADD = {"avx512": r"vfmadd\w+ps.*%zmm", "avx2": r"vfmadd\w+ps.*%ymm", "neon": r"fmla\s+v\d+\.4s"}
SHAPE = ConvShape(1, 6, 6, 8, 24, (3, 3), padding=(1, 1, 1, 1))


def texts(target):
    algorithm = plane_algorithm((2, 2), (3, 3))
    return {
        "driver": driver_module(target),
        "input": input_module(target, algorithm),
        "output": output_module(target, algorithm, Epilogue("relu", residual=True)),
        "direct": direct_module(SHAPE, target, Epilogue("relu6")),
        "depthwise": depthwise_module(replace(SHAPE, out_channels=8, groups=8), target, Epilogue("relu6")),
        "gate": gate_module("analytic", target),
        "levels": levels_module((2, 3, 8), target),
        "values": value_levels_module((2, 3, 8), target),
        "map_levels": map_module(MapWidths((2, 3, 8), signed=False), target),
        "moments": moments_module(target),
        "norm_terms": norm_terms_module(Bounds(3.0, 10.0, 0.5, squared=True), target),
    }


@pytest.mark.parametrize("name", TARGETS)
def test_every_module_uses_the_registers_of_its_target_and_no_wider(name):
    for kind, text in texts(TARGETS[name]).items():
        listing = assembly(text, TARGETS[name])
        used = {other for other, pattern in REGISTERS.items() if re.search(pattern, listing)}
        assert name in used, kind
        assert not used & {"avx512", "neon"} - {name}, kind


@pytest.mark.parametrize("name", TARGETS)
def test_register_tiles_multiply_and_add_in_one_and_never_spill(name):
    target = TARGETS[name]
    listing = assembly(driver_module(target), target)
    tile = f"tile_{target.rows}x{target.columns}"
    body = listing[listing.index(f"\n{tile}:") :]
    body = body[: body.index(".size" if ".size" in body else "\n\n")]
    count = len(re.findall(MULTIPLY_ADD[name], body))
    assert count >= target.rows * target.columns * 2
    vectors = re.findall(r"vmovups\s+%[yz]mm\d+, -?\d*\(%rsp\)|str\s+q\d+, \[sp", body)
    assert vectors == []


def test_what_is_no_code_is_refused():
    with pytest.raises(KernelError, match="not valid LLVM IR"):
        compile_object("define void @f( {", host_target())


def test_objects_that_are_damaged_or_lack_a_function_are_refused():
    target = host_target()
    content = compile_object("define void @f() {\n  ret void\n}\n", target)
    assert load_objects([content], ("f",), target).addresses["f"]
    with pytest.raises(KernelError, match=r"could not be loaded.*\bg\b"):
        load_objects([content], ("f", "g"), target)
    with pytest.raises(KernelError, match="could not be loaded"):
        load_objects([b"no object at all"], ("f",), target)
