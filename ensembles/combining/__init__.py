"""Combination methods: averaging, stacking, ensemble selection, model soups, box fusion."""
