"""The command line's front door: it says what to install where that is missing, and nothing else."""

from __future__ import annotations

import signal
import sys
import warnings


def main() -> None:
    """Run the command ``pickwise``."""
    try:
        import typer  # noqa: F401 - only to know that it is there
    except ImportError:
        sys.exit("The command line of pickwise needs an extra: pip install 'pickwise[cli]'")
    from pickwise.commands import app

    # A polite kill leaves no unfinished files either.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    shown = warnings.formatwarning
    warnings.formatwarning = lambda message, category, *where, **more: (
        # Ours are for whoever typed the command; where they come from is for those of others.
        f"pickwise: warning: {message}\n" if category is UserWarning else shown(message, category, *where, **more)
    )
    app(prog_name="pickwise")


if __name__ == "__main__":
    main()
