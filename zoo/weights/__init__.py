"""Files of weights: saved models, presets, their records, and checks before loading."""
