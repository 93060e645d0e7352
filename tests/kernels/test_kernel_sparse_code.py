"""kernels.sparse_code: what the code looks like on every target, and what it depends on."""

import re

import pytest

from secateur.kernels.compiler import assembly
from secateur.kernels.epilogue import Epilogue
from secateur.kernels.sparse_code import SparseCode, sparse_module
from secateur.kernels.sparse_cut import VECTORS
from secateur.kernels.target import TARGETS


def code(name, **changed):
    target = TARGETS[name]
    places = tuple(index * target.vector_bytes for index in range(VECTORS[target.lanes]))
    given = {"epilogue": Epilogue("relu", residual=True), "places": places, "ragged": (True, True)}
    return SparseCode(target, **(given | changed))


@pytest.mark.parametrize("name", TARGETS)
def test_sums_stay_in_registers_and_loads_are_part_of_products(name):
    listing = assembly(sparse_module(code(name)), TARGETS[name])
    count = VECTORS[TARGETS[name].lanes]
    for begins in (0, 1):
        body = re.search(rf"^rows_{begins}:\n(.*?)^\s+ret", listing, re.MULTILINE | re.DOTALL).group(1)
        products = re.findall(r"vfmadd\w+ps\s+\d*\(%r|fmla\s+v\d+\.4s", body)
        assert len(products) == count
        assert re.findall(r"v?mov\w+\s+%[xyz]mm\d+, -?\d*\(%rsp\)|str\s+q\d+, \[sp", body) == []


def test_what_the_code_depends_on():
    first = code("avx512")
    assert first.code_name == code("avx512").code_name
    for other in ({"places": (0,)}, {"ragged": (False, True)}, {"epilogue": Epilogue("relu")}):
        assert code("avx512", **other).code_name != first.code_name


@pytest.mark.parametrize("ragged", [(False, False), (True, False), (False, True)])
def test_code_for_parts_of_vectors_only_where_there_are_some(ragged):
    text = sparse_module(code("avx2", ragged=ragged))
    assert ("@bring_1" in text, "@finish_1" in text) == ragged
