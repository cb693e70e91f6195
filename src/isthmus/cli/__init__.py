"""The command ``isthmus``: one file per command, no logic of its own."""
