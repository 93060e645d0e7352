"""A graph with quantized maps in integers: which operations, at which scales, proved not to overflow; and their run."""
