"""A comparison keeps both its file forms."""

import json

from test_runs import run

from secateur.reporting.comparison import compare


def test_page_and_twin_say_the_same(tmp_path):
    made = compare({"a": run(0.8, 1000, 0.5), "b": run(0.9, 3000, 0.3)}, title="Two & more")
    made.save(tmp_path / "c.html")
    made.save(tmp_path / "c.json")
    data = json.loads((tmp_path / "c.json").read_text())
    assert data["secateur_comparison"] == 1
    assert data["title"] == "Two & more"
    assert [(one["label"], one["file_bytes"], one["best_in"]) for one in data["runs"]] == [
        ("a", 1000, ["file_bytes"]), ("b", 3000, ["file_bytes", "density"]),
    ]  # fmt: skip
    assert "Two &amp; more" in (tmp_path / "c.html").read_text()


def test_without_a_title_it_counts():
    assert compare({"a": run(0.8, 1000, 0.5)}).title == "1 runs compared"
