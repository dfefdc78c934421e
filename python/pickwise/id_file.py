"""Files of ids, such as those that are labelled already."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import numpy as np

from pickwise.ids import as_ids
from pickwise.output import items

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray


def read_ids(path: Path, *, strings: bool) -> list[str] | NDArray[np.int64]:
    """Read a file of ids.

    Parameters
    ----------
    path : Path
        Text with one id a line; or a ``.parquet``, ``.csv`` or ``.jsonl`` file with a column ``id``, as selections
        have, or with one column only.
    strings : bool
        Whether the ids of the pool are strings; otherwise every id must be an integer.

    Raises
    ------
    ValueError
        For a file that cannot be read so, naming it and the line.
    """
    try:
        found = _READERS.get(path.suffix.lower(), _lines)(path)
        if strings:
            return [str(item) for item in found]
        return np.array([_integer(item, path, row) for row, item in enumerate(found)], np.int64)
    except UnicodeDecodeError:
        raise ValueError(f"{path}: is not text in UTF-8") from None


def _integer(item: object, path: Path, row: int) -> int:
    try:
        return int(str(item))
    except ValueError:
        raise ValueError(f"{path}: expected integers as the pool has, got {item!r} as id {row}") from None


def _lines(path: Path) -> Sequence[object]:
    # Not splitlines, which also parts a line at characters that ids may hold, such as U+2028.
    return [line.strip() for line in path.read_text("utf-8-sig").split("\n") if line.strip()]


def _csv(path: Path) -> Sequence[object]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        name = _column(list(reader.fieldnames or []), path)
        return [row[name] for row in reader]


def _jsonl(path: Path) -> Sequence[object]:
    found: list[object] = []
    name: str | None = None
    for number, line in enumerate(path.read_text("utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            raise ValueError(f"{path}: line {number} is no JSON") from None
        if isinstance(row, dict):
            name = name or _column(list(row), path)
            row = row.get(name)
        if not isinstance(row, (int, str)):
            raise ValueError(f"{path}: line {number} has no id")  # noqa: TRY004 - the file is wrong, not the call
        found.append(row)
    return found


def _parquet(path: Path) -> Sequence[object]:
    from pickwise.pools.parquet import opened
    from pickwise.pools.paths import File

    with opened(File(str(path), str(path))) as parquet:
        name = _column(parquet.schema_arrow.names, path)
        column = parquet.read(columns=[name]).column(name)
    return items(as_ids(column, f"{path}: column {name!r}"))


def _column(names: list[str], path: Path) -> str:
    if "id" in names:
        return "id"
    if len(names) == 1:
        return names[0]
    raise ValueError(f"{path}: expected a column 'id' or one column only, got {', '.join(map(repr, names)) or 'none'}")


_READERS = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
