"""For every test: array shapes in signatures are checked, torch keeps to one thread, nothing depends on the clock, and
code is compiled into a folder of the session's own."""

import os
import sys

import pytest
import torch
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

from array_shapes import modules_with_shapes, name_shapes

assert not any(name.startswith("secateur.") for name in sys.modules), "the hook must come before the first import"
name_shapes()
install_import_hook(modules_with_shapes("secateur"), "array_shapes.checked")

# A loaded machine is no fault: neither a slow example nor slow generation fails a test.
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("no clock")
torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Compiled code of a test session stays in the session's folder."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before
