"""compression.result: a row a tensor, and JSON that comes back equal."""

import json
import math

import pytest

from secateur.compression.result import Compression
from secateur.errors import DataError


@pytest.fixture
def result(unbroken):
    return Compression.from_json((unbroken / "result.json").read_text())


def test_json_comes_back_equal(result):
    again = Compression.from_json(result.to_json())
    assert again == result
    assert again.schedule == result.schedule
    assert math.isnan(again.layers[1].threshold)


def test_the_table_has_a_line_a_tensor_with_the_reason(result):
    lines = str(result).splitlines()
    assert len(lines) == 2 + len(result.layers)
    assert "Linear.bias has no pruning rule" in lines[3]


def test_totals_are_sums_of_the_rows(result):
    assert result.bytes_before == 4 * sum(row.weights for row in result.layers)
    pruned = [row for row in result.layers if row.fate == "pruned"]
    assert result.density == sum(row.nonzeros for row in pruned) / sum(row.weights for row in pruned)
    assert result.macs[1] == sum(row.nonzeros for row in pruned)  # every weight of a linear layer multiplies once


@pytest.mark.parametrize("change", [{"secateur_compression": 9}, {"layers": [{"name": 1}]}, {"target": {"x": 1}}])
def test_other_texts_are_refused(result, change):
    with pytest.raises(DataError):
        Compression.from_json(json.dumps({**json.loads(result.to_json()), **change}))
    with pytest.raises(DataError):
        Compression.from_json("[1")
