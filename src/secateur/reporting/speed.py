"""The account that `accelerate` gives, read from its JSON: what running on generated kernels brought."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secateur.kernels.acceleration import Acceleration
from secateur.reporting.reading import json_object, made_from

ACCOUNT = "account of accelerate"


def speed_from_json(text: str | bytes, what: str = ACCOUNT) -> Acceleration:
    """From the JSON of an accelerated model's `report.to_json()`; DataError naming `what` for anything else."""
    return speed_of(json_object(text.encode(errors="surrogatepass") if isinstance(text, str) else text, what), what)


def speed_of(data: Mapping[str, Any], what: str = ACCOUNT) -> Acceleration:
    """The same from the object that it holds."""
    return made_from(Acceleration, {key: value for key, value in data.items() if key != "replaced"}, what)
