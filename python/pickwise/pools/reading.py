"""Reading one step ahead: a thread fills the next batches while the caller works on this one."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, closing
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from pickwise.threads import get_num_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from pickwise.pools.base import Part

T = TypeVar("T")

DEPTH = 2
"""Items read but not yet taken."""

READERS = 4
"""Threads that read parts side by side: more save little, and each holds a few batches."""

BUFFERS = DEPTH + 2
"""Buffers a source may fill in turn: those waiting, the one being filled and the one the caller holds."""


def of_model(error: BaseException) -> None:
    """Mark an error as one that a model has made: no file is to blame, so none is left out for it."""
    error.__dict__["_pickwise_of_model"] = True


def is_of_model(error: BaseException) -> bool:
    """Whether an error is marked so."""
    return "_pickwise_of_model" in error.__dict__


class Clock:
    """Adds up the seconds in which readers are at work."""

    def __init__(self) -> None:
        self._readers: list[list[float]] = []

    @property
    def seconds(self) -> float:
        """All of them."""
        return sum(seconds for (seconds,) in self._readers)

    def reader(self) -> list[float]:
        """Return what a reader of its own adds to."""
        self._readers.append([0.0])
        return self._readers[-1]


def read(
    parts: Sequence[Part], *, ahead: bool = True, clock: Clock | None = None, readers: int = READERS
) -> Generator[tuple[Part, Any], None, None]:
    """Read parts in order, one after the other.

    Parameters
    ----------
    parts : sequence of Part
    ahead : bool
        Whether threads read ahead, each every so many parts: as many as score, but no more than `readers`.
    clock : Clock, optional
        What is told how long it took.
    readers : int
        The most threads.

    Yields
    ------
    Part, object
        A batch of the part; None at its end; an exception that ended it early. What is no fault of the data, such as an
        interrupt, is raised.
    """
    clock = Clock() if clock is None else clock
    if not ahead:
        yield from _in_turn(parts, clock.reader())
        return
    count = max(1, min(readers, len(parts), get_num_threads()))
    with ExitStack() as stack:
        depth = DEPTH if count == 1 else 1
        streams = [
            stack.enter_context(closing(read_ahead(partial(_in_turn, parts[first::count], clock.reader()), depth)))
            for first in range(count)
        ]
        for number in range(len(parts)):
            for part, item in streams[number % count]:
                yield part, item
                if item is None or isinstance(item, Exception):
                    break


def _in_turn(parts: Sequence[Part], seconds: list[float]) -> Generator[tuple[Part, Any], None, None]:
    for part in parts:
        try:
            with closing(part.batches()) as batches:
                while (batch := _next(batches, seconds)) is not None:
                    yield part, batch
        except (ValueError, TypeError, OSError) as error:
            yield part, error
        else:
            yield part, None


def _next(batches: Generator[Any, None, None], seconds: list[float]) -> Any:
    began = time.perf_counter()
    batch = next(batches, None)
    seconds[0] += time.perf_counter() - began
    return batch


def read_ahead(source: Callable[[], Generator[T, None, None]], depth: int = DEPTH) -> Generator[T, None, None]:
    """Run a generator in a thread of its own, at most `depth` items ahead.

    A source that fills `BUFFERS` buffers in turn never overwrites one that the caller still holds.

    Parameters
    ----------
    source : callable
        Makes the generator; it is made, run and closed in the thread.
    depth : int
        Items read but not yet taken, at most `DEPTH`.

    Yields
    ------
    object
        What the source yields, in order. Its exception, if it raises one, is raised here.
    """
    items: SimpleQueue[T | _End] = SimpleQueue()
    room = threading.Semaphore(depth)
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
