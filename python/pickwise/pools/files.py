"""What pools of files have in common: opening many of them, of which some may be damaged."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pickwise.pools.paths import File

T = TypeVar("T")

OnFileError: TypeAlias = Literal["raise", "skip"]

# Waiting for a far file system is most of the time it takes.
_FAR = 16


def open_each(
    files: Sequence[File], describe: Callable[[File], T], on_file_error: OnFileError
) -> tuple[list[tuple[File, T]], dict[str, str]]:
    """Read what each file says of itself.

    Parameters
    ----------
    files : sequence of File
    describe : callable
        Raises an error that names the file if it is not what it should be.
    on_file_error : {"raise", "skip"}

    Returns
    -------
    good : list of (File, object)
        What each says.
    failed : dict of str to str
        Names of the others, and why.

    Raises
    ------
    ValueError, TypeError, OSError
        The first error; with "skip", if no file is left.
    """

    def attempt(file: File) -> T | Exception:
        try:
            return describe(file)
        except (ValueError, TypeError, OSError) as error:
            if on_file_error == "raise":
                raise
            return error

    # The first that is good is what others are compared with.
    found: list[T | Exception] = []
    for file in files:
        found.append(attempt(file))
        if not isinstance(found[-1], Exception):
            break
    rest = files[len(found) :]
    if files[0].filesystem is None:
        found += map(attempt, rest)
    else:
        with ThreadPoolExecutor(_FAR) as threads:
            found += threads.map(attempt, rest)
    pairs = list(zip(files, found, strict=True))
    good = [(file, what) for file, what in pairs if not isinstance(what, Exception)]
    failed = {file.name: reason(what, file) for file, what in pairs if isinstance(what, Exception)}
    if not good:
        raise ValueError(f"pool: none of the {len(files)} files can be read; {next(iter(failed.values()))}")
    return good, failed


def reason(error: Exception, file: File) -> str:
    """Word an error, without a name that is known."""
    return str(error).removeprefix(f"{file.name}: ")
