"""From aten operations to the graph's closed list, a family a file.

LOWERINGS is the closed table: an aten target, as torch prints it, and the function that writes its nodes. What stands
in no table here is first decomposed by torch; what remains is refused by name (see `trace`).
"""

from __future__ import annotations

from secateur.nn.lowering import activation, arithmetic, convolution, masking, normalization, pooling, product, shape
from secateur.nn.lowering.builder import Lowering

LOWERINGS: dict[str, Lowering] = {
    # convolution
    "aten.conv1d.default": convolution.convolution,
    "aten.conv1d.padding": convolution.convolution,
    "aten.conv2d.default": convolution.convolution,
    "aten.conv2d.padding": convolution.convolution,
    "aten.conv3d.default": convolution.convolution,
    "aten.conv3d.padding": convolution.convolution,
    "aten.pad.default": convolution.pad,
    # products
    "aten.linear.default": product.linear,
    "aten.matmul.default": product.matmul,
    "aten.mm.default": product.matmul,
    "aten.bmm.default": product.matmul,
    "aten.addmm.default": product.added_matmul,
    "aten.baddbmm.default": product.added_matmul,
    "aten.scaled_dot_product_attention.default": product.attention,
    "aten.embedding.default": product.embedding,
    "aten.index.Tensor": product.indexed,
    "aten.index_select.default": product.indexed,
    # activations
    "aten.relu.default": activation.plain("relu"),
    "aten.relu6.default": activation.plain("relu6"),
    "aten.sigmoid.default": activation.plain("sigmoid"),
    "aten.tanh.default": activation.plain("tanh"),
    "aten.silu.default": activation.plain("silu"),
    "aten.hardswish.default": activation.plain("hardswish"),
    "aten.hardsigmoid.default": activation.plain("hardsigmoid"),
    "aten.leaky_relu.default": activation.leaky_relu,
    "aten.hardtanh.default": activation.hardtanh,
    "aten.clamp.default": activation.clamp,
    "aten.clamp_min.default": activation.clamp,
    "aten.clamp_max.default": activation.clamp,
    "aten.elu.default": activation.elu,
    "aten.prelu.default": activation.prelu,
    "aten.gelu.default": activation.gelu,
    "aten.softmax.int": activation.softmax,
    "aten.native_dropout.default": activation.dropout,
    # pooling
    "aten.max_pool1d.default": pooling.max_pool(1),
    "aten.max_pool2d.default": pooling.max_pool(2),
    "aten.max_pool3d.default": pooling.max_pool(3),
    "aten.max_pool2d_with_indices.default": pooling.max_pool(2),
    "aten.avg_pool1d.default": pooling.average_pool(1),
    "aten.avg_pool2d.default": pooling.average_pool(2),
    "aten.avg_pool3d.default": pooling.average_pool(3),
    "aten.adaptive_avg_pool1d.default": pooling.adaptive_pool("adaptive_average_pool", 1),
    "aten.adaptive_avg_pool2d.default": pooling.adaptive_pool("adaptive_average_pool", 2),
    "aten.adaptive_avg_pool3d.default": pooling.adaptive_pool("adaptive_average_pool", 3),
    "aten.adaptive_max_pool1d.default": pooling.adaptive_pool("adaptive_max_pool", 1),
    "aten.adaptive_max_pool2d.default": pooling.adaptive_pool("adaptive_max_pool", 2),
    "aten.adaptive_max_pool3d.default": pooling.adaptive_pool("adaptive_max_pool", 3),
    # norms
    "aten._native_batch_norm_legit_no_training.default": normalization.batch_norm,
    "aten._native_batch_norm_legit.no_stats": normalization.batch_norm,
    "aten.layer_norm.default": normalization.layer_norm,
    "aten.group_norm.default": normalization.group_norm,
    "aten.instance_norm.default": normalization.instance_norm,
    "aten.rms_norm.default": normalization.rms_norm,
    # shapes
    "aten.view.default": shape.reshape,
    "aten._unsafe_view.default": shape.reshape,
    "aten.unsqueeze.default": shape.reshape,
    "aten.squeeze.dim": shape.reshape,
    "aten.squeeze.dims": shape.reshape,
    "aten.squeeze.default": shape.squeeze_all,
    "aten.permute.default": shape.permute,
    "aten.transpose.int": shape.transpose,
    "aten.t.default": shape.transpose,
    "aten.expand.default": shape.expand,
    "aten.repeat.default": shape.repeat,
    "aten.tile.default": shape.repeat,
    "aten.slice.Tensor": shape.slice_,
    "aten.select.int": shape.select,
    "aten.split.Tensor": shape.split,
    "aten.split_with_sizes.default": shape.split,
    "aten.unbind.int": shape.unbind,
    "aten.cat.default": shape.concat,
    "aten.stack.default": shape.stack,
    "aten.upsample_nearest1d.vec": shape.upsample_nearest,
    "aten.upsample_nearest2d.vec": shape.upsample_nearest,
    "aten.upsample_nearest3d.vec": shape.upsample_nearest,
    # arithmetic
    "aten.add.Tensor": arithmetic.binary("add"),
    "aten.sub.Tensor": arithmetic.binary("sub"),
    "aten.rsub.Scalar": arithmetic.reversed_sub,
    "aten.rsub.Tensor": arithmetic.reversed_sub,
    "aten.mul.Tensor": arithmetic.binary("mul"),
    "aten.div.Tensor": arithmetic.binary("div"),
    "aten.div.Tensor_mode": arithmetic.binary("div"),
    "aten.neg.default": arithmetic.negated,
    "aten.reciprocal.default": arithmetic.reciprocal,
    "aten.abs.default": arithmetic.absolute,
    "aten.pow.Tensor_Scalar": arithmetic.power,
    "aten.mean.dim": arithmetic.reduction("mean"),
    "aten.mean.default": arithmetic.reduction("mean"),
    "aten.sum.dim_IntList": arithmetic.reduction("sum"),
    "aten.sum.default": arithmetic.reduction("sum"),
    "aten._to_copy.default": arithmetic.cast,
    "aten.zeros.default": arithmetic.filled,
    "aten.zeros_like.default": arithmetic.filled,
    "aten.new_zeros.default": arithmetic.filled,
    "aten.ones.default": arithmetic.filled,
    "aten.ones_like.default": arithmetic.filled,
    "aten.new_ones.default": arithmetic.filled,
    "aten.full.default": arithmetic.filled,
    "aten.full_like.default": arithmetic.filled,
    "aten.new_full.default": arithmetic.filled,
    # masks
    "aten.eq.Scalar": masking.compared("eq"),
    "aten.eq.Tensor": masking.compared("eq"),
    "aten.ne.Scalar": masking.compared("ne"),
    "aten.ne.Tensor": masking.compared("ne"),
    "aten.gt.Scalar": masking.compared("gt"),
    "aten.gt.Tensor": masking.compared("gt"),
    "aten.ge.Scalar": masking.compared("ge"),
    "aten.ge.Tensor": masking.compared("ge"),
    "aten.lt.Scalar": masking.compared("lt"),
    "aten.lt.Tensor": masking.compared("lt"),
    "aten.le.Scalar": masking.compared("le"),
    "aten.le.Tensor": masking.compared("le"),
    "aten.logical_not.default": masking.logical_not,
    "aten.bitwise_not.default": masking.logical_not,
    "aten.logical_and.default": masking.logical("mul"),
    "aten.bitwise_and.Tensor": masking.logical("mul"),
    "aten.logical_or.default": masking.logical("add"),
    "aten.bitwise_or.Tensor": masking.logical("add"),
    "aten.where.self": masking.where,
    "aten.where.ScalarOther": masking.where,
    "aten.where.ScalarSelf": masking.where,
    "aten.where.Scalar": masking.where,
    "aten.masked_fill.Scalar": masking.masked_fill,
    "aten.masked_fill.Tensor": masking.masked_fill,
}

# Calls whose result is their first argument, at inference.
IDENTITIES = frozenset(
    {
        "aten.alias.default",
        "aten.clone.default",
        "aten.contiguous.default",
        "aten.detach.default",
        "aten.detach_.default",
        "aten.lift_fresh_copy.default",
    }
)

# Calls that check or measure and make no tensor.
CHECKS = frozenset(
    {
        "aten._assert_async.msg",
        "aten._assert_scalar.default",
        "aten._assert_tensor_metadata.default",
        "aten.sym_constrain_range_for_size.default",
        "aten.sym_numel.default",
        "aten.sym_size.int",
    }
)
