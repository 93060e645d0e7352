"""nn.norms.sites: the layer before a norm is its maker only where nothing but the two can notice."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from secateur.nn.norms.initialise import initialise_norms_
from secateur.nn.norms.lagrange_norm import LagrangeNorm, LagrangeNorm1d
from secateur.nn.norms.sites import makers
from secateur.nn.norms.swap import swap_norms_

IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


class Net(nn.Module):
    """A layer and its norm, and code that may do more with them: (net, x) -> y."""

    def __init__(self, layer, norm, code=lambda net, x: net.norm(net.layer(x)), **others):
        super().__init__()
        self.layer, self.norm, self.code = layer, norm, code
        for name, other in others.items():
            setattr(self, name, other)
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 3.0)

    def forward(self, x):
        return self.code(self, x)


def image_net(layer=None, **rest):
    return Net(layer or nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), **rest)


def tied():
    net = image_net(code=lambda net, x: net.norm(net.layer(x)) + net.other(x), other=nn.Conv2d(3, 8, 3))
    net.other.weight = net.layer.weight
    return net


def tied_gain():
    net = image_net(other=nn.BatchNorm2d(8))
    net.other.weight = net.norm.weight
    return net


def hooked():
    layer = nn.Conv2d(3, 8, 3)
    layer.register_forward_hook(lambda _, inputs, output: 2 * output)
    return image_net(layer)


def own_on_the_object():
    layer = nn.Conv2d(3, 8, 3)
    layer.forward = lambda x: F.conv2d(x, layer.weight**2, layer.bias)
    return image_net(layer)


class Standardised(nn.Conv2d):
    def forward(self, input):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(input, weight / weight.std((1, 2, 3), keepdim=True), self.bias)


KEPT = {
    "tied": (tied, IMAGES, "weight of 0.layer is also a tensor of 0.other"),
    "tied gain": (tied_gain, IMAGES, "weight of 0.norm is also a tensor of 0.other"),
    "read as a function": (
        lambda: Net(nn.Linear(8, 4), nn.BatchNorm1d(4), lambda net, x: net.norm(net.layer(x)) @ net.layer.weight),
        torch.randn(2, 8),
        "weight of 0.layer is read by the model's code too",
    ),
    "statistics read": (
        lambda: image_net(code=lambda net, x: net.norm(net.layer(x)) + net.norm.running_mean.view(-1, 1, 1)),
        IMAGES,
        "running_mean of 0.norm is read",
    ),
    "own code": (lambda: image_net(Standardised(3, 8, 3)), IMAGES, "Standardised) computes in its own way"),
    "own code on the object": (own_on_the_object, IMAGES, "computes in its own way"),
    "weight_norm": (lambda: image_net(weight_norm(nn.Conv2d(3, 8, 3))), IMAGES, "layer has hooks"),
    "spectral_norm": (lambda: image_net(spectral_norm(nn.Conv2d(3, 8, 3))), IMAGES, "layer has hooks"),
    "parametrized": (
        lambda: image_net(parametrizations.weight_norm(nn.Conv2d(3, 8, 3))),
        IMAGES,
        "weights of 0.layer are parametrized",
    ),
    "hook": (hooked, IMAGES, "layer has hooks"),
    "features last": (lambda: Net(nn.Linear(8, 8), nn.BatchNorm1d(8)), torch.randn(2, 8, 8), "gives 3 dimensions"),
    "sizes differ": (lambda: Net(nn.Linear(8, 6), nn.BatchNorm1d(5)), torch.randn(2, 5, 8), "gives 3 dimensions"),
    "no batch": (lambda: Net(nn.Conv1d(3, 6, 1), nn.BatchNorm1d(6)), torch.randn(3, 6), "gives 2 dimensions"),
    "training alone": (
        lambda: Net(
            nn.Linear(8, 8), nn.BatchNorm1d(8), lambda net, x: net.norm(net.layer(x)) if net.training else x
        ).train(),
        torch.randn(2, 8),
        "not called in evaluation",
    ),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize(("make", "x", "reason"), KEPT.values(), ids=KEPT)
def test_what_others_could_notice_stays_and_says_why(make, x, reason):
    torch.manual_seed(0)
    model = nn.Sequential(make(), nn.Flatten())
    with torch.no_grad():
        features = model(x)[:1].numel()
        training = model[0].training
        model.append(nn.Linear(features, 3)).append(nn.BatchNorm1d(3))
        nn.init.uniform_(model[3].running_var, 0.5, 3.0)
        before = model.eval()(x)
    model.train(training)
    rows = {row.name: row for row in swap_norms_(model, "lagrange", x)}
    assert reason in rows["0.norm"].reason
    assert rows["3"].swapped
    assert model.training == training
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x), before)


def test_asking_a_weight_for_its_type_does_not_read_it():
    net = image_net(code=lambda net, x: net.norm(net.layer(x.to(net.layer.weight.dtype))))
    assert makers(net, (IMAGES,), NORMS)["norm"].name == "layer"


def test_initialising_leaves_such_layers_alone_too():
    model = nn.Sequential(nn.Linear(8, 8), LagrangeNorm1d(8))
    before = model[0].weight.detach().clone()
    assert initialise_norms_(model, torch.randn(2, 8, 8)) == ("1",)
    assert torch.equal(model[0].weight, before)
    assert makers(model, (torch.randn(2, 8),), (LagrangeNorm,))["1"].name == "0"
