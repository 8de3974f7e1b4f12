"""Point cloud segmentation."""
