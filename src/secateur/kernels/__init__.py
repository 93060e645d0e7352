"""Generated kernels: convolutions as LLVM IR, emitted from Python, compiled in process. No torch."""
