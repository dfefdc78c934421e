"""Answers become durable: those that come while others are written are written together, in one transaction."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pickwise.annotators.page.source import Given, Refused, Source

_AT_ONCE = 500


class Writer:
    """Records answers, one transaction at a time, each of which costs the disk as much as any other.

    Parameters
    ----------
    source : Source
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._waiting: list[tuple[Given, asyncio.Future[Refused | None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def record(self, answer: Given) -> None:
        """Return when an answer is durable.

        Raises
        ------
        Refused
            If it was not recorded, or had been before.
        OSError
            If the database cannot be written to.
        """
        future: asyncio.Future[Refused | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((answer, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write())
        refusal = await future
        if refusal is not None:
            raise refusal

    async def _write(self) -> None:
        while self._waiting:
            some, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
            try:
                outcomes = await asyncio.to_thread(self._source.record, [answer for answer, _ in some])
            except Exception as error:  # noqa: BLE001 - who waits for it is told
                for _, future in some:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), outcome in zip(some, outcomes, strict=True):
                if not future.done():
                    future.set_result(outcome)
