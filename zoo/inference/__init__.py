"""Inference: from files to predictions, and export to the formats of other programs."""
