"""Secateur cuts what a neural network does not need, and then really runs the result.

The public names are one closed table, resolved on first use (PEP 562), so that `import secateur` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from secateur.bridge.accelerate import accelerate as accelerate
    from secateur.bridge.fast_conv2d import FastConv2d as FastConv2d
    from secateur.compression.compress import compress as compress
    from secateur.compression.options import MacAwareOptions as MacAwareOptions
    from secateur.compression.options import Options as Options
    from secateur.compression.result import Compression as Compression
    from secateur.errors import AlgorithmError as AlgorithmError
    from secateur.errors import ArtifactError as ArtifactError
    from secateur.errors import DataError as DataError
    from secateur.errors import GraphError as GraphError
    from secateur.errors import KernelError as KernelError
    from secateur.errors import PlanError as PlanError
    from secateur.errors import SecateurError as SecateurError
    from secateur.errors import SecateurWarning as SecateurWarning
    from secateur.errors import TargetError as TargetError
    from secateur.errors import TrainingError as TrainingError
    from secateur.ir.artifact import Artifact as Artifact
    from secateur.ir.execute import NodeArithmetic as NodeArithmetic
    from secateur.ir.execute import integer_layers as integer_layers
    from secateur.ir.execute import interpret as interpret
    from secateur.ir.mac_row import MacAwareLayer as MacAwareLayer
    from secateur.ir.plan import Plan as Plan
    from secateur.ir.plan_rows import MapPlan as MapPlan
    from secateur.ir.plan_rows import TensorPlan as TensorPlan
    from secateur.ir.rules import Prune as Prune
    from secateur.ir.rules import Quantize as Quantize
    from secateur.ir.target import Target as Target
    from secateur.kernels.acceleration import Acceleration as Acceleration
    from secateur.kernels.choice import forget_choices as forget_choices
    from secateur.maths.bilinear import Bilinear as Bilinear
    from secateur.maths.choosing import Wish as Wish
    from secateur.maths.convolution import convolution as convolution
    from secateur.nn.check import Check as Check
    from secateur.nn.check import check as check
    from secateur.nn.groups import param_groups as param_groups
    from secateur.nn.harden import Hardening as Hardening
    from secateur.nn.harden import harden_ as harden_
    from secateur.nn.map_sites import maps_of as maps_of
    from secateur.nn.norms.distance import NormDistance as NormDistance
    from secateur.nn.norms.distance import norm_distances as norm_distances
    from secateur.nn.norms.initialise import initialise_norms_ as initialise_norms_
    from secateur.nn.norms.lagrange_norm import LagrangeNorm1d as LagrangeNorm1d
    from secateur.nn.norms.lagrange_norm import LagrangeNorm2d as LagrangeNorm2d
    from secateur.nn.norms.lagrange_norm import LagrangeNorm3d as LagrangeNorm3d
    from secateur.nn.norms.penalty import norm_penalty as norm_penalty
    from secateur.nn.norms.swap import NormSwap as NormSwap
    from secateur.nn.norms.swap import swap_norms_ as swap_norms_
    from secateur.nn.pack import pack as pack
    from secateur.nn.planning import plan as plan
    from secateur.nn.prepare import prepare_ as prepare_
    from secateur.nn.refit import Refit as Refit
    from secateur.nn.refit import refit_ as refit_
    from secateur.nn.restore import restore_ as restore_
    from secateur.nn.strip import strip_ as strip_
    from secateur.reporting.comparison import Comparison as Comparison
    from secateur.reporting.comparison import compare as compare
    from secateur.reporting.facts import Training as Training
    from secateur.reporting.layers import LayerRow as LayerRow
    from secateur.reporting.layers import layer_rows as layer_rows
    from secateur.reporting.measurement import Change as Change
    from secateur.reporting.measurement import Measurement as Measurement
    from secateur.reporting.report import Report as Report
    from secateur.reporting.report import report as report
    from secateur.reporting.weight_histogram import WeightHistogram as WeightHistogram
    from secateur.train.budget import Budget as Budget
    from secateur.train.calibrate import Calibration as Calibration
    from secateur.train.calibrate import calibrate_ as calibrate_
    from secateur.train.distillation import Distillation as Distillation
    from secateur.train.fit import fit as fit
    from secateur.train.mac_aware import MacAware as MacAware
    from secateur.train.mac_aware import mac_aware as mac_aware
    from secateur.train.one_shot import one_shot_ as one_shot_
    from secateur.train.one_shot_result import OneShot as OneShot
    from secateur.train.schedule import Schedule as Schedule
    from secateur.train.task import Task as Task
    from secateur.train.task import accuracy as accuracy
    from secateur.train.task import score as score

PUBLIC = {
    "Acceleration": "secateur.kernels.acceleration",
    "FastConv2d": "secateur.bridge.fast_conv2d",
    "accelerate": "secateur.bridge.accelerate",
    "Compression": "secateur.compression.result",
    "MacAwareOptions": "secateur.compression.options",
    "Options": "secateur.compression.options",
    "compress": "secateur.compression.compress",
    "AlgorithmError": "secateur.errors",
    "ArtifactError": "secateur.errors",
    "DataError": "secateur.errors",
    "GraphError": "secateur.errors",
    "KernelError": "secateur.errors",
    "PlanError": "secateur.errors",
    "SecateurError": "secateur.errors",
    "TargetError": "secateur.errors",
    "Plan": "secateur.ir.plan",
    "Prune": "secateur.ir.rules",
    "Quantize": "secateur.ir.rules",
    "Target": "secateur.ir.target",
    "forget_choices": "secateur.kernels.choice",
    "Bilinear": "secateur.maths.bilinear",
    "Wish": "secateur.maths.choosing",
    "convolution": "secateur.maths.convolution",
    "mac_aware": "secateur.train.mac_aware",
    "maps_of": "secateur.nn.map_sites",
    "param_groups": "secateur.nn.groups",
    "NormDistance": "secateur.nn.norms.distance",
    "norm_distances": "secateur.nn.norms.distance",
    "initialise_norms_": "secateur.nn.norms.initialise",
    "LagrangeNorm1d": "secateur.nn.norms.lagrange_norm",
    "LagrangeNorm2d": "secateur.nn.norms.lagrange_norm",
    "LagrangeNorm3d": "secateur.nn.norms.lagrange_norm",
    "norm_penalty": "secateur.nn.norms.penalty",
    "NormSwap": "secateur.nn.norms.swap",
    "swap_norms_": "secateur.nn.norms.swap",
    "Hardening": "secateur.nn.harden",
    "harden_": "secateur.nn.harden",
    "Refit": "secateur.nn.refit",
    "refit_": "secateur.nn.refit",
    "plan": "secateur.nn.planning",
    "prepare_": "secateur.nn.prepare",
    "strip_": "secateur.nn.strip",
    "Comparison": "secateur.reporting.comparison",
    "compare": "secateur.reporting.comparison",
    "Training": "secateur.reporting.facts",
    "WeightHistogram": "secateur.reporting.weight_histogram",
    "LayerRow": "secateur.reporting.layers",
    "layer_rows": "secateur.reporting.layers",
    "Change": "secateur.reporting.measurement",
    "Measurement": "secateur.reporting.measurement",
    "Report": "secateur.reporting.report",
    "report": "secateur.reporting.report",
    "Budget": "secateur.train.budget",
    "TrainingError": "secateur.errors",
    "Distillation": "secateur.train.distillation",
    "Schedule": "secateur.train.schedule",
    "fit": "secateur.train.fit",
    "OneShot": "secateur.train.one_shot_result",
    "Calibration": "secateur.train.calibrate",
    "calibrate_": "secateur.train.calibrate",
    "one_shot_": "secateur.train.one_shot",
    "Task": "secateur.train.task",
    "Artifact": "secateur.ir.artifact",
    "NodeArithmetic": "secateur.ir.execute",
    "integer_layers": "secateur.ir.execute",
    "interpret": "secateur.ir.execute",
    "Check": "secateur.nn.check",
    "check": "secateur.nn.check",
    "pack": "secateur.nn.pack",
    "restore_": "secateur.nn.restore",
    "accuracy": "secateur.train.task",
    "score": "secateur.train.task",
    "SecateurWarning": "secateur.errors",
    "MacAware": "secateur.train.mac_aware",
    "MacAwareLayer": "secateur.ir.mac_row",
    "MapPlan": "secateur.ir.plan_rows",
    "TensorPlan": "secateur.ir.plan_rows",
}
"""Public name -> module that defines it. No name may equal a subpackage's."""

__all__ = ["__version__", *PUBLIC]


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
