"""Inference: from files to predictions, and to files of other programs."""
