"""Networks that detect objects in images."""
