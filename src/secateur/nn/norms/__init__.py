"""Normalization without batch statistics in evaluation: layers trained to mean 0 and variance s by multipliers."""
