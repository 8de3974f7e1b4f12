"""Attacks on classifiers, and what they do to the accuracy of models and ensembles."""
