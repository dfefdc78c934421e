"""What the commands say: tables, and errors in one line. Needs Typer, from the extra ``cli``."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FLAGS = {"clip=True": "--clip", "from_logits=True": "--from-logits", "probabilities=": "--probabilities="}
"""What messages of the library call arguments that are options here."""


def print_table(columns: Mapping[str, Sequence[str]]) -> None:
    """Print columns by name, each as wide as its widest cell."""
    cells = [[name, *column] for name, column in columns.items()]
    widths = [max(map(len, column)) for column in cells]
    for row in zip(*cells, strict=True):
        typer.echo("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@contextmanager
def failing_well(*more: type[Exception], words: Mapping[str, str] = FLAGS) -> Iterator[None]:
    """Turn what can go wrong into one line and an exit code; a defect of the program keeps its traceback.

    Parameters
    ----------
    more : exception types
        That tell of no defect either. Nor do those with notes, which come from code of the user.
    words : mapping of str to str
        What messages of the library say, and what it is called on the command line.
    """
    expected: tuple[type[Exception], ...] = (ValueError, TypeError, OSError, ImportError, *more)
    try:
        yield
    except (BrokenPipeError, typer.Exit, typer.Abort):
        raise
    except expected as error:
        _tell(worded(error, words), error)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("pickwise: interrupted", err=True)
        raise typer.Exit(130) from None
    except Exception as error:
        if not _notes(error):
            raise
        _tell(f"{type(error).__name__}: {error}", error)
        raise typer.Exit(1) from None


def worded(error: Exception, words: Mapping[str, str] = FLAGS) -> str:
    """Say what is wrong in words of the command line."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    # What is an option of a strategy there is one of the command here.
    text = re.sub(r"\w+=pw\.\w+\((\w+=\w+)\)", r"\1", str(error))
    return re.sub("|".join(map(re.escape, words)), lambda match: words[match[0]], text)


def _tell(what: str, error: Exception) -> None:
    for line in (f"pickwise: {what}", *_notes(error)):
        typer.echo(line, err=True)


def _notes(error: Exception) -> list[str]:
    return list(getattr(error, "__notes__", []))
