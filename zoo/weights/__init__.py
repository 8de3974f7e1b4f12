"""Files of weights: saved models, presets, their records, and what makes them safe to open."""
