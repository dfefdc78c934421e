"""Pools that are predicted while they are read: a model, and rows wherever they lie."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise import arrow
from pickwise.arrays import as_rows, row_count, stacked
from pickwise.ids import count_ids, joined, slice_ids
from pickwise.options import as_count
from pickwise.pools.base import Chunk, Part, Pool
from pickwise.pools.reading import of_model

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from numpy.typing import NDArray

    from pickwise.ids import Ids
    from pickwise.pools.features import Features
    from pickwise.pools.files import OnFileError
    from pickwise.pools.models import Model


def predict(
    model: Any,
    rows: Any,
    *,
    batch_size: int | None = None,
    columns: str | Sequence[str] | None = None,
    id: str | None = None,  # noqa: A002 - as in select
    filters: Any = None,
    on_file_error: OnFileError = "raise",
) -> Predictions:
    """Make a pool of what a model predicts for rows, wherever they lie.

    Nothing is predicted yet: that is done batch by batch, while `select` reads the pool, so that neither the rows nor
    their probabilities have to fit into memory.

    Parameters
    ----------
    model : object
        What predicts, and what it gets of a batch:

        - a classifier with ``predict_proba``. If it was fitted with a DataFrame (``feature_names_in_``), of tables a
          frame with those columns: Polars of Polars, else pandas. If not, a matrix of float32 or float64, in which a
          null is NaN; of one column of lists the matrix in it; of one column of text a 1-D array of texts. Several
          labels (a list of arrays from ``predict_proba``) become *P(y=1)* of each, for ``task="multilabel"``;
        - a `torch.nn.Module`: the same matrix as a tensor of the type and on the device of its parameters. It is in
          evaluation mode while it is called, without gradients, and in its own mode again afterwards. If it returns
          logits, use a strategy ``from_logits=True``;
        - an `onnxruntime.InferenceSession` with one output of floats beside the labels: the same matrix in the type of
          its input; or, if it has several inputs, a column of that name for each;
        - a function, which gets what there is: the slice of an array, tensor or DataFrame (pandas or Polars), the
          `pyarrow.RecordBatch` of files and other tables, the item of an iterable.

        It returns an array or tensor of floats, (rows, classes) or 1-D *P(y=1)*.
    rows : array_like, path, table or iterable
        - an array of any shape and type whose first axis are rows: NumPy, PyTorch, a sparse matrix of SciPy, a Series;
        - a path, URL, glob or folder of ``.npy`` or ``.parquet`` files, or a list of them;
        - a table: pandas, Polars (also lazy), Arrow, DuckDB, Hugging Face;
        - an iterable of batches, such as a DataLoader or lists of texts, or of pairs ``(batch, ids)``. Each item is one
          call.
    batch_size : int, optional
        Rows to a call; the last one of a file may have fewer. By default about 4 MB of them, at most 65,536; of columns
        of text 1024.
    columns : str or sequence of str, optional
        For tables: the features by name or pattern (``"x_*"``), in the order in which the model is to get them. By
        default those that it was fitted with, else all but the id.
    id : str, optional
        For tables: the column of ids, integers or strings. Without it rows of files are known by ``path#row``, but
        those of a single ``.npy`` file and of what is no file by their position.
    filters : pyarrow.compute.Expression or list of tuple, optional
        For tables: which rows are in the pool, as `pyarrow.parquet.read_table` takes them. Others are not predicted.
    on_file_error : {"raise", "skip"}
        What to do about files that cannot be read. What a model raises is never skipped.

    Returns
    -------
    Predictions
        A pool for `select`. A list of such pools over the same rows is a committee, for ``"bald"`` and its like.

    Raises
    ------
    TypeError
        For what is no model or has no probabilities, such as a regressor; for rows of another kind, and for columns of
        what has none.
    ValueError
        For columns that are missing or that the model cannot take, and for files that are damaged. While the pool is
        read, for predictions that are not one row of floats for each row, or not always of as many classes.
    FileNotFoundError
        For a path that matches nothing.

    See Also
    --------
    select : What reads it.

    Notes
    -----
    The model is called in the thread that reads the pool, while another one reads and decodes the files ahead. An error
    that it raises comes out as it is, with a note of the rows it was asked about. Each pass over the pool predicts it
    anew. A checkpoint goes by the files, not by the model: remove it if the model is another one.

    Examples
    --------
    >>> import numpy as np
    >>> import pickwise as pw
    >>> from sklearn.linear_model import LogisticRegression
    >>> x = np.random.default_rng(0).normal(size=(1000, 4))
    >>> model = LogisticRegression().fit(x[:50], x[:50, 0] > 0)
    >>> pool = pw.predict(model, x[50:], batch_size=100)
    >>> pw.select(pool, k=10) == pw.select(model.predict_proba(x[50:]), k=10)
    True

    A function of batches, whatever they are:

    >>> def spam(texts):
    ...     return np.array([text.count("!") / 10 for text in texts])  # P(y=1)
    >>> batches = [["Hi", "Win!!!!"], ["See you", "Now!!!"]]
    >>> pw.select(pw.predict(spam, batches), k=2).ids
    array([1, 3])
    """
    from pickwise.pools.features import open_features
    from pickwise.pools.models import as_model

    size = None if batch_size is None else as_count(batch_size, "batch_size", least=1)
    called = as_model(model)
    features = open_features(
        rows, called, batch_size=size, columns=columns, id=id, filters=filters, on_file_error=on_file_error
    )
    about = {"model": called.name, "columns": repr(columns), "id": id, "filters": repr(filters)}
    return Predictions(called, features, about, skips_failed=on_file_error == "skip")


class Predictions(Pool):
    """A pool that a model predicts while it is read; made by `predict`.

    Parameters
    ----------
    model : Model
    features : Features
        The rows.
    about : dict
        What else it depends on, for a checkpoint.
    skips_failed : bool
        Whether files that cannot be read are left out.
    """

    def __init__(self, model: Model, features: Features, about: dict[str, Any], *, skips_failed: bool) -> None:
        pool = features.pool
        self._pool = pool
        self._about = about
        self._name = model.name
        self.rows, self.string_ids, self.numbering = pool.rows, pool.string_ids, pool.numbering
        self.reads_ahead, self.once, self.skips_failed = pool.reads_ahead, pool.once, skips_failed
        ask = _Asking(model, as_polars=features.as_polars)
        self.parts = [PredictedPart(part, ask, features.batch_size) for part in pool.parts]

    def __repr__(self) -> str:
        rows = "rows" if self.rows is None else f"{self.rows:,} rows"
        return f"Predictions of {self._name} for {rows}"

    @property
    def can_be_read_again(self) -> bool:
        """Whether the rows can."""
        return self._pool.can_be_read_again

    @property
    def failed(self) -> dict[str, str]:
        """Files that were left out when the rows were opened, and why."""
        return self._pool.failed

    @property
    def about(self) -> dict[str, Any]:
        """What it holds beside its files, for a checkpoint."""
        return self._about

    def locate(self, row: int) -> str:
        """Say which file a row is in."""
        return self._pool.locate(row)


class PredictedPart(Part):
    """A part of the rows, with a model. It pickles if the model does, and the rows are in files.

    Parameters
    ----------
    part : Part
    ask : _Asking
        The model.
    batch_size : int or None
        How many rows to join for a call.
    """

    def __init__(self, part: Part, ask: _Asking, batch_size: int | None) -> None:
        self._part = part
        self._ask = ask
        self._batch_size = batch_size
        self.name, self.rows, self.size = part.name, part.rows, part.size
        self.travels, self.is_in_order = part.travels, part.is_in_order
        self.file = part.file

    def batches(self) -> Generator[tuple[int, Chunk], None, None]:
        """Read the rows, in batches for the model."""
        with closing(self._part.batches()) as batches:
            chunks: Iterable[Chunk] = map(self._part.chunk, batches)
            if self._batch_size is not None:
                chunks = _regrouped(chunks, self._batch_size)
            yield from enumerate(chunk for chunk in chunks if _count(chunk.matrix) != 0)
        self.rows = self._part.rows

    def chunk(self, batch: tuple[int, Chunk]) -> Chunk:
        """Predict a batch."""
        number, chunk = batch
        first = chunk.positions if chunk.positions is None or isinstance(chunk.positions, int) else chunk.positions[0]
        where = f"batch {number}" if first is None else f"{self.locate(int(first))} on"
        return chunk._replace(matrix=self._ask(chunk, where))

    def locate(self, position: int) -> str:
        """Say where a row is."""
        return self._part.locate(position)


class _Asking:
    """Asks a model about batches, and looks at what comes back."""

    def __init__(self, model: Model, *, as_polars: bool) -> None:
        self._model = model
        self._as_polars = as_polars
        self._columns: int | None = None

    def __call__(self, chunk: Chunk, where: str) -> NDArray[Any]:
        """Return a matrix, of one column for 1-D *P(y=1)*."""
        try:
            prepared = self._model.prepare(chunk.matrix, as_polars=self._as_polars)
        except (ValueError, TypeError) as error:
            raise _worded(error, f"rows, from {where}") from None
        try:
            found = self._model.predict(prepared)
        except Exception as error:
            error.add_note(f"pickwise: {self._model.name} was predicting rows, from {where}")
            of_model(error)
            raise
        try:
            return self._checked(_on_cpu(found), chunk)
        except (ValueError, TypeError) as error:
            worded = _worded(error, f"model ({self._model.name}), from {where}")
            of_model(worded)
            raise worded from None

    def _checked(self, found: Any, chunk: Chunk) -> NDArray[Any]:
        rows = as_rows(found, "predictions", allow_empty=True)
        count, columns = rows.shape
        wanted = _count(chunk.matrix)
        if wanted is not None and count != wanted:
            raise ValueError(
                f"predictions: expected {wanted} rows, one for each that it got, got the shape {rows.shape}"
            )
        if chunk.ids is not None and count != count_ids(chunk.ids):
            raise ValueError(f"predictions: expected {count_ids(chunk.ids)} rows, one for each id, got {count}")
        self._columns = self._columns or columns
        if columns != self._columns:
            raise ValueError(
                f"predictions: expected {self._columns} columns, as in the batches before, got the shape {rows.shape}"
            )
        return stacked(rows.blocks(), rows.shape, rows.dtype)


def _regrouped(chunks: Iterable[Chunk], size: int) -> Generator[Chunk, None, None]:
    """Join record batches, none too large: those of a table may be small, and a filter leaves few rows of them."""
    held: list[Chunk] = []
    count = 0
    for chunk in chunks:
        rows = len(chunk.matrix)
        split = min(rows, size - count)
        held.append(chunk if split == rows else _slice(chunk, 0, split))
        count += split
        if count == size:
            yield _together(held)
            held, count = ([], 0) if split == rows else ([_slice(chunk, split, rows)], rows - split)
    if count:
        yield _together(held)


def _slice(chunk: Chunk, start: int, stop: int) -> Chunk:
    positions = chunk.positions
    if isinstance(positions, int):
        positions += start
    elif positions is not None:
        positions = positions[start:stop]
    ids = None if chunk.ids is None else slice_ids(chunk.ids, start, stop)
    return Chunk(chunk.matrix.slice(start, stop - start), ids, positions)


def _together(chunks: list[Chunk]) -> Chunk:
    import pyarrow as pa

    filled = [chunk for chunk in chunks if len(chunk.matrix)]
    if len(filled) == 1:
        return filled[0]
    ids: list[Ids] = [chunk.ids for chunk in filled if chunk.ids is not None]
    positions: Any = filled[0].positions
    if not isinstance(positions, int):
        positions = np.concatenate([chunk.positions for chunk in filled])
    batch = pa.Table.from_batches([chunk.matrix for chunk in filled]).combine_chunks().to_batches()[0]
    return Chunk(batch, joined(ids) if ids else None, positions)


def _worded(error: Exception, where: str) -> ValueError | TypeError:
    return (TypeError if isinstance(error, TypeError) else ValueError)(f"{where}: {error}")


def _on_cpu(found: Any) -> Any:
    """Bring a tensor of PyTorch from its device, as numbers that NumPy knows."""
    if not hasattr(found, "detach"):
        return found
    found = found.detach().cpu()
    return found.float() if str(found.dtype) == "torch.bfloat16" else found


def _count(batch: Any) -> int | None:
    """Count the rows of a batch, None where only the model knows what it holds."""
    if arrow.is_records(batch):
        return int(batch.num_rows)
    if getattr(batch, "shape", None):
        return row_count(batch, "rows")
    if isinstance(batch, list) and batch and isinstance(batch[0], str):
        return len(batch)
    return None
