"""Telling how far a long pass has come: a tqdm bar, the caller's own function, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Progress: TypeAlias = bool | Callable[[int, int | None], object] | None
"""None or False: silent; True: a tqdm bar; a function: called with the rows done and in all (None: unknown)."""


@contextmanager
def reporting(progress: Progress, total: int | None) -> Iterator[Callable[[int], object] | None]:
    """Yield what is to be called with the number of rows done, or None where nobody listens.

    Raises
    ------
    ImportError
        If a bar is asked for without tqdm.
    TypeError
        If `progress` is neither a truth value nor callable.
    """
    if progress is None or progress is False:
        yield None
    elif callable(progress):
        told = progress
        yield lambda done: told(done, total)
    elif progress is True:
        try:
            from tqdm import tqdm
        except ImportError as error:
            message = "progress=True needs tqdm; install it with pip install 'pickwise[progress]'"
            raise ImportError(message) from error
        with tqdm(total=total, unit="row", unit_scale=True) as bar:
            yield lambda done: bar.update(done - bar.n)
    else:
        raise TypeError(f"progress: expected None, True, False or a function, got {type(progress).__name__}")


def shifted(report: Callable[[int], object] | None, start: int) -> Callable[[int], object] | None:
    """Report a part that begins after `start` rows as what it is of the whole."""
    return None if report is None else lambda done: report(start + done)
