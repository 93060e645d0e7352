"""For every test: array shapes in signatures are checked, torch keeps to one thread, nothing depends on the clock."""

import sys

import torch
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

from array_shapes import modules_with_shapes

assert not any(name.startswith("secateur.") for name in sys.modules), "the hook must come before the first import"
install_import_hook(modules_with_shapes("secateur"), "array_shapes.checked")

# A loaded machine is no fault: neither a slow example nor slow generation fails a test.
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("no clock")
torch.set_num_threads(1)
