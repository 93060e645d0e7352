"""The demo's line keeps its promises on a few images: target met, file verified, course and weights recorded."""

from secateur.reporting.facts import Epoch
from secateur.train.record import Record, Step


def test_target_and_verification(demo_result):
    total = sum(row.size for row in demo_result.plan.pruned)
    assert total == 430_500
    assert sum(row.nonzeros for row in demo_result.fitted.hardening.tensors) == round(0.1 * total)
    assert demo_result.check.examples == 100
    assert demo_result.check.agreement == 1.0
    assert demo_result.check.relative_difference < 1e-5
    assert len(demo_result.packed.to_bytes()) < len(demo_result.dense.to_bytes()) / 5


def test_accuracies_are_of_the_files_own_network(demo_result):
    assert 0 <= demo_result.accuracy_packed <= 1
    assert demo_result.accuracy_dense > 0.2  # chance is 0.1
    assert demo_result.packed.meta["values"] == "float16"


def test_the_course_is_told(demo_result, demo_events):
    steps = [event for event in demo_events if isinstance(event, Step)]
    assert {(step.phase, step.total) for step in steps} == {("dense", 4), ("prune", 8), ("finetune", 4)}
    records = [event for event in demo_events if isinstance(event, (Epoch, Record))]
    assert [record.phase for record in records] == ["dense", "prune", "prune", "finetune"]


def test_weights_are_those_before_hardening(demo_result):
    hardened = demo_result.fitted.hardening
    for drawn, row in zip(demo_result.histograms, hardened.tensors, strict=True):
        assert drawn.name == row.name
        assert drawn.threshold == row.threshold * hardened.factor
        bins = zip(drawn.series["after self-pruning"], drawn.edges, drawn.edges[1:], strict=False)
        sure = sum(count for count, low, high in bins if min(abs(low), abs(high)) > drawn.threshold)
        assert sure <= row.nonzeros < sum(drawn.series["trained, dense"])


def test_a_seed_gives_one_file(demo_result, small_demo):
    assert small_demo(lambda _: None).packed.to_bytes() == demo_result.packed.to_bytes()
