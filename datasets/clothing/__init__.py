"""Photographs of clothes in ten classes: a tensorflow-datasets builder."""
