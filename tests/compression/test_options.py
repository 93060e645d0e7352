"""compression.options: what is refused, and what of them belongs to the result."""

import pytest

from secateur.compression.options import Options
from secateur.errors import TargetError


@pytest.mark.parametrize(
    "wrong",
    [
        {"on_miss": "ignore"},
        {"seed": -1},
        {"one_shot": -1},
        {"precision": "float16"},
        {"threshold_lr": -1.0},
        {"threshold_lr": float("nan")},
        {"lr": float("inf")},
    ],
)
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(TargetError):
        Options(**wrong)


def test_what_may_change_while_a_run_is_interrupted():
    assert Options(save_seconds=1, on_miss="warn", code=("a",)).settings() == Options().settings()
    assert Options(seed=1).settings() != Options().settings()


def test_cutting_at_once_takes_no_options_of_training():
    with pytest.raises(TargetError, match="leave prune_epochs, lr away"):
        Options(one_shot=3, prune_epochs=2, lr=0.1)
    with pytest.raises(TargetError, match="leave precision away"):
        Options(one_shot=3, precision="bfloat16")
    assert Options(one_shot=0).settings() != Options().settings()
