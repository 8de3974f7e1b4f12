"""Yearly numbers of sunspots: a tensorflow-datasets builder."""
