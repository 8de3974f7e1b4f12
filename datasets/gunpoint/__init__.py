"""Motions of a hand with and without a gun: a tensorflow-datasets builder."""
