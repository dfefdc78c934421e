"""Who gets which row: each is lent to as many annotators as shall answer it, and comes back when it is not answered."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pickwise.annotators.base import Task
    from pickwise.annotators.page.source import Asked

# Seconds that a look at the project may take.
_LATE = 5.0


class Holder(NamedTuple):
    """An annotator at one page: who has two open gets different rows in them."""

    annotator: str
    session: str


class Taken(NamedTuple):
    """What a page gets: new tasks, and which of those that it had are no longer its own."""

    tasks: list[Task]
    gone: list[str]


class Progress(NamedTuple):
    """How many rows are asked for, and how many of them have all their answers."""

    asked: int
    done: int


@dataclass
class _Entry:
    asked: Asked
    task: Task | None = None
    answered: set[str] = field(default_factory=set)
    lent: dict[Holder, float] = field(default_factory=dict)
    said: dict[str, tuple[bool, float]] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        return len(self.answered) >= self.asked.overlap


class Leases:
    """A queue of rows that are lent for a while. Safe to call from several threads.

    Parameters
    ----------
    seconds : float
        How long a row is lent, unless it is renewed.
    clock : callable
        Tells the time in seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.RLock()
        self._entries: dict[str, _Entry] = {}
        self._open: dict[str, _Entry] = {}
        self._kept: set[int] = set()

    def replace(self, asked: Iterable[Asked]) -> None:
        """Ask for these rows and for no others, but for those that are kept."""
        with self._lock:
            before = self._entries
            coming = {each.key: each for each in asked}
            for key, entry in before.items():
                if key not in coming and entry.asked.round in self._kept and not entry.is_full:
                    coming[key] = entry.asked
            self._entries = {}
            for each in sorted(coming.values(), key=lambda each: (each.round, each.rank)):
                entry = before.get(each.key) or _Entry(each)
                if each is not entry.asked or each.key not in before:
                    entry.answered = self._heard(entry, each)
                entry.asked = each
                self._entries[each.key] = entry
            self._open = {key: entry for key, entry in self._entries.items() if not entry.is_full}

    def update(self, asked: Iterable[Asked]) -> None:
        """Take over who has answered some rows; unknown ones are left out."""
        with self._lock:
            for each in asked:
                entry = self._entries.get(each.key)
                if entry is not None:
                    self._answer(entry, self._heard(entry, each))

    def keep(self, number: int) -> None:
        """Go on asking for rows of a round that is about to be closed, until they are answered."""
        with self._lock:
            self._kept.add(number)

    def give(self, tasks: Iterable[Task]) -> None:
        """Tell what there is to look at; rows without it are not lent."""
        with self._lock:
            for task in tasks:
                entry = self._entries.get(task.key)
                if entry is not None:
                    entry.task = task

    def bare(self, most: int) -> list[str]:
        """Return keys of rows that wait for what there is to look at, best first."""
        with self._lock:
            found = (key for key, entry in self._open.items() if entry.task is None)
            return [key for key, _ in zip(found, range(most), strict=False)]

    def take(self, holder: Holder, have: Sequence[str], want: int) -> Taken:
        """Renew what a page has, and lend it more.

        Parameters
        ----------
        holder : Holder
        have : sequence of str
            Keys of the tasks that the page has and has not answered.
        want : int
            How many it should have.
        """
        with self._lock:
            now = self._clock()
            gone = [key for key in have if not self._renew(key, holder, now)]
            wanted = want - (len(have) - len(gone))
            tasks: list[Task] = []
            if wanted > 0:
                held = set(have)
                for key, entry in self._open.items():
                    if key not in held and entry.task is not None and self._is_free(entry, holder, now):
                        entry.lent[holder] = now + self._seconds
                        tasks.append(entry.task)
                        if len(tasks) == wanted:
                            break
            return Taken(tasks, gone)

    def may_answer(self, key: str, holder: Holder) -> bool:
        """Whether there is room for the answer: it is not promised to others. Then it stays so for a while."""
        with self._lock:
            entry = self._entries.get(key)
            # What the queue does not know of, the project knows.
            return entry is None or holder.annotator in entry.answered or self._renew(key, holder, self._clock())

    def answered(self, key: str, annotator: str) -> None:
        """Note that an annotator has answered, and no longer holds the row."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._answer(entry, entry.answered | {annotator})
                entry.said[annotator] = True, self._clock()
                for holder in [each for each in entry.lent if each.annotator == annotator]:
                    del entry.lent[holder]

    def withdraw(self, key: str, holder: Holder) -> None:
        """Note that an answer was taken back, and lend the row to who has given it.

        It is lent to nobody if others have it by now, as where that answer had never been saved.
        """
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._answer(entry, entry.answered - {holder.annotator})
                entry.said[holder.annotator] = False, self._clock()
                self._renew(key, holder, self._clock())

    def __contains__(self, key: object) -> bool:
        with self._lock:
            return key in self._entries

    def progress(self) -> Progress:
        """Tell how much is done."""
        with self._lock:
            return Progress(len(self._entries), len(self._entries) - len(self._open))

    def _heard(self, entry: _Entry, asked: Asked) -> set[str]:
        """Take over who has answered, but for what was said after that was looked up."""
        answered = set(asked.answered)
        for who, (has_answered, at) in list(entry.said.items()):
            if self._clock() - at > _LATE:
                del entry.said[who]
            elif has_answered:
                answered.add(who)
            else:
                answered.discard(who)
        return answered

    def _answer(self, entry: _Entry, answered: set[str]) -> None:
        entry.answered = answered
        if entry.is_full:
            self._open.pop(entry.asked.key, None)
        else:
            self._open.setdefault(entry.asked.key, entry)

    def _renew(self, key: str, holder: Holder, now: float) -> bool:
        entry = self._entries.get(key)
        if entry is None or holder.annotator in entry.answered:
            return False
        if not self._is_free(entry, holder, now):
            return False
        entry.lent[holder] = now + self._seconds
        return True

    def _is_free(self, entry: _Entry, holder: Holder, now: float) -> bool:
        """Whether there is room for one more annotator, and this one neither has answered nor looks at it elsewhere."""
        if entry.is_full or holder.annotator in entry.answered:
            return False
        if entry.lent:
            entry.lent = {each: until for each, until in entry.lent.items() if until > now}
        others = {each.annotator for each in entry.lent if each != holder}
        return holder.annotator not in others and len(others | entry.answered) < entry.asked.overlap
