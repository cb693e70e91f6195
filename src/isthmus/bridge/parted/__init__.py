"""What reads rows in parts, on an engine: the pairs of a fit, transforms and stored moments."""
