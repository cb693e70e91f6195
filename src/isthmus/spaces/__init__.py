"""The contract of a representation, and the same items encoded in two of them."""
