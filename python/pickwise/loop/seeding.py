"""Labels that are there before anybody is asked: to learn from, or to be measured on."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from pickwise.loop.answering import given
from pickwise.loop.history import State
from pickwise.loop.ledger import STEP, Answer, Recorded, record
from pickwise.loop.rounds import plan, read_rounds
from pickwise.loop.schema import rows
from pickwise.loop.store import get_fact, set_fact

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from pickwise.loop.context import Context

_ANNOTATOR = "seed"


def seed(context: Context, labels: Any, *, held_out: bool) -> Recorded:
    """Record labels, all of them or, if one is wrong, none; see `Project.seed` and `Project.hold_out`."""
    pairs = list(given(context, labels))
    if not pairs:
        return Recorded()
    names = [row for row, _ in pairs]
    _refuse_unknown(context, names)
    with context.store.write() as connection:
        _refuse_leaks(connection, names, held_out=held_out)
        # The same label of the same row is the same event; another one corrects it.
        answers = [Answer(_key(row, text), row, "label", text, _ANNOTATOR) for row, text in pairs]
        done = record(connection, answers, overlap=context.settings.overlap, held_out=held_out)
        if held_out:
            set_fact(connection, "holds_out", True)
        elif not read_rounds(connection):
            pool = get_fact(connection, "fingerprint")
            plan(connection, 0, {"strategy": "seed"}, seed=context.settings.seed, pool=pool, state=State.closed)
    return done


def _key(row: str, text: str) -> str:
    return f"{_ANNOTATOR}:{row}:{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"


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


def _refuse_leaks(connection: Connection, names: Iterable[str], *, held_out: bool) -> None:
    """Refuse rows that are for the other purpose already."""
    left = list(names)
    while left:
        some, left = left[:STEP], left[STEP:]
        leak = connection.scalar(
            select(rows.c.row).where(rows.c.row.in_(some), rows.c.held_out != int(held_out)).limit(1)
        )
        if leak is None:
            continue
        if held_out:
            raise ValueError(
                f"labels: row {leak!r} was asked for or labelled before, so that models learn from it, and cannot be "
                "held out; nothing was recorded"
            )
        raise ValueError(
            f"labels: row {leak!r} is held out for evaluation, so that no model may learn from it; nothing was recorded"
        )
