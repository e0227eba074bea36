"""``python -m redistill`` is the command ``redistill``."""

from redistill.cli import main

if __name__ == "__main__":
    main()
