"""Generated kernels: convolutions and gates of pruning as LLVM IR, emitted from Python, compiled here. No torch."""
