"""The whole line in one call: compress, in a run folder that survives interruptions."""
