"""From a score of arrays to a Polars expression: what `pickwise.polars` has in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from pickwise import _native
from pickwise.arrays import as_rows
from pickwise.scores import native_score

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import polars as pl
    from numpy.typing import NDArray

Columns: TypeAlias = "str | pl.Expr | Iterable[str | pl.Expr]"
Invalid: TypeAlias = Literal["raise", "null"]
Form: TypeAlias = Literal["rows", "labels", "members", "votes"]

_COUNTS = "counts of labels"


def expression(
    score: Callable[..., NDArray[Any]],
    columns: tuple[Columns, ...],
    invalid: Invalid,
    *,
    form: Form = "rows",
    counts: str | pl.Expr | None = None,
    **options: Any,
) -> pl.Expr:
    """Make the expression of a score.

    Parameters
    ----------
    score : callable
        A public function that scores arrays.
    columns : tuple
        What the user passed.
    invalid : {"raise", "null"}
        What to do about rows that are no probabilities.
    form : {"rows", "labels", "members", "votes"}
        What `score` takes: rows of probabilities, of one for each label, or a committee with a column for each member,
        which may hold votes.
    counts : str or Expr, optional
        A column that goes to `score` by this name.
    **options
        For `score`.

    Raises
    ------
    TypeError
        Without columns.
    ValueError
        For options that `score` refuses.
    """
    try:
        import polars as pl
    except ImportError as error:
        raise ImportError("pickwise.polars needs polars; install it with pip install 'pickwise[polars]'") from error
    if not columns:
        raise TypeError(f"{score.__name__}: expected the name of a column or an expression, got none")
    if invalid not in ("raise", "null"):
        raise ValueError(f"invalid: expected 'raise' or 'null', got {invalid!r}")
    if form != "votes":
        options["dtype"] = np.float64
    scorer = _Scorer(score, options, form, nullify=invalid == "null")
    scorer.of([[[0.5, 0.5]]])  # a bad option is refused where it is written
    extra: dict[str, Any] = {} if counts is None else {_COUNTS: counts}
    fields: pl.Expr = pl.struct(*columns, **extra)
    return fields.map_batches(scorer, return_dtype=pl.Float64, is_elementwise=True)


@dataclass(frozen=True)
class _Scorer:
    """What Polars calls with each batch; no closure, so that expressions can be pickled."""

    score: Callable[..., NDArray[Any]]
    options: dict[str, Any]
    form: Form
    nullify: bool

    def __call__(self, batch: pl.Series) -> pl.Series:
        """Score a column of structs; a row in which a field is null is null."""
        import polars as pl

        frame = batch.struct.unnest()
        for column in frame:
            self._check(column)
        kept = np.ones(len(frame), bool)
        for column in frame:
            if column.null_count():
                kept &= column.is_not_null().to_numpy()
        try:
            scores = self._scores(_only(frame, kept))
        except ValueError:
            if not self.nullify:
                raise
            kept[kept] = self._valid(_only(frame, kept))
            scores = self._scores(_only(frame, kept))
        if kept.all():
            return pl.Series(batch.name, scores)
        spread = np.zeros(len(kept))
        spread[kept] = scores
        return pl.Series(batch.name, spread).set(pl.Series(~kept), None)

    def of(self, parts: list[Any], **options: Any) -> NDArray[Any]:
        """Score the members of a committee, or all there is in one part."""
        committee = self.form in ("members", "votes")
        return self.score(parts if committee else parts[0], **self.options, **options)

    def _check(self, column: pl.Series) -> None:
        """Refuse types here, where the column is known by its name, and also if a batch has no rows."""
        counts, votes = column.name == _COUNTS, self.form == "votes"
        inner = getattr(column.dtype, "inner", column.dtype)
        integers = column.dtype.is_integer() and (counts or votes)
        if integers or (inner.is_float() and not counts):
            return
        name = "counts" if counts else f"column {column.name!r}"
        expected = (
            "integers"
            if counts
            else "votes, which are integers, or lists of floats"
            if votes
            else "floats or lists of floats"
        )
        mend = "; cast it to them first" if inner.is_numeric() else ""
        raise TypeError(f"{self.score.__name__}: {name}: expected {expected}, got {column.dtype}{mend}")

    def _scores(self, frame: pl.DataFrame) -> NDArray[Any]:
        if frame.is_empty():
            return np.empty(0)
        extra = {"counts": frame[_COUNTS]} if _COUNTS in frame.columns else {}
        try:
            return self.of(self._parts(frame), **extra)
        except (TypeError, ValueError) as error:
            names = [repr(name) for name in frame.columns if name != _COUNTS]
            of = f"column{'s' if len(names) > 1 else ''} {', '.join(names)}"
            batch = f"in a batch of {len(frame)} row{'s' if len(frame) > 1 else ''} (nulls left out)"
            raise type(error)(f"{self.score.__name__} of {of}, {batch}: {error}") from None

    def _parts(self, frame: pl.DataFrame) -> list[Any]:
        """Take a batch apart: one column for each member of a committee, or all there is to score."""
        frame = frame.drop(_COUNTS, strict=False)
        return frame.get_columns() if self.form in ("members", "votes") or frame.width == 1 else [frame]

    def _valid(self, frame: pl.DataFrame) -> NDArray[np.bool_]:
        """Tell the rows that are probabilities, for every member, from those that are none."""
        import polars as pl

        valid = np.ones(len(frame), bool)
        options: dict[str, Any] = {
            name: self.options[name] for name in ("from_logits", "temperature") if name in self.options
        }
        options["task"] = "multilabel" if self.form == "labels" else self.options.get("task", "multiclass")
        for part in self._parts(frame):
            if isinstance(part, pl.Series) and part.dtype.is_integer():  # votes
                continue
            rows = as_rows(_nan_for_null(part), "probabilities", min_classes=1)
            score = native_score("least_confidence", binary=rows.binary, **options)
            found = _native.TopK(score, len(frame), tie_seed=None, seed=0, ids="position", exclude_ids=None)
            for count, block in rows.to_score():
                found.update(block, count, skip_invalid=True)
            sound = np.zeros(len(frame), bool)
            sound[found.finish()[1]] = True
            valid &= sound
        return valid


def _only(frame: pl.DataFrame, rows: NDArray[np.bool_]) -> pl.DataFrame:
    return frame if rows.all() else frame.filter(rows)


def _nan_for_null(part: Any) -> Any:
    """Make a null inside a list what the native part takes for invalid."""
    import polars as pl

    if isinstance(part, pl.DataFrame):
        return part
    lists = part.arr.to_list() if isinstance(part.dtype, pl.Array) else part
    return lists.list.eval(pl.element().fill_null(float("nan"))) if isinstance(lists.dtype, pl.List) else lists
