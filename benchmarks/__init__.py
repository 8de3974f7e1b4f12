"""What is measured beside its peers, one file a claim."""
