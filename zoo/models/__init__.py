"""The models: one file per paper, in one folder per kind of problem."""
