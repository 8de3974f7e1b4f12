"""The models: one paper is one file, in a folder a kind of problem."""
