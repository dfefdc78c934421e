"""Rounds and what they ask for, as the store keeps them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from pickwise.loop.history import Round, State
from pickwise.loop.ledger import add_counts, event_number, log, read_counts
from pickwise.loop.schema import asks, rounds, rows
from pickwise.loop.store import among, now, write_many

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection

_BEFORE = {
    State.asked: {State.planned},
    State.collecting: {State.asked, State.collecting},
    State.closed: {State.asked, State.collecting},
    State.trained: {State.closed, State.trained},
}


def plan(
    connection: Connection,
    number: int,
    strategy: Mapping[str, Any],
    *,
    seed: int,
    pool: str,
    wanted: Sequence[tuple[str, float | None, str]] = (),
    state: State = State.planned,
) -> None:
    """Begin a round that asks for rows, each with its score and why, best first."""
    if connection.scalar(select(rounds.c.number).where(rounds.c.number == number)) is not None:
        raise RuntimeError(f"round {number}: another process has begun it meanwhile; open the project anew")
    at = now(connection)
    connection.execute(
        insert(rounds).values(
            number=number,
            state=state,
            strategy=dict(strategy),
            seed=seed,
            pool=pool,
            planned_at=at,
            closed_at=at if state is State.closed else None,
        )
    )
    log(connection, str(state), f"round:{number}:{state}", round=number, body={"rows": len(wanted)})
    since = event_number(connection)
    values = [(number, row, rank, score, why, since, "open") for rank, (row, score, why) in enumerate(wanted)]
    columns = ("round", "row", "rank", "score", "why", "since", "state")
    write_many(connection, insert(asks), columns, values)
    names = [row for row, _, _ in wanted]
    known = known_among(connection, names)
    fresh = [(row, 0, 0, 0) for row in names if row not in known]
    write_many(connection, insert(rows), ("row", "held_out", "answers", "labels"), fresh)
    add_counts(connection, {f"asked:{number}": len(wanted), "asked": len(wanted), "rows": len(fresh)})


def advance(connection: Connection, number: int, state: State, *, body: Any = None, **values: Any) -> None:
    """Move a round to its next state, and write down what comes with it.

    Raises
    ------
    RuntimeError
        If the round is not where it should be: another process has moved it.
    """
    is_at = connection.scalar(select(rounds.c.state).where(rounds.c.number == number))
    if is_at not in _BEFORE[state]:
        raise RuntimeError(f"round {number}: expected it to be {' or '.join(sorted(_BEFORE[state]))}, it is {is_at}")
    at = now(connection)
    stamp = {State.closed: "closed_at", State.trained: "trained_at"}.get(state)
    if stamp is not None:
        values[stamp] = at
    connection.execute(update(rounds).where(rounds.c.number == number).values(state=state, **values))
    if is_at != state:
        log(connection, str(state), f"round:{number}:{state}", round=number, body=body)


def change(connection: Connection, number: int, **values: Any) -> None:
    """Write down something about a round that stays where it is."""
    connection.execute(update(rounds).where(rounds.c.number == number).values(**values))


def recall(connection: Connection, number: int) -> int:
    """Wait no longer for the answers of a round that are still open; tell how many."""
    condition = (asks.c.round == number) & (asks.c.state == "open")
    count = connection.execute(update(asks).where(condition).values(state="recalled")).rowcount
    add_counts(connection, {f"asked:{number}": -count, "asked": -count})
    return count


def read_rounds(connection: Connection) -> list[Round]:
    """Read all rounds."""
    counts = read_counts(connection)
    return [
        Round(
            number=found.number,
            state=State(found.state),
            strategy=found.strategy,
            seed=found.seed,
            asked=counts.get(f"asked:{found.number}", 0),
            answered=counts.get(f"done:{found.number}", 0),
            labelled=found.labelled,
            metrics=found.metrics,
            per_class=found.per_class,
            seconds=found.seconds,
            planned_at=_moment(found.planned_at),
            closed_at=_moment(found.closed_at),
            trained_at=_moment(found.trained_at),
            model=found.model,
        )
        for found in connection.execute(select(rounds).order_by(rounds.c.number))
    ]


def read_asks(connection: Connection, number: int, state: str | None = None) -> list[Any]:
    """Read what a round asks for, best first."""
    chosen = select(asks).where(asks.c.round == number)
    if state is not None:
        chosen = chosen.where(asks.c.state == state)
    return list(connection.execute(chosen.order_by(asks.c.rank)))


def known_among(connection: Connection, about: Iterable[str]) -> set[str]:
    """Return those rows that were asked for, have answers or are held out."""
    return set(connection.scalars(select(rows.c.row).where(among(connection, rows.c.row, list(about)))))


def _moment(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)
