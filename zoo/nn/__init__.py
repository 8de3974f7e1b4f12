"""Building blocks of the models that Keras lacks: blocks, layers, recurrence, losses, metrics."""
