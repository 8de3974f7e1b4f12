"""Networks that classify whole images."""
