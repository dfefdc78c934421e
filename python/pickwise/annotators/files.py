"""People who work on files: tasks are written to a folder, answers are read from another in it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import secrets
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pickwise.annotators.answers import SUFFIXES, AnswerReader, LabelTask, worded
from pickwise.annotators.shapes import SHAPES
from pickwise.options import one_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pickwise.annotators.base import Annotation, Task

Line: TypeAlias = dict[str, Any]

# Seconds after which a file that nobody has written to is taken to be whole.
_AT_REST = 2.0

_OWN = ("key", "id", "rank", "score", "why", "overlap", "suggestions", "label")


class FileAnnotator:
    r"""Whoever fills in files.

    Each push writes a file ``tasks-<round>-<hash>`` into the folder, wholly or not at all: a line for each task, with
    its key, id, rank, score, why and overlap; what there is to look at, as ``text`` or one column for each of a mapping
    (whose name begins with ``data_`` where it would be one of the others); the suggestions; and a ``label`` that waits
    to be filled in. Answers are files in its folder ``answers``, as `read_answers` describes them: exports of a tool,
    or files of tasks that were filled in. A file that grows, or is mended, is read again; what it said before counts
    once.

    Parameters
    ----------
    folder : path
        It is made where it is missing.
    format : {"jsonl", "csv", "parquet", "prodigy", "doccano"}
        Of the tasks; the last two are JSON lines as these tools import them. Answers may come in any of them, and are
        recognised.
    id_type : {int, str}
        What ids are.
    task : {"multiclass", "multilabel", "regression"}
        What labels are.

    Raises
    ------
    ValueError
        For another format, id_type or task.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from pickwise.annotators import FileAnnotator, Task
    >>> folder = tempfile.TemporaryDirectory()
    >>> annotator = FileAnnotator(folder.name, format="csv")
    >>> annotator.push([Task(key="1/7", id=7, round=1, rank=0, score=0.5, data="win a prize")])
    >>> tasks = next(Path(folder.name).glob("tasks-1-*.csv"))
    >>> print(tasks.read_text())
    key,id,rank,score,why,overlap,text,suggestions,label
    1/7,7,0,0.5,selected,1,win a prize,{},
    <BLANKLINE>
    >>> (Path(folder.name) / "answers" / "anna.csv").write_text("id,label\n7,spam\n")
    16
    >>> answers, cursor = annotator.poll(None)  # it may still be written to
    >>> answers, cursor = annotator.poll(cursor)
    >>> answers[0].id, answers[0].label
    (7, 'spam')
    >>> folder.cleanup()
    """

    remembers = True

    def __init__(
        self,
        folder: str | os.PathLike[str],
        format: Literal["jsonl", "csv", "parquet", "prodigy", "doccano"] = "jsonl",  # noqa: A002 - the word for it
        *,
        id_type: type[int | str] = int,
        task: LabelTask = "multiclass",
    ) -> None:
        self._format = one_of(format, "format", (*_WRITERS, *SHAPES))
        self._reader = AnswerReader(id_type, task)
        self._folder = Path(folder)
        self._inbox = self._folder / "answers"
        self._inbox.mkdir(parents=True, exist_ok=True)

    def push(self, tasks: Sequence[Task]) -> None:
        """Write tasks to a file, one for each round; those that are in a file of that round already are left out."""
        rounds: dict[int, dict[str, Task]] = defaultdict(dict)
        for task in tasks:
            rounds[task.round].setdefault(task.key, task)
        for number, some in rounds.items():
            for path in self._files(number):
                for line in _read(path):
                    some.pop(line.get("key", ""), None)
            if some:
                name = hashlib.blake2b(json.dumps(list(some)).encode(), digest_size=4).hexdigest()
                suffix = "jsonl" if self._format in SHAPES else self._format
                _write(
                    self._folder / f"tasks-{number}-{name}.{suffix}", [self._laid_out(task) for task in some.values()]
                )

    def poll(self, cursor: str | None) -> tuple[Sequence[Annotation], str | None]:
        """Read the files of answers that have changed, and have come to rest.

        A file is at rest when it was the same at the poll before, or for two seconds.

        Raises
        ------
        ValueError
            If lines of a file are malformed, naming them; only when all others have been delivered, and until the file
            is mended or taken away.
        """
        before: dict[str, list[Any]] = json.loads(cursor) if cursor else {}
        after: dict[str, list[Any]] = {}
        answers: list[Annotation] = []
        problems: list[str] = []
        for path in self._answer_files():
            with suppress(FileNotFoundError):  # It was taken away in the meantime.
                status = path.stat()
                stamp = [status.st_size, status.st_mtime_ns]
                *known, state = before.get(path.name, ["new"])
                is_known = known == stamp
                if not is_known or state != "read":
                    if not is_known and time.time() - status.st_mtime < _AT_REST:
                        state = "new"
                    else:
                        found, wrong = self._reader.read(path)
                        if not is_known or state == "new":
                            answers += found
                        problems += wrong
                        state = "malformed" if wrong else "read"
                after[path.name] = [*stamp, state]
        if problems and not answers:
            raise ValueError(worded(problems))
        return answers, json.dumps(after, sort_keys=True)

    def recall(self, keys: Sequence[str]) -> None:
        """Take the lines of tasks out of their files."""
        gone = set(keys)
        for path in self._files("*"):
            lines = _read(path)
            left = [line for line in lines if line.get("key") not in gone]
            if not left:
                path.unlink()
            elif len(left) < len(lines):
                _write(path, left)

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _laid_out(self, task: Task) -> Line:
        shape = SHAPES.get(self._format)
        if shape is None:
            return _line(task)
        return shape({"round": task.round, **_beginning(task), "suggestions": plain(task.suggestions)}, _shown(task))

    def _files(self, number: int | str) -> list[Path]:
        """List the files of tasks of a round."""
        return sorted(path for path in self._folder.glob(f"tasks-{number}-*") if path.suffix in SUFFIXES)

    def _answer_files(self) -> list[Path]:
        """List the files of answers, the oldest first, so that what was written later holds."""
        paths = [
            path for path in self._inbox.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        ]
        return sorted(paths, key=lambda path: (_modified(path), path.name))


def plain(x: Any) -> Any:
    """Turn a value into what JSON can hold: what it has no word for becomes text, NaN and infinity become null."""
    if hasattr(x, "tolist"):
        x = x.tolist()
    if isinstance(x, float):
        return x if math.isfinite(x) else None
    if x is None or isinstance(x, (bool, int, str)):
        return x
    if isinstance(x, Mapping):
        return {str(name): plain(value) for name, value in x.items()}
    if isinstance(x, (list, tuple)):
        return [plain(value) for value in x]
    return x.isoformat() if hasattr(x, "isoformat") else str(x)


def write_tasks(path: Path, tasks: Iterable[Task]) -> None:
    """Write tasks to a file that is to be filled in, wholly or not at all.

    Parameters
    ----------
    path : Path
        Ending in ``.jsonl``, ``.csv`` or ``.parquet``.
    tasks : iterable of Task
    """
    _write(path, [_line(task) for task in tasks])


def _line(task: Task) -> Line:
    """Lay a task out in columns."""
    data = {f"data_{name}" if name in _OWN else name: value for name, value in _shown(task).items()}
    return _beginning(task) | data | {"suggestions": plain(task.suggestions), "label": None}


def _beginning(task: Task) -> Line:
    return {name: plain(getattr(task, name)) for name in _OWN[:-2]}


def _shown(task: Task) -> Line:
    """Return what there is to look at, by column."""
    if task.data is None:
        return {}
    if isinstance(task.data, Mapping):
        return {str(name): plain(value) for name, value in task.data.items()}
    return {"text": plain(task.data)}


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _read(path: Path) -> list[Line]:
    """Read a file of tasks, with whatever was added to it."""
    try:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line.strip()]
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as file:
                return list(csv.DictReader(file))
        lines: list[Line] = _pyarrow().parquet.read_table(path).to_pylist()
    except ValueError as error:
        raise ValueError(f"{path}: expected the tasks that were written there, got a damaged file ({error})") from None
    return lines


def _write(path: Path, lines: Sequence[Line]) -> None:
    """Write a file of tasks, wholly or not at all."""
    content = _WRITERS[path.suffix[1:].lower()](lines)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with unfinished.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        with suppress(FileNotFoundError):
            unfinished.unlink()


def _as_jsonl(lines: Sequence[Line]) -> bytes:
    return "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines).encode()


def _as_csv(lines: Sequence[Line]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _columns(lines), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in line.items()} for line in lines)
    return text.getvalue().encode()


def _as_parquet(lines: Sequence[Line]) -> bytes:
    pa = _pyarrow()
    columns = {name: [_cell(line.get(name)) for line in lines] for name in _columns(lines)}
    # A label that waits has no type of its own yet, and most are names.
    arrays = {
        name: pa.array(column, None if any(x is not None for x in column) else pa.string())
        for name, column in columns.items()
    }
    sink = io.BytesIO()
    pa.parquet.write_table(pa.table(arrays), sink)
    return sink.getvalue()


_WRITERS = {"jsonl": _as_jsonl, "csv": _as_csv, "parquet": _as_parquet}


def _columns(lines: Iterable[Line]) -> list[str]:
    """List the columns of all lines, what is to be filled in last."""
    names = dict.fromkeys(name for line in lines for name in line)
    last = [name for name in ("suggestions", "label") if name in names]
    return [name for name in names if name not in last] + last


def _cell(x: Any) -> Any:
    """Write lists and mappings as JSON, for formats whose cells hold one value."""
    return json.dumps(x, ensure_ascii=False) if isinstance(x, (dict, list)) else x


def _pyarrow() -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError("Parquet needs pyarrow; install it with pip install 'pickwise[arrow]'") from error
    return pa
