"""benchmarks.bench_start: what is compared, and a table that keeps ways apart."""

from bench_start import WAYS, summary


def test_half_of_the_epochs_is_measured_with_and_without_a_start():
    assert WAYS["half"][0] == WAYS["half, started"][0] < WAYS["all epochs"][0]
    assert [started for _, started in WAYS.values()] == [False, False, True]


def test_the_table_has_mean_and_seeds_of_every_way():
    given = {"density": 0.02, "start": 0.2, "prune_epochs": 4, "finetune_epochs": 1, "lr": 0.001}
    lines = [{**given, "seed": seed, "way": way, "error": 1.0 + seed + len(way)} for way in WAYS for seed in (0, 1)]
    text = summary(lines)
    assert "| all epochs | 11.50 % | 11.0, 12.0 |" in text
    assert "| half | 5.50 % | 5.0, 6.0 |" in text
    assert "| half, started | 14.50 % | 14.0, 15.0 |" in text
