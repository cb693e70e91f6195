"""The steps that a recipe can name, one idea a file."""
