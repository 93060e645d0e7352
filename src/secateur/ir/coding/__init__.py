"""Entropy coding of tensors: a range coder, positions of non-zeros, values. Every decoder is safe on hostile bytes."""
