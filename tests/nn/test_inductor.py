"""torch.compile with its default backend, which needs a C++ compiler on the machine."""

import shutil

import pytest
import torch

from mapped import mapped, watched
from prepared import EXAMPLE, prepared
from secateur.nn.map_sites import maps_of

COMPILER = shutil.which("g++") or shutil.which("clang++")


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler on this machine, which torch.compile's inductor needs")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("maps", [False, True])
def test_compiles_to_one_graph_with_inductor(maps):
    torch._dynamo.reset()
    model = watched(mapped()) if maps else prepared()
    for site in maps_of(model):
        site.quantizer.start()
        site.quantizer.learn(1.0)
    compiled = torch.compile(model, fullgraph=True)
    out = compiled(EXAMPLE)
    torch.testing.assert_close(out, model(EXAMPLE))
    out.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())
