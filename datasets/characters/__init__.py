"""Handwritten characters of eight alphabets: a tensorflow-datasets builder."""
