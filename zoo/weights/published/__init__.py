"""Weights that others published, and the converters of their files."""
