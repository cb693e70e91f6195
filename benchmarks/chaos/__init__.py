"""Migrations disturbed in every way: nothing lost, nothing twice, and always a way back."""
