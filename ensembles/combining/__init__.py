"""Ways of combining: averages, stacking, selection, soups, fused boxes."""
