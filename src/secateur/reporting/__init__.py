"""Measurements and the report a person reads."""
