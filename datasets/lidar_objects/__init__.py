"""Single street objects as a 64-beam LiDAR sees them: a tensorflow-datasets builder."""
