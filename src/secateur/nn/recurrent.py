"""nn.LSTM, GRU and RNN under transformation: they read their weights from a list that torch keeps of them.

Before every forward pass torch compares that list, `_flat_weights`, with the attributes, and fills it again where
they differ, which a parametrized weight always does. That costs every transformed weight two to four evaluations a
pass, takes an AttributeError raised by a transform for a weight that is not there, and leaves tensors in the module
that belong to the autograd graph, which no deepcopy can copy. So a layer that is prepared fills the list by one plain
read each, right before it is used, and holds nothing that a copy would take along.
"""

from __future__ import annotations

from typing import Any, cast

from torch import nn


def read_afresh(module: nn.RNNBase) -> None:
    """Make a recurrent layer, already parametrized, read its weights once a forward pass and otherwise hold none.

    torch has made a class for this module alone, as for every parametrized module: that class gets the methods, and
    they go with it when the last transform is taken out.
    """
    kind = cast(Any, type(module))
    copied = kind.__deepcopy__

    def deepcopy(self: Any, memo: dict[int, Any]) -> Any:
        held, self._flat_weights = self._flat_weights, [None] * len(self._flat_weights)
        try:
            return copied(self, memo)
        finally:
            self._flat_weights = held

    kind._update_flat_weights, kind._init_flat_weights, kind.__deepcopy__ = _read, _forget, deepcopy
    _forget(module)


def _read(self: Any) -> None:
    """What forward calls first."""
    self._flat_weights = [getattr(self, name) for name in self._flat_weights_names]
    self.flatten_parameters()


def _forget(self: Any) -> None:
    """What moving or casting the module calls last."""
    self._flat_weights = [None] * len(self._flat_weights_names)
    self._flat_weight_refs = [None] * len(self._flat_weights_names)
