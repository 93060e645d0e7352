"""A report keeps both its file forms, and only those."""

import json

import pytest
from sample_report import sample_artifact, sample_report

from secateur.errors import DataError, SecateurError
from secateur.ir.describe import describe
from secateur.reporting.facts import DeadUnits
from secateur.reporting.report import dead_units, report


def test_json_twin_holds_everything_the_page_shows(tmp_path):
    made = sample_report()
    made.save(tmp_path / "report.json")
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["secateur_report"] == 1
    assert data["summary"][0]["after"] == {
        "name": "accuracy", "value": 0.895, "unit": "fraction", "how": "1,000 images & more",
        "higher_is_better": None,
    }  # fmt: skip
    assert data["training"]["epochs"][2]["costs"] == {"density": [0.5, 0.45]}
    assert [row["fate"] for row in data["layers"]] == ["pruned", "kept", "skipped", "quantized", "pruned"]
    assert data["layers"][1]["threshold"] is None
    assert data["training"]["epochs"][-1]["loss"] is None  # NaN is not JSON
    assert data["tensors"][0]["file"]["values_code"] == made.tensors[0].file.values_code
    assert [row["name"] for row in data["tensors"]] == [row.name for row in describe(sample_artifact())]


def test_page_is_a_file(tmp_path):
    sample_report().save(tmp_path / "report.HTML")
    assert (tmp_path / "report.HTML").read_text().startswith("<!doctype html>")


def test_other_endings_and_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"a report is \.html or \.json, not 'report.pdf'"):
        sample_report().save(tmp_path / "report.pdf")
    with pytest.raises(SecateurError, match="cannot write"):
        sample_report().save(tmp_path / "missing" / "report.html")


def test_dead_units_name_their_tensors():
    assert dead_units(sample_artifact()) == (DeadUnits(("fc1.weight", "fc1.bias"), 5, 2),)


def test_an_artifact_alone_is_enough():
    made = report(sample_artifact(), title="bare")
    assert (made.summary, made.training, made.layers) == ((), None, ())
    assert "bare" in made.to_html()
    assert json.loads(made.to_json())["title"] == "bare"
