"""nn.plain_layers: code of one's own and hooks are seen, on the class and on the object."""

import pytest
from torch import nn
from torch.nn.utils import parametrizations

from secateur.nn.plain_layers import hooked, own_way

OWN = {name: type(f"Own{name}", (nn.Conv2d,), {name: lambda *_: None}) for name in ("forward", "_conv_forward")}


@pytest.mark.parametrize("make", [lambda: nn.Linear(3, 3), *(lambda k=k: k(3, 3, 3) for k in (nn.Conv1d, nn.Conv3d))])
def test_layers_of_torch_are_plain(make):
    layer = make()
    assert not own_way(layer)
    assert not hooked(layer)
    assert not own_way(parametrizations.orthogonal(layer)), "what makes its weights is another question"
    layer.forward = lambda x: x
    assert own_way(layer)


@pytest.mark.parametrize("name", OWN)
def test_code_of_a_class_is_seen(name):
    assert own_way(OWN[name](3, 3, 3))
    assert not own_way(type("Named", (nn.Conv2d,), {})(3, 3, 3))


@pytest.mark.parametrize("kind", ["forward_pre_hook", "forward_hook", "full_backward_hook", "full_backward_pre_hook"])
def test_hooks_are_seen_until_they_are_gone(kind):
    layer = nn.Linear(3, 3)
    handle = getattr(layer, f"register_{kind}")(lambda *_: None)
    assert hooked(layer)
    handle.remove()
    assert not hooked(layer)
