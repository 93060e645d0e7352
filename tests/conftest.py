"""For every test: array shapes in signatures are checked, and torch keeps to one thread, so runs are repeatable."""

import sys

import torch
from jaxtyping import install_import_hook

from array_shapes import modules_with_shapes

assert not any(name.startswith("secateur.") for name in sys.modules), "the hook must come before the first import"
install_import_hook(modules_with_shapes("secateur"), "array_shapes.checked")
torch.set_num_threads(1)
