"""Nuclei under the fluorescence microscope with their masks: a tensorflow-datasets builder."""
