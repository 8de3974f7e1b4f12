"""Networks on sets of points."""
