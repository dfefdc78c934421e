"""The state of a long selection in a file, from which it goes on after whatever ended it."""

from __future__ import annotations

import json
import os
import pickle
import time
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.ids import Excluded, as_excluded_ids, as_ids, joined
from pickwise.options import as_seed, is_drawn
from pickwise.pools.files import each
from pickwise.report import Report
from pickwise.state import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pickwise.ids import Ids
    from pickwise.pools import Part
    from pickwise.ranking import Request, Source

_MAGIC = b"pickwise-checkpoint-1\n"

# Saving may take this part of the time.
_SHARE = 0.05


class Checkpoint:
    """A file that holds the reducer, the parts that it has taken to their end, and what was seen.

    Parameters
    ----------
    path : path
        It is replaced as a whole; what was in it before stays until then.
    about : dict
        What is selected from what, as JSON can hold it: a state of anything else is refused.

    Raises
    ------
    OSError
        If the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], about: dict[str, Any]) -> None:
        self._path = Path(path)
        self._about = json.loads(json.dumps(about))
        self._finished: list[str] = []
        self._saved = time.perf_counter()
        self._cost = 0.0
        folder = self._path.absolute().parent
        if not folder.is_dir():
            raise FileNotFoundError(f"checkpoint: there is no folder {str(folder)!r}")
        if self._path.is_dir():
            raise IsADirectoryError(f"checkpoint: expected the name of a file, got the folder {str(self._path)!r}")
        self._write(b"", replace=False)

    def load(self) -> tuple[bytes, Report] | None:
        """Read the state of a reducer and what was seen; None where there is no file yet.

        Raises
        ------
        ValueError
            If the file is damaged, or of another selection.
        OSError
            If it cannot be read.
        """
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed("read", error) from None
        start = len(_MAGIC) + 4
        content = data[start:]
        if not data.startswith(_MAGIC) or data[len(_MAGIC) : start] != zlib.crc32(content).to_bytes(4):
            raise ValueError(
                f"checkpoint: {self._path} is damaged or something else; remove it to begin again, or name another file"
            )
        text, _, state = content.partition(b"\n")
        header = json.loads(text)
        different = [name for name in self._about if header["about"].get(name) != self._about[name]]
        if different:
            raise ValueError(
                f"checkpoint: {self._path} is of another selection, with other {' and '.join(different)}; remove it to "
                "begin again, or name another file"
            )
        self._finished = header["finished"]
        report = Report.of(header["report"])
        report.resumed = report.files
        return state, report

    def left(self, parts: Sequence[Part]) -> list[Part]:
        """Return the parts that have not been taken."""
        done = set(self._finished)
        return [part for part in parts if part.name not in done]

    def save(self, parts: Sequence[Part], reducer: Any, report: Callable[[], Report]) -> None:
        """Write the state when parts have been taken to their end, unless that would take too much of the time."""
        self._finished += [part.name for part in parts]
        began = time.perf_counter()
        if self._cost > _SHARE * (began - self._saved):
            return
        header = {"about": self._about, "finished": self._finished, "report": report().state()}
        content = json.dumps(header).encode() + b"\n" + reducer.to_bytes()
        self._write(_MAGIC + zlib.crc32(content).to_bytes(4) + content)
        self._saved = time.perf_counter()
        self._cost = self._saved - began

    def _write(self, data: bytes, *, replace: bool = True) -> None:
        """Write beside the file, and move it there when all has gone well; or only try whether that can be done."""
        unfinished = self._path.with_name(f".{self._path.name}.partial")
        try:
            with unfinished.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                unfinished.replace(self._path)
        except OSError as error:
            raise self._failed("written", error) from None
        finally:
            with suppress(OSError):
                unfinished.unlink()

    def _failed(self, what: str, error: OSError) -> OSError:
        return OSError(error.errno, f"checkpoint: cannot be {what} ({error.strerror})", str(self._path))


def describe(reducer: Any, source: Source, request: Request) -> dict[str, Any]:
    """Tell what is selected from what, as a checkpoint compares it.

    Raises
    ------
    ValueError
        If the pool is not one of files.
    """
    parts = source.parts
    files = [file for part in parts for file in part.files]
    if not all(part.files for part in parts) or len({part.name for part in parts}) != len(parts):
        raise ValueError(
            "checkpoint: expected a pool of files, which can be read again one by one, got one of another kind"
        )
    about: dict[str, Any] = reducer.about()
    return about | {
        "ties": request.ties,
        "invalid": request.invalid,
        "random_state": None if is_drawn(request.random_state) else as_seed(request.random_state),
        "ids": None if request.ids is None else _digest(as_ids(request.ids, "ids")),
        "exclude": _digest_of_rows(request.exclude),
        "exclude_ids": _digest_of_ids(request.exclude_ids),
        "probabilities": repr(request.probabilities),
        "id": request.id,
        "filters": _settled(request.filters),
        "pool": {} if source.pool is None else source.pool.about,
        "files": [file.name for file in files],
        "sizes or times of files": each(lambda file: file.stamp(), files),
    }


def _digest(ids: Ids) -> str:
    whole = joined([ids])
    return digest(*(whole if isinstance(whole, tuple) else (whole,)))


def _digest_of_rows(exclude: Any) -> str | None:
    if exclude is None:
        return None
    rows = Excluded.read(exclude, "exclude")
    return digest(*(array for array in (rows.mask, rows.positions) if array is not None))


def _digest_of_ids(exclude_ids: Any) -> str | None:
    some = as_excluded_ids(exclude_ids, "exclude_ids")
    return None if some is None else _digest(as_ids(sorted(some), "exclude_ids"))


def _settled(filters: Any) -> str:
    """Write filters so that equal ones are written alike in every process."""
    if isinstance(filters, (list, tuple)):
        return f"[{', '.join(map(_settled, filters))}]"
    if isinstance(filters, (set, frozenset)):
        return f"[{', '.join(sorted(map(_settled, filters)))}]"
    if isinstance(filters, np.ndarray):
        return _settled(filters.tolist())
    if type(filters).__name__ == "Expression":
        import hashlib

        # How it prints leaves out some of many values.
        return hashlib.sha256(pickle.dumps(filters)).hexdigest()[:16]
    return repr(filters)


def remove(path: str | os.PathLike[str]) -> None:
    """Remove the file of a checkpoint, when the selection is there."""
    Path(path).unlink(missing_ok=True)
