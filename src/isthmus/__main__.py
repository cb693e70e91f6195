"""``python -m isthmus``: the command, where it is not on the path."""

from isthmus.cli.app import main

if __name__ == "__main__":
    main()
