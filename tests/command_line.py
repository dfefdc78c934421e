"""The command line, run in this process, which is much faster than in one of its own."""

from __future__ import annotations

import contextlib
import io
import signal
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from pickwise import cli

if TYPE_CHECKING:
    from pathlib import Path


def run_command(folder: Path, *arguments: str, code: int = 0) -> SimpleNamespace:
    """Run ``pickwise`` in a folder; return what it prints, once it has ended with that exit code."""
    out, err = io.StringIO(), io.StringIO()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["pickwise", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    signal.signal(signal.SIGTERM, before)
    assert (ended.value.code or 0) == code, f"ended with {ended.value.code!r}: {err.getvalue()}"
    return SimpleNamespace(stdout=out.getvalue(), stderr=err.getvalue())
