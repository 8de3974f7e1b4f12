"""What the tasks on boxes share: coding, losses, non-maximum suppression, average precision."""
