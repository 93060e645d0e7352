"""Generated kernels: convolutions and self-pruning's gates as LLVM IR, emitted from Python, compiled in process. No torch."""
