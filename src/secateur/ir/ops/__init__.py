"""What each operation of a graph means: one closed table, a row an operation, numpy as the language."""

from secateur.ir.ops.op import Op as Op
from secateur.ir.ops.table import OPS as OPS
