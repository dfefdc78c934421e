"""How many threads the process uses: a property of the process, not an argument of every function."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from pickwise import _native

if TYPE_CHECKING:
    from collections.abc import Iterator

_asked: int | None = None


def set_num_threads(n: int | None) -> None:
    """Set how many threads pickwise uses in this process.

    Parameters
    ----------
    n : int or None
        At least 1; None goes back to the default: ``PICKWISE_NUM_THREADS`` if it is set, else as many as the CPU
        affinity and the limits of the container allow.

    Raises
    ------
    ValueError
        If `n` is less than 1.

    See Also
    --------
    num_threads : The same for one block of code.

    Notes
    -----
    The results do not depend on it: scores and selections have the same bits on any number of threads.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.set_num_threads(2)
    >>> pw.get_num_threads()
    2
    >>> pw.set_num_threads(None)
    """
    global _asked  # noqa: PLW0603 - what it is about is the process
    _native.set_num_threads(n)
    _asked = n


def get_num_threads() -> int:
    """Tell how many threads pickwise uses in this process.

    Returns
    -------
    int

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.get_num_threads() >= 1
    True
    """
    return _native.get_num_threads()


@contextmanager
def num_threads(n: int) -> Iterator[None]:
    """Use this many threads within a ``with`` block.

    Parameters
    ----------
    n : int
        At least 1. It holds for the whole process, other Python threads included.

    Raises
    ------
    ValueError
        If `n` is less than 1.

    Examples
    --------
    >>> import pickwise as pw
    >>> with pw.num_threads(1):
    ...     pw.get_num_threads()
    1
    """
    before = _asked
    set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(before)
