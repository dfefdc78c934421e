"""``python -m pickwise`` is the command ``pickwise``."""

from pickwise.cli import main

main()
