"""Mutated and forged inputs of every kind: each is refused in one sentence, or works."""
