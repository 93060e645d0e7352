"""Secateur cuts what a neural network does not need, and then really runs the result.

The public names are one closed table, resolved on first use (PEP 562), so that `import secateur` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from secateur.errors import (
        ArtifactError as ArtifactError,
    )
    from secateur.errors import (
        DataError as DataError,
    )
    from secateur.errors import (
        GraphError as GraphError,
    )
    from secateur.errors import (
        PlanError as PlanError,
    )
    from secateur.errors import (
        SecateurError as SecateurError,
    )
    from secateur.errors import (
        TargetError as TargetError,
    )

PUBLIC = {
    "ArtifactError": "secateur.errors",
    "DataError": "secateur.errors",
    "GraphError": "secateur.errors",
    "PlanError": "secateur.errors",
    "SecateurError": "secateur.errors",
    "TargetError": "secateur.errors",
}

__all__ = ["__version__", *PUBLIC]  # noqa: PLE0604


def __getattr__(name: str) -> object:
    try:
        module = PUBLIC[name]
    except KeyError:
        raise AttributeError(f"module 'secateur' has no attribute {name!r}") from None
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
