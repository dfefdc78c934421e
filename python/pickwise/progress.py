"""Telling how far a long pass has come: a tqdm bar, the caller's own function, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

Progress: TypeAlias = bool | Callable[[int, int | None], object] | None
"""None or False: silent; True: a tqdm bar; a function: called with the rows done and in all (None: unknown)."""
CoverProgress: TypeAlias = bool | Callable[[int, int, float], object] | None
"""The same; a function: called with the picks made, the picks wanted and the distance of the last one."""


@contextmanager
def reporting(
    progress: Progress, total: int | None, unit: str = "row", *, size: int | None = None, start: int = 0
) -> Iterator[Callable[[int], object] | None]:
    """Yield what is to be called with the number of rows (or other units) done, or None where nobody listens.

    Parameters
    ----------
    progress : bool or callable or None
    total : int or None
        Rows in all.
    unit : str
        What is counted.
    size : int, optional
        Bytes in all, which a bar shows as well.
    start : int
        What was done before, of which a bar counts no speed.

    Raises
    ------
    ImportError
        If a bar is asked for without tqdm.
    TypeError
        If `progress` is neither a truth value nor callable.
    """
    if callable(progress):
        told = progress
        yield lambda done: told(done, total)
    elif _wants_bar(progress):
        with _bar(total, unit, start) as bar:

            def show(done: int) -> None:
                if size is not None and total:
                    now, seconds = size * (done - start) / total, max(bar.format_dict["elapsed"], 1e-9)
                    bar.set_postfix_str(
                        f"{size * done / total / 1e9:.2f} GB, {now / 1e6 / seconds:.0f} MB/s", refresh=False
                    )
                bar.update(done - bar.n)

            yield show
    else:
        yield None


@contextmanager
def reporting_cover(progress: CoverProgress, total: int) -> Iterator[Callable[[int, float], object] | None]:
    """Yield what is to be called with the picks made and the radius, or None where nobody listens."""
    if callable(progress):
        told = progress
        yield lambda picks, radius: told(picks, total, radius)
    elif _wants_bar(progress):
        with _bar(total, "pick") as bar:

            def show(picks: int, radius: float) -> None:
                bar.set_postfix(radius=f"{radius:.4g}", refresh=False)
                bar.update(picks - bar.n)

            yield show
    else:
        yield None


def _wants_bar(progress: object) -> bool:
    if progress is None or isinstance(progress, bool):
        return bool(progress)
    raise TypeError(f"progress: expected None, True, False or a function, got {type(progress).__name__}")


def _bar(total: int | None, unit: str, start: int = 0) -> Any:
    try:
        from tqdm import tqdm
    except ImportError as error:
        message = "progress=True needs tqdm; install it with pip install 'pickwise[progress]'"
        raise ImportError(message) from error
    return tqdm(total=total, unit=unit, unit_scale=True, initial=start)


def shifted(report: Callable[[int], object] | None, start: int) -> Callable[[int], object] | None:
    """Report a part that begins after `start` rows as what it is of the whole."""
    return None if report is None else lambda done: report(start + done)
