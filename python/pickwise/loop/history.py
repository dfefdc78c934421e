"""What happened in a round, as the store tells it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime


LESS_IS_BETTER = ("log_loss", "mae", "changed", "delta_f", "uncertainty")
"""Metrics of which a lower one is better."""


class State(StrEnum):
    """Where a round is; each state follows the one before, and none is left out but "collecting" of an empty round."""

    planned = "planned"  # the rows are chosen
    asked = "asked"  # the annotator has them all
    collecting = "collecting"  # the first answer is here
    closed = "closed"  # no more answers are waited for; the files of the round are written
    trained = "trained"  # a model has learnt from it

    @property
    def is_open(self) -> bool:
        """Whether the round has not all its answers yet."""
        return self is State.planned or self.awaits_answers

    @property
    def awaits_answers(self) -> bool:
        """Whether the annotator has the rows."""
        return self in (State.asked, State.collecting)


@dataclass(frozen=True, kw_only=True)
class Round:
    """One turn of the loop.

    Attributes
    ----------
    number : int
        From 1; 0 is the seed.
    state : State
        Where it is.
    strategy : mapping
        How its rows were chosen: the name and the options.
    seed : int
        Of its draws.
    asked, answered : int
        Rows that were asked for, and those of them that have all answers that were asked for, a "skip" included.
    labelled : int
        Rows with a label, of all rounds, that the model has learnt from; 0 before it has.
    metrics : mapping of str to float
        What `Project.evaluate` has measured ("accuracy", "macro_f1", "log_loss"; for regression "r2", "mae"), and, of a
        fixed sample of the pool, the probe: "agreement" (Cohen's kappa of this model's classes with those of the one
        before), "changed" (the share of rows that changed their class), "delta_f" (estimated change of macro F1),
        "uncertainty" (mean entropy divided by ln(classes)). What was not measured is not there.
    per_class : mapping of str to mapping of str to float
        Of each class "precision", "recall", "f1" and "support" in the evaluation set.
    seconds : mapping of str to float
        How long "selecting", "fitting" and "evaluating" took.
    planned_at, closed_at, trained_at : datetime, optional
        When, in UTC.
    model : str, optional
        Where in the folder of the project its model is kept.
    """

    number: int
    state: State
    strategy: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    asked: int = 0
    answered: int = 0
    labelled: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    per_class: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    planned_at: datetime | None = None
    closed_at: datetime | None = None
    trained_at: datetime | None = None
    model: str | None = None


def best_round(rounds: Iterable[Round], metric: str) -> Round | None:
    """Return the round whose model is the best by a metric, the first of equals; None where none was measured."""
    sign = 1 if metric in LESS_IS_BETTER else -1
    measured = [each for each in rounds if metric in each.metrics]
    return min(measured, key=lambda each: (sign * each.metrics[metric], each.number), default=None)
