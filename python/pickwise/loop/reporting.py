"""What the report of a project tells, read from where it is kept."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from pickwise.loop.answering import labelled
from pickwise.loop.archive import round_folder, versions
from pickwise.loop.carried import shown as shown_rows
from pickwise.loop.changing import read_drifts
from pickwise.loop.drift import Drift
from pickwise.loop.history import State
from pickwise.loop.profile import Profile
from pickwise.loop.quality import agreement_between
from pickwise.loop.report import AnnotatorRow, InformativeRow, ReportData
from pickwise.loop.rounds import read_asks, read_rounds
from pickwise.loop.schema import asks, events, votes
from pickwise.loop.store import get_fact
from pickwise.loop.tables import read_status
from pickwise.loop.training import PROFILE, shares

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from pickwise.loop.context import Context
    from pickwise.loop.history import Round

# Rows of a round that are shown.
_SHOWN = 5


def report_data(context: Context) -> ReportData:
    """Read what the report of a project tells."""
    status = read_status(context)
    known = labelled(context)
    with context.store.read() as connection:
        rounds = read_rounds(connection)
        stopped, drifts = get_fact(connection, "stopped"), read_drifts(connection)
        at = max(connection.scalars(select(events.c.at).order_by(events.c.number.desc()).limit(1)))
        seconds = _seconds(connection)
        informative = _informative(context, connection, rounds, dict(zip(known.ids, known.merged.labels, strict=True)))
    scores = {
        each.number: Profile.load(path).scores
        for each in rounds
        if each.state is State.trained and (path := round_folder(context.folder, each.number) / PROFILE).exists()
    }
    agreement = agreement_between(known.votes, known.merged, task=context.settings.task)
    counts = shares(known.learnable[1].tolist(), context.settings.task)
    return ReportData(
        name=context.settings.name,
        created_at=_moment(at),
        settings=context.settings.shown(),
        rounds=rounds,
        evaluation_rows=evaluation_rows(context, status.held_out),
        classes=context.settings.classes or sorted(counts),
        class_counts=counts,
        scores=scores,
        informative=informative,
        annotators=[
            AnnotatorRow(str(each.annotator), each.rows, _known(each.agreeing), _known(each.seconds))
            for each in agreement.annotators
        ],
        kappa=_known(agreement.alpha),
        drifts=[Drift.from_dict(each) for each in drifts],
        stopped=stopped,
        deployed=context.models.deployed(),
        versions=versions(),
        metric=context.settings.metric,
        budget_left=status.budget_left,
        label_seconds=seconds,
    )


def evaluation_rows(context: Context, held_out: int) -> int:
    """Tell how many rows models are measured on."""
    return held_out + (0 if context.evaluation is None else len(context.evaluation[1]))


def _seconds(connection: Connection) -> dict[int, float]:
    """Add up how long the answers to each round took; of rounds that asked for a row the last one before an answer."""
    answered = (
        select(func.max(asks.c.round).label("round"), func.max(votes.c.seconds).label("seconds"))
        .join(votes, (votes.c.row == asks.c.row) & (votes.c.event > asks.c.since))
        .where(votes.c.seconds.is_not(None))
        .group_by(votes.c.row, votes.c.annotator)
        .subquery()
    )
    found = connection.execute(select(answered.c.round, func.sum(answered.c.seconds)).group_by(answered.c.round))
    return {row[0]: row[1] for row in found}


def _informative(
    context: Context, connection: Connection, rounds: Sequence[Round], labels: Mapping[Any, Any]
) -> list[InformativeRow]:
    """Take the best rows of each round, the last round first."""
    found = []
    for each in reversed(rounds):
        best = [ask for ask in read_asks(connection, each.number) if ask.why == "selected"][:_SHOWN]
        ids = [context.as_id(ask.row) for ask in best]
        shown = [None] * len(ids) if context.data is None else shown_rows(context.folder, context.data, ids)
        found += [
            InformativeRow(name, each.number, ask.score, labels.get(name), text)
            for ask, name, text in zip(best, ids, shown, strict=True)
        ]
    return found


def _moment(at: float) -> Any:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
