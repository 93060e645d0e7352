"""The oracle as a torch module gives what `interpret` gives."""

import numpy as np
import pytest
import torch

import secateur as sct
from secateur.cli.oracle import Oracle
from secateur.errors import ArtifactError
from secateur.ir.artifact import Artifact


def test_equals_interpret(artifact):
    x = torch.randn(3, 8)[:, ::2]  # not contiguous
    np.testing.assert_array_equal(Oracle(artifact)(x).numpy(), sct.interpret(artifact, x.numpy()))


def test_weights_alone_are_refused():
    with pytest.raises(ArtifactError, match="no row for it"):
        Oracle(Artifact(None, {}, {"weights_only": "no row for it"}))
