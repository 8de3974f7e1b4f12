"""A series of two waves, a trend and noise: a tensorflow-datasets builder."""
