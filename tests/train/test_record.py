"""train.record: plain data and back."""

import json

from secateur.nn.harden import HardenedTensor, Hardening
from secateur.train.record import Record, hardening_from, plain, record_from


def test_records_and_hardenings_come_back_equal_through_json():
    record = Record(
        "prune", 2, 0.5, 0.75, {"a": 0.5}, {"a": 0.1}, {"density": 1.0}, {"density": (0.5, 0.4)}, {"task": 1}
    )
    hardening = Hardening(0.99, (HardenedTensor("a", 10, 5, 0.1, 1),), notes=("estimated",))
    assert record_from(json.loads(json.dumps(plain(record)))) == record
    assert hardening_from(json.loads(json.dumps(plain(hardening)))) == hardening
