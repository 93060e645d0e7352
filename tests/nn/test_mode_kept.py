"""nn.mode_kept: every module is in its own mode again, whatever happened meanwhile."""

import pytest
from torch import nn

from secateur.nn.mode_kept import mode_kept


@pytest.mark.parametrize("training", [True, False])
def test_every_module_is_in_its_own_mode_again(training):
    model = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.Dropout(), nn.ReLU()))
    model[1].train(not training)
    model[1][1].train(training)
    before = [module.training for module in model.modules()]
    with mode_kept(model):
        model.train(training)
        assert {module.training for module in model.modules()} == {training}
    assert [module.training for module in model.modules()] == before

    def interrupted():
        with mode_kept(model):
            model.train(not training)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [module.training for module in model.modules()] == before
