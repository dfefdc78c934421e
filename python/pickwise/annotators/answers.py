"""Answers from files: JSON lines, CSV or Parquet, as tools and people write them."""

from __future__ import annotations

import csv
import json
import math
import zlib
from contextlib import suppress
from datetime import UTC, datetime
from itertools import repeat
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pickwise.annotators.base import KINDS, Annotation
from pickwise.annotators.shapes import foreign
from pickwise.options import one_of

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from pickwise.annotators.base import RowId

LabelTask: TypeAlias = Literal["multiclass", "multilabel", "regression"]

# What a malformed file is told of at once.
_SHOWN = 5

COLUMNS = ("id", "label", "kind", "annotator", "seconds", "key", "updated_at")
"""What is read of a file of answers; other columns may be there."""


def read_answers(
    path: str | os.PathLike[str],
    *,
    id_type: type[int | str] = int,
    task: LabelTask = "multiclass",
) -> list[Annotation]:
    r"""Read a file of answers.

    A line without a label is one that was not answered, and left out, unless its ``kind`` tells otherwise. Names of
    classes in a CSV file are text.

    Parameters
    ----------
    path : path
        ``.jsonl``, ``.csv`` or ``.parquet``, with the columns ``id`` and ``label``, and perhaps ``kind``, ``annotator``
        and ``seconds``. Of two answers of an annotator about a row the one with the later ``updated_at`` holds (a
        number, or a time as ISO 8601 writes it: UTC, unless it says otherwise), and without it the one further down.
        The same answer counts once, however often a file of that name is read, or, where there is a ``key``, whatever
        file it comes in under that key; so who returns to an earlier answer in a file that is written anew needs an
        ``updated_at``. Exports of Prodigy and doccano, as JSON lines, are recognised.
    id_type : {int, str}
        What ids are.
    task : {"multiclass", "multilabel", "regression"}
        What labels are: a name; a list of names, or ``a|b`` in CSV; a number.

    Returns
    -------
    list of Annotation
        In the order of the file, repeated ones too. A million take about 5 seconds.

    Raises
    ------
    ValueError
        If lines are malformed, naming the first of them.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from pickwise.annotators import read_answers
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "answers.csv"
    ...     written = path.write_text("id,label,annotator\n7,spam,Anna\n3,ham,Anna\n5,,Anna\n")
    ...     answers = read_answers(path)
    >>> [(answer.id, answer.label, answer.annotator) for answer in answers]
    [(7, 'spam', 'Anna'), (3, 'ham', 'Anna')]
    """
    answers, problems = AnswerReader(id_type, task).read(Path(path))
    if problems:
        raise ValueError(worded(problems))
    return answers


def worded(problems: Sequence[str]) -> str:
    """Name the first of what is wrong."""
    more = f"\nand {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return "\n".join(problems[:_SHOWN]) + more


class AnswerReader:
    """Reads files, and goes on where a line is malformed.

    Parameters
    ----------
    id_type : {int, str}
    task : {"multiclass", "multilabel", "regression"}
    """

    def __init__(self, id_type: type[int | str], task: LabelTask) -> None:
        if id_type not in (int, str):
            raise ValueError(f"id_type: expected int or str, got {id_type!r}")
        one_of(task, "task", ("multiclass", "multilabel", "regression"))
        self._id: Callable[[Any], RowId] = _as_integer if id_type is int else _as_string
        self._label: Callable[[Any], Any] = {
            "multiclass": _as_class,
            "multilabel": _as_classes,
            "regression": _as_number,
        }[task]

    def read(self, path: Path) -> tuple[list[Annotation], list[str]]:
        """Read a file; return its answers, and what is wrong with other lines.

        Raises
        ------
        OSError
            If it cannot be read.
        """
        answers: list[Annotation] = []
        problems: list[str] = []
        for where, found in self.lines(path):
            if isinstance(found, Annotation):
                answers.append(found)
            else:
                problems.append(f"{where}: {found}")
        return answers, problems

    def lines(self, path: Path) -> Iterator[tuple[str, Annotation | str]]:
        """Read a file; yield where each answer stands, and the answer, or what is wrong there.

        Raises
        ------
        OSError
            If it cannot be read.
        """
        lines = _LINES.get(path.suffix.lower())
        if lines is None:
            yield str(path), f"expected a file of {', '.join(SUFFIXES)}, got {path.suffix or 'no suffix'!r}"
            return
        line = "row" if lines is _parquet_rows else "line"
        name = path.name
        times: dict[str, int] = {}
        try:
            for number, cells in lines(path):
                found: Annotation | str | None
                try:
                    found = cells if isinstance(cells, str) else self._answer(cells, name, times)
                except UnicodeEncodeError:
                    found = "expected text in UTF-8"
                except ValueError as error:
                    found = str(error)
                if found is not None:
                    yield f"{path}: {line} {number}", found
        except ValueError as error:
            yield str(path), str(error)

    def _answer(self, cells: Sequence[Any], file: str, times: dict[str, int]) -> Annotation | None:
        row, label, kind, annotator, seconds, key, updated_at = cells
        is_empty = label is None or label == ""
        kind = kind or ("" if is_empty else "label")
        if not kind:
            return None
        if kind not in KINDS:
            raise ValueError(f"kind: expected {', '.join(KINDS)}, got {kind!r}")
        if kind == "label" and is_empty:
            raise ValueError("label: expected one, as its kind is 'label', got none")
        identity = self._id(row)
        who = str(annotator or "annotator")
        content = label if isinstance(label, str) else json.dumps(label, ensure_ascii=False, default=str)
        digest = zlib.crc32(f"{identity}\0{who}\0{kind}\0{content}\0{updated_at}".encode())
        event = f"{key or file}:{identity}:{who}:{digest:08x}"
        # An annotator may come back to what was said before: the second time it is another event.
        time = times[event] = times.get(event, 0) + 1
        return Annotation(
            key=f"{event}:{time}",
            id=identity,
            kind=kind,
            label=self._label(label) if kind == "label" else None,
            annotator=who,
            version=_as_time(updated_at) if updated_at else 0.0,
            seconds=None if seconds is None or seconds == "" else _as_seconds(seconds),
        )


def _as_integer(cell: Any) -> int:
    number: int | None
    try:
        number = int(cell)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is not None and (isinstance(cell, str) or number == cell) and not isinstance(cell, bool):
        return number
    raise ValueError(f"id: expected an integer, got {cell!r}")


def _as_string(cell: Any) -> str:
    if isinstance(cell, bool) or not isinstance(cell, (str, int)) or cell == "":
        raise ValueError(f"id: expected a string, got {cell!r}")
    return str(cell)


def _as_class(cell: Any) -> str | int:
    if isinstance(cell, tuple) and len(cell) == 1:
        (cell,) = cell  # as tools write it that know of several labels
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)  # pandas makes numbers of classes floats where some are missing
    if isinstance(cell, bool) or not isinstance(cell, (str, int)):
        raise ValueError(f"label: expected the name of one class, got {cell!r}")  # noqa: TRY004 - the file is wrong
    return cell


def _as_classes(cell: Any) -> list[str | int]:
    names = cell.split("|") if isinstance(cell, str) else cell if isinstance(cell, (list, tuple)) else [cell]
    return [_as_class(name) for name in names]


def _as_number(cell: Any) -> float:
    return _finite(cell, "label", "a number")


def _as_seconds(cell: Any) -> float:
    seconds = _finite(cell, "seconds", "a number of 0 or more")
    if seconds < 0:
        raise ValueError(f"seconds: expected a number of 0 or more, got {cell!r}")
    return seconds


def _as_time(cell: Any) -> float:
    """Read a time as seconds since 1970."""
    when = cell
    if isinstance(cell, str):
        # A string that is no time may still be a number.
        with suppress(ValueError):
            when = datetime.fromisoformat(cell)
    if not isinstance(when, datetime):
        return _finite(when, "updated_at", "a number, or a time as ISO 8601 writes it")
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _finite(cell: Any, name: str, what: str) -> float:
    try:
        number = math.nan if isinstance(cell, bool) else float(cell)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name}: expected {what}, got {cell!r}")
    return number


def _csv_lines(path: Path) -> Iterator[tuple[int, Sequence[Any]]]:
    # A byte that is no text spoils its own line only.
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = csv.reader(file, strict=True)
        names = next(reader, None)
        if names is None:
            return
        _check_columns(names)
        # What is not there is read from one more cell.
        chosen = itemgetter(*(names.index(name) if name in names else len(names) for name in COLUMNS))
        while True:
            try:
                line = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield reader.line_num, str(error)
                continue
            if len(line) == len(names):
                line.append("")
                yield reader.line_num, chosen(line)
            elif line:
                yield reader.line_num, f"expected {len(names)} fields, got {len(line)}"


def _json_lines(path: Path) -> Iterator[tuple[int, Sequence[Any]]]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for number, line in enumerate(file, 1):
            if line.isspace():
                continue
            try:
                cells = _DECODER.decode(line)
            except ValueError:
                yield number, "expected a JSON object, got no JSON"
                continue
            if not isinstance(cells, dict):
                yield number, f"expected a JSON object, got {line.strip()[:40]!r}"
                continue
            try:
                elsewhere = foreign(cells, path.name)
            except ValueError as error:
                yield number, str(error)
                continue
            if elsewhere is not None:
                yield number, elsewhere
            elif "label" not in cells and "kind" not in cells:
                yield number, f"expected 'id' and 'label', got {_listed(list(cells))}"
            else:
                yield number, [cells.get(name) for name in COLUMNS]


def _parquet_rows(path: Path) -> Iterator[tuple[int, Sequence[Any]]]:
    from pickwise.pools.parquet import opened
    from pickwise.pools.paths import File

    with opened(File(str(path), str(path))) as parquet:
        names = parquet.schema_arrow.names
        _check_columns(names)
        begin = 1
        for batch in parquet.iter_batches(columns=[name for name in COLUMNS if name in names]):
            columns = [
                _items(batch.column(name)) if name in batch.schema.names else repeat(None, batch.num_rows)
                for name in COLUMNS
            ]
            yield from enumerate(zip(*columns, strict=True), begin)
            begin += batch.num_rows


def _items(column: Any) -> list[Any]:
    """Turn a column into Python values, NaN into None."""
    import pyarrow as pa
    from pyarrow import compute

    if pa.types.is_floating(column.type):
        column = compute.if_else(compute.is_nan(column), pa.scalar(None, column.type), column)
    items: list[Any] = column.to_pylist()
    return items


def _check_columns(names: Sequence[str]) -> None:
    if "id" not in names or not {"label", "kind"} & set(names):
        raise ValueError(f"expected the columns 'id' and 'label', got {_listed(names)}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "none"


# What pandas writes where there is nothing.
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)

_LINES = {".jsonl": _json_lines, ".csv": _csv_lines, ".parquet": _parquet_rows}

SUFFIXES = tuple(_LINES)
"""Of files that can be read."""
