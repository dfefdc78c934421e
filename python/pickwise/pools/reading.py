"""Reading one step ahead: a thread fills the next batches while the caller works on this one."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from pickwise.pools.base import Part

T = TypeVar("T")

DEPTH = 2
"""Items read but not yet taken."""

BUFFERS = DEPTH + 2
"""Buffers a source may fill in turn: those waiting, the one being filled and the one the caller holds."""


def of_model(error: BaseException) -> None:
    """Mark an error as one that a model has made: no file is to blame, so none is left out for it."""
    error.__dict__["_pickwise_of_model"] = True


def is_of_model(error: BaseException) -> bool:
    """Whether an error is marked so."""
    return "_pickwise_of_model" in error.__dict__


class Clock:
    """Adds up the seconds in which a reader is at work."""

    seconds = 0.0


def read(
    parts: Iterable[Part], *, ahead: bool = True, clock: Clock | None = None
) -> Generator[tuple[Part, Any], None, None]:
    """Read parts in order, one after the other.

    Parameters
    ----------
    parts : iterable of Part
    ahead : bool
        Whether a thread reads ahead, into the next part as well.
    clock : Clock, optional
        What is told how long it took.

    Yields
    ------
    Part, object
        A batch of the part; None at its end; an exception that ended it early. What is no fault of the data, such as an
        interrupt, is raised.
    """

    def items() -> Generator[tuple[Part, Any], None, None]:
        for part in parts:
            try:
                with closing(part.batches()) as batches:
                    while (batch := _next(batches, clock)) is not None:
                        yield part, batch
            except (ValueError, TypeError, OSError) as error:
                yield part, error
            else:
                yield part, None

    return read_ahead(items) if ahead else items()


def _next(batches: Generator[Any, None, None], clock: Clock | None) -> Any:
    began = time.perf_counter()
    batch = next(batches, None)
    if clock is not None:
        clock.seconds += time.perf_counter() - began
    return batch


def read_ahead(source: Callable[[], Generator[T, None, None]]) -> Generator[T, None, None]:
    """Run a generator in a thread of its own, at most `DEPTH` items ahead.

    A source that fills `BUFFERS` buffers in turn never overwrites one that the caller still holds.

    Parameters
    ----------
    source : callable
        Makes the generator; it is made, run and closed in the thread.

    Yields
    ------
    object
        What the source yields, in order. Its exception, if it raises one, is raised here.
    """
    items: SimpleQueue[T | _End] = SimpleQueue()
    room = threading.Semaphore(DEPTH)
    stop = threading.Event()

    def run() -> None:
        error: BaseException | None = None
        try:
            generator = source()
            try:
                for item in generator:
                    items.put(item)
                    room.acquire()
                    if stop.is_set():
                        break
            finally:
                generator.close()
        except BaseException as caught:  # noqa: BLE001 - it is raised again where the items are taken
            error = caught
        items.put(_End(error))

    # A daemon, because a generator that nobody closes must not keep the interpreter from ending.
    thread = threading.Thread(target=run, name="pickwise-reader", daemon=True)
    thread.start()
    try:
        while not isinstance(item := items.get(), _End):
            room.release()
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stop.set()
        room.release()
        thread.join()


class _End:
    """The last thing in the queue: the source has ended, well or not."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error
