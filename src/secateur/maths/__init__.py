"""Exact mathematics of the methods: numpy only, no state, each formula with its source."""
