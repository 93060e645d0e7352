"""The benchmark of kills in its small form: three real SIGKILLs, three artifacts equal to the unbroken one's."""

import pytest

from bench_resume import measure


@pytest.mark.slow
def test_three_kills_change_no_byte():
    found = measure(kills=3, epochs=1, images=640, seed=1, save_seconds=0.2)
    assert found["identical"] == 3
    assert found["artifact_bytes"] > 1000
    assert len(found["kills"]) == 3
