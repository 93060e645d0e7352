"""The demo's table and page say what was measured, and how."""

import numpy as np

from secateur.cli.demo_report import demo_report, summary, verified


def test_the_table_compares_like_with_like(demo_result):
    rows = {change.before.name: change for change in summary(demo_result)}
    assert list(rows) == ["accuracy", "density", "file size", "parameters", "multiply-accumulates"]
    assert all(change.before.how and change.after.how for change in rows.values())
    assert rows["density"].before.value == 1.0
    assert 0 < rows["density"].after.value <= 0.1
    assert rows["file size"].after.value == len(demo_result.packed.to_bytes())
    assert rows["parameters"].before.value == 431_080
    assert rows["multiply-accumulates"].before.value == 2_293_000


def test_verification_in_words(demo_result):
    assert "the same class for 100 of 100 test images" in verified(demo_result)


def test_the_page_shows_the_whole_course(demo_result):
    made = demo_report(demo_result, "It took a while.")
    assert [epoch.phase for epoch in made.training.epochs] == ["dense", "prune", "prune", "finetune"]
    assert made.training.epochs[0].density == 1.0
    assert np.isclose(made.training.epochs[-1].density, 0.1)
    assert [row.name for row in made.layers] == list(demo_result.plan.names())
    assert [row.name for row in made.layers if row.histogram] == [row.name for row in demo_result.plan.pruned]
    assert sum(row.bytes_after for row in made.layers) + made.header_bytes == len(demo_result.packed.to_bytes())
    page = made.to_html()
    assert "It took a while." in page
    assert len(page.encode()) < 1_000_000
