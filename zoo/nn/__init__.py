"""What models are made of and Keras lacks: blocks, layers, recurrence, losses, metrics."""
