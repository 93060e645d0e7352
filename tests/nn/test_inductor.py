"""torch.compile with its default backend, which needs a C++ compiler on the machine."""

import shutil

import pytest
import torch

from prepared import EXAMPLE, prepared

COMPILER = shutil.which("g++") or shutil.which("clang++")


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler on this machine, which torch.compile's inductor needs")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiles_to_one_graph_with_inductor():
    torch._dynamo.reset()
    model = prepared()
    compiled = torch.compile(model, fullgraph=True)
    out = compiled(EXAMPLE)
    torch.testing.assert_close(out, model(EXAMPLE))
    out.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())
