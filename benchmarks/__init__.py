"""Benchmarks of speed and accuracy, and the generator of the documentation."""
