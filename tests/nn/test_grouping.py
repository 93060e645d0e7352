"""nn.grouping: rows and back, counts and projection as maths.balance defines them, on every layout."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.ir.pattern import GROUPS, Pattern
from secateur.maths import balance
from secateur.nn.grouping import Grouping, counts_of, project, spread

SHAPES = [(5, 7), (3, 16), (4, 20, 3, 3), (20, 4, 5), (6, 1, 2, 2), (2, 9, 2, 2, 2)]


def grouping(shape, axis, groups, m=4):
    return Grouping(shape, axis, groups, m)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("groups", GROUPS)
def test_rows_and_back_are_the_same_elements(shape, axis, groups):
    found = grouping(shape, axis, groups)
    w = torch.randn(shape)
    rows = found.rows(w)
    assert rows.shape[1] == found.length
    assert torch.equal(found.whole(rows), w)


def test_groups_run_along_inputs_at_every_kernel_position():
    w = torch.randn(3, 8, 5, 5)
    rows = grouping((3, 8, 5, 5), 1, "inputs").rows(w)
    assert torch.equal(rows[5 * 5 + 7], w[1, :, 1, 2])
    transposed = grouping((8, 3, 5, 5), 0, "inputs").rows(w.swapaxes(0, 1))
    assert torch.equal(transposed, rows)


def test_banks_are_a_whole_row_of_an_output():
    w = torch.randn(3, 8, 5, 5)
    rows = grouping((3, 8, 5, 5), 1, "banks").rows(w)
    assert torch.equal(rows, w.flatten(1))
    assert torch.equal(grouping((8, 3, 5, 5), 0, "banks").rows(w.swapaxes(0, 1)), rows)


@pytest.mark.parametrize("groups", GROUPS)
def test_one_number_an_output_becomes_one_a_row(groups):
    found = grouping((3, 8, 2, 2), 1, groups)
    per_output = torch.arange(3.0).view(3, 1, 1, 1)
    expected = found.rows(per_output.expand(3, 8, 2, 2).contiguous())[:, :1]
    assert torch.equal(found.rows(per_output), expected)
    assert found.rows(torch.ones(1, 1, 1, 1)).shape == (1, 1)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**16),
    length=st.integers(1, 50),
    pattern=st.sampled_from(
        [Pattern(2, 4), Pattern(4, 16), Pattern(4, 16, "2:4"), Pattern(1, 3), Pattern(3, 8, "1:2")]
    ),
    kinds=st.sampled_from([2, 5, 10**6]),
)
def test_counts_and_projection_are_those_of_the_definition_ties_included(seed, length, pattern, kinds):
    scores = np.random.default_rng(seed).integers(0, kinds, (6, length)).astype(np.float32)
    rows = torch.from_numpy(scores)
    np.testing.assert_allclose(counts_of(rows, pattern.m), balance.group_counts(scores, pattern.m), rtol=1e-6)
    expected = balance.project(scores, pattern.m, pattern.kept(length), pattern.inner)
    np.testing.assert_array_equal(project(rows, pattern), expected)


def test_spread_gives_every_element_what_its_group_has():
    assert spread(torch.tensor([[1.0, 2.0, 3.0]]), 5, 2).tolist() == [[1, 1, 2, 2, 3]]


def test_counts_are_differentiable():
    w = torch.randn(3, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: grouping((3, 7), 1, "inputs").counts(x), (w,))


def test_a_compiler_sees_the_same_mask(monkeypatch):
    rows = torch.randint(0, 3, (50, 16), generator=torch.Generator().manual_seed(0)).float()
    found = project(rows, Pattern(4, 16))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert torch.equal(project(rows, Pattern(4, 16)), found)


@pytest.mark.parametrize(
    ("groups", "pattern"), [(40_000, Pattern(1, 2)), (17_000, Pattern(3, 4)), (700, Pattern(16, 64))]
)
def test_many_groups_and_long_ones_keep_what_the_definition_keeps(groups, pattern):
    scores = np.random.default_rng(0).integers(0, 1000, (groups, pattern.m)).astype(np.float32)
    expected = balance.project(scores, pattern.m, pattern.kept(pattern.m), pattern.inner)
    np.testing.assert_array_equal(project(torch.from_numpy(scores), pattern), expected)


@pytest.mark.parametrize("also", [None, "2:4"])
@pytest.mark.parametrize("shape", [(5, 32), (3, 40), (2, 7)])
@pytest.mark.parametrize("n", [4, 7, 8, 9, 16])
def test_code_that_serves_every_count_gives_the_same_mask(monkeypatch, shape, n, also):
    """What is compiled, or runs on a GPU, against the pattern with that n."""
    pattern = Pattern(4, 16, also)
    score = torch.randint(0, 6, shape, generator=torch.Generator().manual_seed(n)).float()
    grouping = Grouping.of(shape, 0, pattern)
    plain = grouping.project_keeping(score, pattern, torch.tensor(n))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert torch.equal(grouping.project_keeping(score, pattern, torch.tensor(n)), plain)
    assert plain.all() == (n == 16)
