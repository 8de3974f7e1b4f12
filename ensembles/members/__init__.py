"""Members: saved models, opened, checked, and their cached predictions."""
