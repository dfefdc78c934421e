"""The pool changes: what is new about it, and what follows from that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pickwise.loop.answering import labelled
from pickwise.loop.carried import carry
from pickwise.loop.data import open_data
from pickwise.loop.drift import Drift, compare
from pickwise.loop.ledger import event_number, log
from pickwise.loop.rounds import read_rounds
from pickwise.loop.settings import kept_path
from pickwise.loop.store import get_fact, set_fact
from pickwise.loop.training import embeddings_of, look, probe_file

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pickwise.annotators.base import RowId
    from pickwise.loop.context import Context
    from pickwise.loop.data import PoolData


def replace_pool(context: Context, pool: Any, *, ids: Any, embeddings: Any) -> Drift | None:
    """Take another pool; see `Project.replace_pool`."""
    settings, before = context.settings, context.data
    if before is None:
        raise TypeError("pool: expected a project that has one; predictions of another pool are handed over to fit")
    data = open_data(pool, ids=ids, id=settings.id, columns=settings.columns)
    if data.id_type != settings.ids:
        raise TypeError(f"ids: expected {settings.ids}, as those of the pool before, got {data.id_type}")
    known = [context.as_id(row) for row in context.in_order(context.known())]
    lost = set(before.unknown(known))  # with a pool before
    here = [name for name in known if name not in lost]
    _refuse_moved(before, data, here)
    profile = look(context)
    gone = data.unknown(here)
    if gone:
        carry(context.folder, before, gone)
    embedded = _labelled_embeddings(context, [name for name in labelled(context).ids if name not in lost])
    context.data, context.embeddings, context.probe = data, embeddings, {}
    after = look(context)
    drift = None
    if profile is not None and after is not None:
        comparable = profile.embeddings is not None and after.embeddings is not None
        drift = compare(profile, after, embedded if comparable else None)
    fingerprint = data.fingerprint()
    if after is not None:
        after.save(probe_file(context.folder, fingerprint))
    # The settings first: a pool that the database does not know yet is refused with a way on.
    paths = {"pool": kept_path(context.folder, pool), "embeddings": kept_path(context.folder, embeddings)}
    context.settings = settings.changed(**paths)
    context.settings.write(context.folder)
    with context.store.write() as connection:
        last_number = max((each.number for each in read_rounds(connection)), default=-1)
        set_fact(connection, "fingerprint", fingerprint)
        set_fact(connection, "replaced", last_number)
        if drift is not None:
            set_fact(connection, "drifts", [*read_drifts(connection), drift.to_dict()])
        if drift is not None and drift.is_large(settings.drift_threshold):
            set_fact(connection, "new_region", settings.drift_share)
            set_fact(connection, "stopped", None)
            set_fact(connection, "reopened", last_number)
        body = {"pool": fingerprint, "carried": len(gone), "drift": None if drift is None else drift.to_dict()}
        log(connection, "pool", f"pool:{event_number(connection)}:{fingerprint}", body=body)
    return drift


def read_drifts(connection: Connection) -> list[dict[str, Any]]:
    """Read all comparisons of pools so far, as `Drift.to_dict` wrote them, the oldest first."""
    return list(get_fact(connection, "drifts") or [])


def _refuse_moved(before: PoolData, after: PoolData, known: list[RowId]) -> None:
    """Refuse a pool whose rows are known by their positions, where other rows are at those of labelled ones."""
    if before.ids is not None or before.id is not None or not known:
        return
    if not after.unknown(known) and _are_equal(before.take(known), after.take(known)):
        return
    raise ValueError(
        "pool: rows are known by their positions, and other rows are now where labelled ones were; append new rows to "
        "the old ones, or make a project whose rows have ids="
    )


def _are_equal(old: Any, new: Any) -> bool:
    """Whether rows are the same, what is missing included."""
    if hasattr(old, "indptr") or hasattr(new, "indptr"):
        return old.shape == new.shape and type(old) is type(new) and (old != new).nnz == 0
    old, new = np.asarray(old), np.asarray(new)
    return np.array_equal(old, new, equal_nan=old.dtype.kind == new.dtype.kind == "f")


def _labelled_embeddings(context: Context, known: list[RowId]) -> Any:
    return embeddings_of(context, known) if known else None
