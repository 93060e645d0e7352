"""`report`: the page of a run again, or several runs beside one another, from their JSON twins."""

import dataclasses
import json

import pytest

from secateur.ir.formats import from_dense
from secateur.reporting.measurement import Change, Measurement
from secateur.reporting.report import report


@pytest.fixture
def runs(tmp_path, artifact):
    """Two folders as `compress` leaves them."""
    for name, score in (("small", 0.8), ("good", 0.9)):
        scores = [Measurement("accuracy", value, "fraction", "100 images") for value in (0.95, score)]
        kept = artifact if name == "small" else larger(artifact)
        (tmp_path / name).mkdir()
        report(kept, title=f"The {name} one", summary=[Change(*scores)]).save(tmp_path / name / "report.json")
    return tmp_path


def larger(artifact):
    tensors = {name: from_dense(tensor.to_dense() + 1.5, "float32") for name, tensor in artifact.tensors.items()}
    return dataclasses.replace(artifact, tensors=tensors)


def test_one_run_becomes_its_page_again(secateur, runs):
    ran = secateur("report", runs / "good", "-o", runs / "again.html", "-o", runs / "again.json")
    assert ran.status == 0
    assert ran.out.splitlines()[0] == "The good one"
    assert "95.00 %  90.00 %  -5.00 points" in ran.out
    assert "The good one" in (runs / "again.html").read_text()
    assert json.loads((runs / "again.json").read_text()) == json.loads((runs / "good" / "report.json").read_text())
    assert f"wrote {runs / 'again.html'}" in ran.err


def test_a_title_of_one_run_is_refused(secateur, runs):
    ran = secateur("report", runs / "good", "--title", "Mine")
    assert ran.status == 2
    assert "--title is of a page that compares runs" in ran.err


def test_several_runs_are_compared(secateur, runs):
    ran = secateur("report", runs / "small", runs / "good" / "report.json", "-o", runs / "c.html", "--title", "Both")
    assert ran.status == 0
    lines = ran.out.splitlines()
    assert lines[0] == "Both"
    assert [line.split()[0] for line in lines[2:]] == ["run", "-----", "small", "good"]
    assert lines[-2].endswith("bytes, density")
    page = (runs / "c.html").read_text()
    assert "<title>small: " in page
    assert "<title>good: " in page


def test_json_alone(secateur, runs):
    data = secateur("report", runs / "small", runs / "good", "--json").json
    assert [run["label"] for run in data["runs"]] == ["small", "good"]
    assert secateur("report", runs / "small", "--json").json["title"] == "The small one"


def test_runs_whose_folders_share_a_name_are_told_apart(secateur, runs):
    (runs / "more").mkdir()
    (runs / "small").rename(runs / "more" / "good")
    data = secateur("report", runs / "more" / "good", runs / "good", "--json").json
    assert [run["label"] for run in data["runs"]] == [str(runs / "more" / "good"), str(runs / "good")]


def test_what_is_no_report_is_refused(secateur, runs):
    (runs / "broken").mkdir()
    (runs / "broken" / "report.json").write_text("{")
    (runs / "empty").mkdir()
    (runs / "x.txt").write_text("")
    for arguments, words in (
        ((runs / "broken",), "no strict JSON"),
        ((runs / "empty",), "cannot read"),
        ((runs / "x.txt",), "neither a folder with a report.json nor a .json file"),
        ((runs / "gone",), "neither a folder"),
        ((runs / "good", "-o", runs / "page.pdf"), "a report is .html or .json"),
        ((runs / "good", "-o", runs / "none" / "page.html"), "cannot write"),
        ((), "Missing argument"),
    ):
        ran = secateur("report", *arguments)
        assert ran.status == 2
        assert words in ran.err
        assert ran.out == ""
        assert "Traceback" not in ran.err


def test_nothing_is_written_where_a_run_is_damaged(secateur, runs):
    (runs / "good" / "report.json").write_text('{"secateur_report": 1}')
    assert secateur("report", runs / "small", runs / "good", "-o", runs / "c.html").status == 2
    assert not (runs / "c.html").exists()


def account(**changes):
    row = {"name": "fc", "shape": "8x4", "algorithm": "balanced 4:16 int8", "before_us": 12.0, "after_us": 4.0}
    return json.dumps({"accuracy": "int8", "limit": 0.05, "threads": 1, "layers": [row], "replaced": 1, **changes})


def test_kernels_of_a_run(secateur, runs):
    (runs / "kernels.json").write_text(account())
    ran = secateur("report", runs / "good", "--kernels", runs / "kernels.json", "-o", runs / "k.html", "--json")
    assert ran.status == 0
    assert ran.json["speed"]["layers"][0]["algorithm"] == "balanced 4:16 int8"
    assert 'id="kernels"' in (runs / "k.html").read_text()
    assert "3.00" in (runs / "k.html").read_text()


@pytest.mark.parametrize(
    ("given", "text", "told"),
    [
        (["small", "good"], account(), "name one"),
        (["good"], account(threads="two"), "threads is 'two'"),
        (["good"], None, "cannot read"),
    ],
)
def test_kernels_that_do_not_fit(secateur, runs, given, text, told):
    if text is not None:
        (runs / "kernels.json").write_text(text)
    ran = secateur("report", *(runs / name for name in given), "--kernels", runs / "kernels.json")
    assert ran.status == 2
    assert told in ran.err
