"""Labels that are there before anybody is asked: to learn from, or to be measured on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from pickwise.loop.answering import given
from pickwise.loop.history import State
from pickwise.loop.ledger import Answer, Recorded, event_number, record
from pickwise.loop.rounds import plan, read_rounds
from pickwise.loop.schema import rows, votes
from pickwise.loop.store import among, get_fact, set_fact

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pickwise.loop.context import Context

_ANNOTATOR = "seed"


def seed(context: Context, labels: Any, *, held_out: bool) -> Recorded:
    """Record labels, all of them or, if one is wrong, none; see `Project.seed` and `Project.hold_out`."""
    with context.store.read() as connection:
        texts = given(context, connection, labels)
    if not texts:
        return Recorded()
    names = list(texts)
    _refuse_unknown(context, names)
    with context.store.write() as connection:
        _refuse_leaks(connection, names, held_out=held_out)
        # A label that holds already is no event; another one corrects it, also back to what it was.
        holds = _held(connection, names)
        number = event_number(connection)
        answers = (
            Answer(f"{_ANNOTATOR}:{number}:{row}", row, "label", text, _ANNOTATOR)
            for row, text in texts.items()
            if holds.get(row) != text
        )
        done = record(connection, answers, overlap_of=context.settings.overlap_of, held_out=held_out)
        done.repeated += len(texts) - done.new
        if held_out:
            set_fact(connection, "holds_out", True)
        elif not read_rounds(connection):
            _plan(context, connection)
    return done


def begin(context: Context) -> None:
    """Begin a project without any labels, as a model that is trained elsewhere needs none."""
    with context.store.write() as connection:
        _plan(context, connection)


def _plan(context: Context, connection: Connection) -> None:
    pool = get_fact(connection, "fingerprint")
    plan(connection, 0, {"strategy": "seed"}, seed=context.settings.seed, pool=pool, state=State.closed)


def _held(connection: Connection, names: list[str]) -> dict[str, str]:
    """Read the labels of rows that were handed over before."""
    inside = among(connection, votes.c.row, names)
    found = connection.execute(select(votes.c.row, votes.c.label).where(inside, votes.c.annotator == _ANNOTATOR))
    return {each.row: each.label for each in found}


def _refuse_unknown(context: Context, names: list[str]) -> None:
    """Refuse rows that are not in the pool."""
    if context.data is None:
        return
    unknown = context.data.unknown([context.as_id(row) for row in names])
    if unknown:
        shown = ", ".join(map(repr, unknown[:3]))
        raise ValueError(
            f"labels: expected rows of the pool, got {len(unknown)} that are not in it ({shown}); nothing was recorded"
        )


def _refuse_leaks(connection: Connection, names: list[str], *, held_out: bool) -> None:
    """Refuse rows that are for the other purpose already."""
    others = among(connection, rows.c.row, names)
    leak = connection.scalar(select(rows.c.row).where(others, rows.c.held_out != int(held_out)).limit(1))
    if leak is None:
        return
    if held_out:
        raise ValueError(
            f"labels: row {leak!r} was asked for or labelled before, so that models learn from it, and cannot be "
            "held out; nothing was recorded"
        )
    raise ValueError(
        f"labels: row {leak!r} is held out for evaluation, so that no model may learn from it; nothing was recorded"
    )
