"""Entropy coding of tensors: a range coder, positions, values, codes. Every decoder is safe on hostile bytes."""
