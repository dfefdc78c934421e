"""From what the caller wrote (a path, a glob, a folder, a list of them) to the files it means."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Sequence

PathLike: TypeAlias = "str | os.PathLike[str]"

KINDS = (".npy", ".parquet")


def is_path_like(pool: object) -> TypeGuard[PathLike | Sequence[PathLike]]:
    """Whether a pool is named by path: a string, a path, or a list of them that is not empty."""
    if isinstance(pool, (list, tuple)):
        return len(pool) > 0 and all(isinstance(item, (str, os.PathLike)) for item in pool)
    return isinstance(pool, (str, os.PathLike))


def find_files(pool: PathLike | Sequence[PathLike]) -> tuple[str, list[Path]]:
    """Find the files of a pool.

    A list keeps its order; what a glob or a folder stands for comes sorted. A folder is searched to the bottom, but for
    names that start with a dot or an underscore, as tools that write folders of Parquet use them for their own notes.

    Returns
    -------
    kind : str
        ``".npy"`` or ``".parquet"``.
    files : list of Path
        At least one.

    Raises
    ------
    FileNotFoundError
        Where a path matches nothing.
    ValueError
        For files of another kind, or of both kinds together.
    """
    names = [pool] if isinstance(pool, (str, os.PathLike)) else list(pool)
    files = [file for name in names for file in _expand(os.fspath(name))]
    kinds = {file.suffix.lower(): file for file in reversed(files)}
    if len(kinds) > 1:
        one, other = sorted(kinds.items())[:2]
        raise ValueError(f"pool mixes {one[0]} and {other[0]} files ({one[1]}, {other[1]}): name one kind at a time")
    return next(iter(kinds)), files


def _expand(name: str) -> list[Path]:
    path = Path(name).expanduser()
    if path.is_dir():
        found = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in KINDS and not _hidden(file, path)]
        if not found:
            raise FileNotFoundError(f"pool: no .npy or .parquet file in the folder {name!r}")
        return found
    if path.exists():
        if path.suffix.lower() not in KINDS:
            raise ValueError(f"pool: expected a .npy or .parquet file, got {name!r}")
        return [path]
    if not glob.has_magic(name):
        raise FileNotFoundError(f"pool: there is no file {name!r}")
    matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - patterns may start at the root
    found = [file for match in matches for file in _expand(match)]
    if not found:
        raise FileNotFoundError(f"pool: nothing matches {name!r}")
    return found


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith((".", "_")) for part in file.relative_to(folder).parts)
