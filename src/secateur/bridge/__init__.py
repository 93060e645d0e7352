"""Generated kernels inside torch: an operator, FastConv2d, and accelerate for whole models."""
