"""Quantizers of feature maps: where they stand in a model, what they are called, how they get into it and out."""
