"""The dictionary of header texts does what it is for, on networks it was not trained on."""

from __future__ import annotations

import runpy
from pathlib import Path
from statistics import mean

import pytest

from secateur.ir.coding.squeeze import squeeze
from secateur.ir.container import HEADER_DICTIONARY, framing_bytes
from secateur.ir.header import read_header

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "make_header_dictionary.py"))
FAMILIES, SAMPLES, main, samples = (TOOL[name] for name in ("FAMILIES", "SAMPLES", "main", "samples"))


@pytest.mark.parametrize("family", dict.fromkeys(FAMILIES), ids=lambda family: family.__name__)
def test_headers_shrink_to_a_fraction(family):
    headers = [family(SAMPLES + seed) for seed in range(12)]
    with_dictionary = mean(framing_bytes(header, [])[0] for header in headers)
    alone = mean(len(squeeze(header)) for header in headers)
    assert with_dictionary < 0.6 * alone
    assert with_dictionary < 300


def test_samples_are_headers():
    for header in samples(18):
        found = read_header(header)
        assert found.shapes
        assert ("nodes" in found.members) != ("weights_only" in found.meta)


def test_the_output_can_be_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(main.__globals__, "SAMPLES", 60)
    output = tmp_path / "header.dict"
    before = HEADER_DICTIONARY.read_bytes()
    assert main([str(output)]) == 0
    assert 0 < output.stat().st_size <= TOOL["DICTIONARY_BYTES"]
    assert "header.dict" in capsys.readouterr().err
    assert HEADER_DICTIONARY.read_bytes() == before
