"""Whole street scans of a 64-beam LiDAR, a class a point: a tensorflow-datasets builder."""
