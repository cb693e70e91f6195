"""Real upgrades to measure on: pretrained models and data that install from package registries."""
