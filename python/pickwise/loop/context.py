"""What a project works with while it is open."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from pickwise.loop.schema import rows
from pickwise.loop.store import is_storable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pickwise.annotators.base import Annotator, RowId
    from pickwise.loop.data import PoolData
    from pickwise.loop.folds import LeftOut
    from pickwise.loop.keeping import ModelStore
    from pickwise.loop.models.base import LoopModel
    from pickwise.loop.settings import Settings
    from pickwise.loop.store import Store


@dataclass
class Context:
    """What a project works with while it is open.

    Attributes
    ----------
    data : PoolData or None
        The pool; None where there are predictions alone, or only labels are taken.
    embeddings : object
        Of the pool, as `pickwise.select` takes them; None: those of the model, or the rows themselves.
    model : LoopModel or None
    model_round : int or None
        The round that the model in memory has learnt from.
    evaluation : (X, y) or None
        Rows outside of the pool that no model learns from.
    probe : dict
        The ids of a fixed sample of the pool, once they are drawn.
    left_out : LeftOut or None
        What models say of labelled rows that they have not learnt from, as it was found last.
    has_warned : bool
        Whether somebody was told that rows of the evaluation equal labelled ones.
    """

    folder: Path
    settings: Settings
    store: Store
    models: ModelStore
    data: PoolData | None = None
    embeddings: Any = None
    model: LoopModel | None = None
    model_round: int | None = None
    annotator: Annotator | None = None
    evaluation: tuple[Any, Any] | None = None
    probe: dict[str, Any] = field(default_factory=dict)
    left_out: LeftOut | None = None
    has_warned: bool = False

    def as_id(self, row: str) -> RowId:
        """Read an id as the tables have it."""
        return int(row) if self.settings.ids == "int" else row

    def as_row(self, name: Any) -> str:
        """Write an id as the tables have it.

        Raises
        ------
        TypeError
            For an id of another type than those of the pool.
        """
        if self.settings.ids == "int":
            fits = hasattr(name, "__index__") and not isinstance(name, bool)
        else:
            fits = isinstance(name, str) and is_storable(name)
        if not fits:
            raise TypeError(f"ids: expected {self.settings.ids}, as those of the pool are, got {name!r}")
        return str(name)

    def in_order(self, names: Iterable[str]) -> list[str]:
        """Sort ids as the numbers or the strings that they are."""
        return sorted(names, key=int if self.settings.ids == "int" else None)

    def known(self) -> list[str]:
        """Read the rows that were asked for, labelled or held out."""
        with self.store.read() as connection:
            return list(connection.scalars(select(rows.c.row)))
