"""From what the caller wrote (a path, a glob, a folder, a URL, a list of them) to the files it means."""

from __future__ import annotations

import glob
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PathLike: TypeAlias = "str | os.PathLike[str]"

KINDS = (".npy", ".parquet")

# Of one letter it would be a drive of Windows.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True)
class File:
    """A file, here or elsewhere.

    Attributes
    ----------
    name : str
        What it is called in messages and in the ids of its rows: the path as it was written or found. Of a URL neither
        user nor password nor options are shown.
    path : str
        Where it is in its file system.
    filesystem : pyarrow.fs.FileSystem or None
        None for the files of this machine.
    """

    name: str
    path: str
    filesystem: Any = None

    @property
    def kind(self) -> str:
        """The suffix, in lower case."""
        return os.path.splitext(self.name)[1].lower()  # noqa: PTH122 - it may be a URL

    def size(self) -> int:
        """Ask for its size in bytes."""
        with self._named():
            if self.filesystem is None:
                return Path(self.path).stat().st_size
            return int(self.filesystem.get_file_info(self.path).size or 0)

    def stamp(self) -> tuple[int, int]:
        """Tell its size and time, by which a changed file is known from the same one."""
        with self._named():
            if self.filesystem is None:
                status = Path(self.path).stat()
                return status.st_size, status.st_mtime_ns
            info = self.filesystem.get_file_info(self.path)
            return int(info.size or 0), int(info.mtime_ns or 0)

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open it for reading at any place."""
        with self._named():
            if self.filesystem is None:
                with Path(self.path).open("rb", buffering=0) as file:
                    yield file  # raw, so that nothing is read twice
            else:
                with self.filesystem.open_input_file(self.path) as file:
                    yield file

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Give an `OSError` without a file name, such as a failed read, the name of the file."""
        try:
            yield
        except OSError as error:
            if error.filename is None and error.errno is not None:
                error.filename = self.name
            raise


def is_path_like(pool: object) -> TypeGuard[PathLike | Sequence[PathLike]]:
    """Whether a pool is named by path: a string, a path, or a list of them that is not empty."""
    if isinstance(pool, (list, tuple)):
        return len(pool) > 0 and all(isinstance(item, (str, os.PathLike)) for item in pool)
    return isinstance(pool, (str, os.PathLike))


def find_files(pool: PathLike | Sequence[PathLike]) -> tuple[str, list[File]]:
    """Find the files of a pool.

    A list keeps its order; what a glob or a folder stands for comes sorted. A folder is searched to the bottom, but for
    names that start with a dot or an underscore, as tools that write folders of Parquet use them for their own notes.

    Returns
    -------
    kind : str
        ``".npy"`` or ``".parquet"``.
    files : list of File
        At least one, each once.

    Raises
    ------
    FileNotFoundError
        Where a path matches nothing.
    ValueError
        For files of another kind, of both kinds together, and for one that is named twice.
    """
    names = [pool] if isinstance(pool, (str, os.PathLike)) else list(pool)
    files = [file for name in names for file in _expand(os.fspath(name))]
    kinds = {file.kind: file for file in reversed(files)}
    if len(kinds) > 1:
        one, other = sorted(kinds.items())[:2]
        raise ValueError(
            f"pool mixes {one[0]} and {other[0]} files ({one[1].name}, {other[1].name}): name one kind at a time"
        )
    seen: set[str] = set()
    for file in files:
        place = file.name if file.filesystem is not None else os.path.abspath(file.path)  # noqa: PTH100 - of many files
        if place in seen:
            raise ValueError(f"pool: {file.name} is named twice, so its rows would be in it twice")
        seen.add(place)
    return next(iter(kinds)), files


def is_alone(pool: PathLike | Sequence[PathLike], files: list[File]) -> bool:
    """Whether a pool is one file that is named as such: an array like any other."""
    names = [pool] if isinstance(pool, (str, os.PathLike)) else list(pool)
    return len(files) == len(names) == 1 and files[0].name == str(Path(names[0]).expanduser())


def is_url(name: str) -> bool:
    """Whether a name has a scheme, such as ``s3://``."""
    return _SCHEME.match(name) is not None


def _expand(name: str) -> list[File]:
    if is_url(name):
        return _expand_url(name)
    path = Path(name).expanduser()
    if path.is_dir():
        found = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in KINDS and not _hidden(file, path)]
        if not found:
            raise FileNotFoundError(f"pool: no .npy or .parquet file in the folder {name!r}")
        return [File(str(file), str(file)) for file in found]
    if path.exists():
        if path.suffix.lower() not in KINDS:
            raise ValueError(f"pool: expected a .npy or .parquet file, got {name!r}")
        return [File(str(path), str(path))]
    if not glob.has_magic(name):
        raise FileNotFoundError(f"pool: there is no file {name!r}")
    matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - patterns may start at the root
    found_files = [file for match in matches for file in _expand(match)]
    if not found_files:
        raise FileNotFoundError(f"pool: nothing matches {name!r}")
    return found_files


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith((".", "_")) for part in file.relative_to(folder).parts)


def _expand_url(url: str) -> list[File]:
    """Find what a URL stands for: a file, a folder, or a pattern."""
    parsed = _URL.fullmatch(url)
    assert parsed is not None  # noqa: S101 - it has a scheme
    scheme, path, options = parsed.groups()
    # What is listed: the path up to the folder that the first wildcard is in.
    fixed, wild = path, re.search(r"[*?\[]", path)
    if wild is not None:
        fixed = path[: wild.start()].rpartition("/")[0]
    shown, asked = _shown(scheme, path), f"{scheme}://{fixed}{options or ''}"
    try:
        filesystem, root = _filesystem(asked)
        found = _listed(filesystem, root)
    except (OSError, ValueError, ImportError) as error:
        user = fixed.rpartition("@")[0]
        secrets = [secret for secret in (asked, options, user, user.partition(":")[2]) if secret]
        reason = re.sub("|".join(map(re.escape, secrets)) or "$^", "...", _first_line(error))
        # Not from the error, which may quote the URL.
        if isinstance(error, OSError):
            raise OSError(f"pool: cannot read {shown}: {reason}; {_CREDENTIALS}") from None
        kind = ImportError if isinstance(error, ImportError) else ValueError
        raise kind(f"pool: {shown}: {reason}") from None
    if wild is not None:
        pattern = re.compile(re.escape(root) + _as_regex(path[len(fixed) :]))
        found = [other for other in found if pattern.fullmatch(other)]
    files = [File(_shown(scheme, other), other, filesystem) for other in found]
    files = [file for file in files if file.kind in KINDS]
    if not files:
        raise FileNotFoundError(f"pool: no .npy or .parquet file at {shown!r}")
    return files


_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*?)(\?[^/*?\[\]]*=.*)?", re.DOTALL)
"""Scheme, path, and options such as ``?region=eu-west-1``; a question mark alone is a wildcard."""

_CREDENTIALS = (
    "credentials for what is not public come from the environment, for S3 as AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY or from its configuration"
)


def _filesystem(url: str) -> tuple[Any, str]:
    """Find the file system of a URL, one of pyarrow's or else one of fsspec's, and the path in it."""
    try:
        import pyarrow as pa
        from pyarrow import fs
    except ImportError as error:
        raise ImportError("pool: URLs need pyarrow; install it with pip install 'pickwise[arrow]'") from error
    try:
        filesystem, path = fs.FileSystem.from_uri(url)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        if isinstance(error, pa.ArrowInvalid) and not str(error).startswith("Unrecognized filesystem type"):
            raise
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise ValueError(f"{_first_line(error)}; fsspec knows more of them: pip install fsspec") from None
        other, path = url_to_fs(url)
        filesystem = fs.PyFileSystem(fs.FSSpecHandler(other))
    return filesystem, str(path)


def _listed(filesystem: Any, path: str) -> list[str]:
    """List a file, or the files of a folder to its bottom, sorted."""
    from pyarrow import fs

    if filesystem.get_file_info(path).type == fs.FileType.File:
        return [path]
    found = filesystem.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
    inside = [other.path for other in found if other.type == fs.FileType.File]
    return sorted(other for other in inside if not re.search(r"(^|/)[._]", other[len(path) :]))


def _as_regex(pattern: str) -> str:
    """Turn a glob into a regular expression: ``*`` stays within a folder, ``**`` does not."""
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.findall(r"\*\*/|\*\*|\*|\?|\[[^\]]+\]|.", pattern)
    return "".join(
        known.get(token) or (token.replace("[!", "[^") if len(token) > 1 else re.escape(token)) for token in tokens
    )


def _shown(scheme: str, path: str) -> str:
    """Show a URL without user, password and options; a path may be a URL itself."""
    if "://" in path:
        path = path.partition("://")[2].partition("?")[0]
    return f"{scheme}://{path.rpartition('@')[2]}"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
