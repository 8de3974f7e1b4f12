"""Point cloud classification."""
