"""The command line's front door: it says what to install where that is missing, and nothing else."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command ``pickwise``."""
    try:
        import typer  # noqa: F401 - only to know that it is there
    except ImportError:
        sys.exit("The command line of pickwise needs an extra: pip install 'pickwise[cli]'")
    from pickwise.commands import app

    # A polite kill leaves no unfinished files either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    app(prog_name="pickwise")


if __name__ == "__main__":
    main()
