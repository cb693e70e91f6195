"""How many pairs are enough, and which items to encode next."""
