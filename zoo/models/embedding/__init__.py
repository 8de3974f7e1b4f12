"""Models that turn images into vectors, near for equal classes."""
