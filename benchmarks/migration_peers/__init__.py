"""Other tools that move an index to a new model, on the same rows, each in its environment."""
