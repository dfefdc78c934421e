"""What a project tells of itself: where it is, its labels, and the tables of a round."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import select

from pickwise.arrays import as_objects
from pickwise.frames import pandas_frame, polars_frame
from pickwise.loop.answering import labelled
from pickwise.loop.history import State, best_round
from pickwise.loop.ledger import LABELS, STANDING, decode_label, encode_label, read_counts
from pickwise.loop.rounds import read_asks, read_rounds
from pickwise.loop.schema import asks, votes
from pickwise.loop.store import get_fact

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    import polars as pl
    from numpy.typing import NDArray

    from pickwise.loop.context import Context


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where a project is.

    Attributes
    ----------
    name : str
    round : int or None
        The last one; None before the first.
    state : str
        Where that is.
    open : int
        Rows that are asked for and have no answer yet.
    asked : int
        Rows that were asked for in all rounds.
    labelled, answers, held_out : int
        Rows that models learn from, answers of any kind to rows, and rows that models are measured on.
    budget_left : int or None
        Rows that may still be asked for.
    classes : dict of str to int
        Labels of each class, over all annotators.
    metrics : dict of str to float
        Of the last model.
    best : (int, float) or None
        The round of the best model by the project's metric, and how good it is.
    deployed, stopped : str or None
        Which model is in use, and why the loop has ended.
    next : str
        What comes next.
    """

    name: str
    round: int | None
    state: str
    open: int
    asked: int
    labelled: int
    answers: int
    held_out: int
    budget_left: int | None
    classes: dict[str, int]
    metrics: dict[str, float]
    best: tuple[int, float] | None
    deployed: str | None
    stopped: str | None
    next: str

    def __str__(self) -> str:
        where = "not begun" if self.round is None else f"round {self.round}, {self.state}"
        left = "" if self.budget_left is None else f", {self.budget_left:,} left of the budget"
        lines = [
            f"{self.name}: {where}",
            f"  labelled  {self.labelled:,} rows, {self.answers:,} answers; {self.held_out:,} rows held out",
            f"  asked     {self.asked:,} rows, {self.open:,} of them open{left}",
        ]
        if self.classes:
            shown = sorted(self.classes.items(), key=lambda pair: (-pair[1], pair[0]))
            more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
            lines.append(f"  classes   {', '.join(f'{name} {count:,}' for name, count in shown[:8])}{more}")
        if self.metrics:
            lines.append("  model     " + ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items()))
        if self.best is not None:
            lines.append(f"  best      round {self.best[0]} with {self.best[1]:.4g}")
        if self.deployed is not None:
            lines.append(f"  deployed  {self.deployed}")
        if self.stopped is not None:
            lines.append(f"  stopped   {self.stopped}")
        return "\n".join([*lines, f"  next      {self.next}"])


def read_status(context: Context) -> Status:
    """Read where a project is, from totals that are kept, whatever its size."""
    with context.store.read() as connection:
        counts, rounds = read_counts(connection), read_rounds(connection)
        stopped = get_fact(connection, "stopped")
    last = rounds[-1] if rounds else None
    trained = [each for each in rounds if each.model is not None]
    best = best_round(trained, context.settings.metric)
    budget = context.settings.budget
    asked = counts.get("asked", 0)
    return Status(
        name=context.settings.name,
        round=None if last is None else last.number,
        state="" if last is None else str(last.state),
        open=last.asked - last.answered if last is not None and last.state.is_open else 0,
        asked=asked,
        labelled=counts.get("labelled", 0),
        answers=counts.get("answers", 0),
        held_out=counts.get("held_out", 0),
        budget_left=None if budget is None else max(0, budget - asked),
        classes={
            str(decode_label(name.removeprefix(LABELS))): count
            for name, count in counts.items()
            if name.startswith(LABELS) and count
        },
        metrics=dict(trained[-1].metrics) if trained else {},
        best=None if best is None else (best.number, best.metrics[context.settings.metric]),
        deployed=context.models.deployed(),
        stopped=stopped,
        next=_next(last.state if last is not None else None, last.answered if last is not None else 0),
    )


def _next(state: State | None, answered: int) -> str:
    if state is None:
        return "seed, if there are labels; else ask"
    return {
        State.planned: "ask: the annotator does not have all rows yet",
        State.asked: "collect",
        State.collecting: f"collect ({answered} rows are answered)",
        State.closed: "fit",
        State.trained: "ask",
    }[state]


@dataclass(frozen=True, eq=False, repr=False)
class LabelTable:
    """The label of each row that models learn from.

    Attributes
    ----------
    ids : ndarray of shape (rows,)
        Ascending.
    labels : ndarray of object of shape (rows,)
        The names of classes, lists of them, or numbers.
    confidence, agreement : ndarray of float64 of shape (rows,)
        How sure the label is, and the share of the answers that say the same.
    answers : ndarray of int64 of shape (rows,)
        How many answers it is merged from.
    """

    ids: NDArray[Any]
    labels: NDArray[np.object_]
    confidence: NDArray[np.float64]
    agreement: NDArray[np.float64]
    answers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        shown = "".join(f"\n  {name!r}: {label!r}" for name, label in list(self.to_dict().items())[:5])
        return f"LabelTable of {len(self)} rows{shown}" + ("\n  …" if len(self) > 5 else "")

    def to_dict(self) -> dict[Any, Any]:
        """Return the labels by id."""
        return dict(zip(self.ids.tolist(), self.labels.tolist(), strict=True))

    def to_polars(self) -> pl.DataFrame:
        """Make a Polars DataFrame; lists of labels are JSON in it."""
        return polars_frame(self._columns())

    def to_pandas(self) -> pd.DataFrame:
        """Make a pandas DataFrame; lists of labels are JSON in it."""
        return pandas_frame(self._columns())

    def write(self, path: Path) -> int:
        """Write a file, whole or not at all; return how many rows."""
        from pickwise.ids import as_ids
        from pickwise.output import WRITERS, writing

        if path.suffix.lower() not in WRITERS or path.suffix == ".npy":
            raise ValueError(f"path: expected a name that ends in .parquet, .csv or .jsonl, got {path.name!r}")
        columns = {
            name: column if column.dtype != object else as_ids(column.tolist(), name)
            for name, column in self._columns().items()
        }
        with writing(path) as writer:
            writer.write(columns)
        return len(self)

    def _columns(self) -> dict[str, NDArray[Any]]:
        kinds = {type(label) for label in self.labels.tolist()}
        labels = self.labels
        if kinds <= {int, float}:
            labels = np.array(labels.tolist())
        elif not kinds <= {str}:
            labels = np.array([encode_label(label) for label in labels.tolist()], dtype=object)
        return {
            "id": self.ids,
            "label": labels,
            "confidence": self.confidence,
            "agreement": self.agreement,
            "answers": self.answers,
        }


def label_table(context: Context) -> LabelTable:
    """Merge all answers."""
    from pickwise.loop.training import probabilities

    known = labelled(context, probabilities=partial(probabilities, context))
    merged, (names, labels) = known.merged, known.learnable
    taken = merged.is_label
    ids = np.array(names, np.int64) if context.settings.ids == "int" else as_objects(names)
    return LabelTable(ids, labels, merged.confidence[taken], merged.agreement[taken], merged.n_votes[taken])


def round_tables(context: Context, number: int) -> dict[str, Any]:
    """Make the tables that are kept of a round: what it asked for, and what was answered."""
    import pyarrow as pa

    with context.store.read() as connection:
        wanted = read_asks(connection, number)
        inside = select(asks.c.row).where(asks.c.round == number)
        answered = connection.execute(
            select(votes).where(votes.c.row.in_(inside), STANDING).order_by(votes.c.row, votes.c.annotator)
        ).all()
    kind = pa.int64() if context.settings.ids == "int" else pa.string()
    selection = pa.table(
        {
            "id": pa.array([context.as_id(each.row) for each in wanted], kind),
            "rank": pa.array([each.rank for each in wanted], pa.int32()),
            "score": pa.array([each.score for each in wanted], pa.float64()),
            "why": pa.array([each.why for each in wanted], pa.string()),
            "state": pa.array([each.state for each in wanted], pa.string()),
        }
    )
    labels = pa.table(
        {
            "id": pa.array([context.as_id(each.row) for each in answered], kind),
            "annotator": pa.array([each.annotator for each in answered], pa.string()),
            "kind": pa.array([each.kind for each in answered], pa.string()),
            "label": pa.array([each.label for each in answered], pa.string()),
            "seconds": pa.array([each.seconds for each in answered], pa.float64()),
        }
    )
    return {"selection": selection, "labels": labels}
