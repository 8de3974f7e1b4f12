"""Training that starts from weights of another model: transfer, freezing, low-rank updates."""
