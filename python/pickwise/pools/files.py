"""What pools of files have in common: opening many of them, of which some may be damaged."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from pickwise.pools.base import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pickwise.pools.numbering import Numbering
    from pickwise.pools.paths import File

T = TypeVar("T")

OnFileError: TypeAlias = Literal["raise", "skip"]

# Waiting for a far file system is most of the time it takes.
_FAR = 16


class FilePool(Pool):
    """The rows of one file after another.

    Attributes
    ----------
    files : sequence of File
        All that were asked for, those that were left out included.
    """

    reads_ahead = True
    files: Sequence[File]
    _failed: dict[str, str]
    _whole: Numbering

    @property
    def failed(self) -> dict[str, str]:
        """Files that were left out when the pool was opened, and why."""
        return self._failed

    def locate(self, row: int) -> str:
        """Say which file a row is in."""
        return self._whole.locate(row)

    def without(self, places: Mapping[int, str]) -> FilePool:
        """Open the pool again without some of its files, and say why."""
        left = [file for place, file in enumerate(self.files) if place not in places]
        failed = {self.files[place].name: why for place, why in places.items()} | self._failed
        if not left:
            raise none_can_be_read("pool", failed)
        return self._of(left, failed)

    @abstractmethod
    def _of(self, files: Sequence[File], failed: dict[str, str]) -> FilePool:
        """Open some files in the same way, beside others that have failed."""


def side_by_side(pools: Sequence[Any]) -> list[Any]:
    """Leave out of pools that lie side by side, file by file, what is left out of one of them.

    Raises
    ------
    ValueError
        If they do not lie so, and a file was left out.
    """
    failed = {name: why for pool in pools for name, why in pool.failed.items()}
    names = [[part.name for part in pool.parts] for pool in pools]
    if not failed or all(others == names[0] for others in names):
        return list(pools)
    if not all(isinstance(pool, FilePool) and len(pool.files) == len(pools[0].files) for pool in pools):
        name, why = next(iter(failed.items()))
        raise ValueError(
            f"{name}: {why}; it can be left out only where what lies beside the pool has a file for each of its files"
        )
    places = {
        place: f"left out with {file.name}"
        for pool in pools
        for place, file in enumerate(pool.files)
        if file.name in pool.failed
    }
    return [pool.without(places) for pool in pools]


def open_each(
    files: Sequence[File],
    describe: Callable[[File], T],
    difference: Callable[[T, T], str | None],
    on_file_error: OnFileError,
) -> tuple[list[tuple[File, T]], dict[str, str]]:
    """Read what each file says of itself.

    Parameters
    ----------
    files : sequence of File
    describe : callable
        Raises an error that names the file if it is not what it should be.
    difference : callable
        Says what keeps one file from being of one pool with another; None if nothing does.
    on_file_error : {"raise", "skip"}
        With "skip" files that differ from most are left out as well.

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

    found = each(attempt, files)
    usual = next((what for what in found if not isinstance(what, Exception)), None)
    if on_file_error == "skip":
        usual = _usual([what for what in found if not isinstance(what, Exception)], difference)
    good, failed = [], {}
    for file, what in zip(files, found, strict=True):
        if isinstance(what, Exception):
            failed[file.name] = reason(what, file.name)
            continue
        assert usual is not None  # noqa: S101 - this one is a candidate
        unlike = difference(what, usual)
        if unlike is None:
            good.append((file, what))
        elif on_file_error == "raise":
            raise ValueError(f"{file.name}: {unlike}")
        else:
            failed[file.name] = unlike
    if not good:
        raise none_can_be_read("pool", failed)
    return good, failed


def each(function: Callable[[File], T], files: Sequence[File]) -> list[T]:
    """Call a function with each of some files, in threads where they are far away."""
    if all(file.filesystem is None for file in files):
        return list(map(function, files))
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_FAR) as threads:
        return list(threads.map(function, files))


def none_can_be_read(name: str, failed: dict[str, str]) -> ValueError:
    """Word that every file was left out."""
    file, why = next(iter(failed.items()))
    return ValueError(f"{name}: none of the {len(failed)} files can be read; {file}: {why}")


def reason(error: Exception, name: str) -> str:
    """Word an error, without a name that is known."""
    if isinstance(error, OSError) and error.filename == name:
        return str(error.strerror)
    return str(error).removeprefix(f"{name}: ")


def _usual(found: Sequence[T], difference: Callable[[T, T], str | None]) -> T | None:
    """Find what most files are like; the earlier where as many are."""
    kinds: list[list[T]] = []
    for what in found:
        alike = next((kind for kind in kinds if difference(what, kind[0]) is None), None)
        if alike is None:
            kinds.append([what])
        else:
            alike.append(what)
    return max(kinds, key=len)[0] if kinds else None
