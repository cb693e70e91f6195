"""A new type of input for a frozen model: a projector into its space, or parts inside it."""
